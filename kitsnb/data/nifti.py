"""NIfTI files: reading that verifies the whole stream, writing in one step, and what an affine says.

Array axes carry no meaning of their own. KiTS19 stores the slice axis first (axes point inferior, posterior, left),
other sources do not, so everything downstream asks the affine: ``spacing_of`` and ``orientation_of``.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from kitsnb.files import replaced

DOWNLOAD_AGAIN = "download it again"
READ = 8 << 20  # bytes at a time
_NAME = re.compile(r"case_\d{5}")


class CaseError(ValueError):
    """A case that cannot be used: which one, which file, what is wrong and what to do; ``code`` is for programs."""

    def __init__(self, case: str, file: str, reason: str, advice: str, code: str = "unusable"):
        self.case, self.file, self.reason, self.advice, self.code = case, file, reason, advice, code
        super().__init__(case, file, reason, advice, code)

    def __str__(self) -> str:
        return f"{self.case}: {self.file}: {self.reason}; {self.advice}"


@dataclass(frozen=True)
class Header:
    """Geometry of a NIfTI file: what can be known without reading the voxels."""

    shape: tuple[int, ...]
    affine: np.ndarray
    dtype: np.dtype


def read_header(path: str | Path) -> Header:
    """Shape, affine and stored dtype of a ``.nii.gz``, from its first bytes only (so a cut file may pass).

    Raises CaseError where the file is missing, unreadable or no NIfTI file.
    """
    with _Explained(path), igzip.open(path, "rb") as stream:
        header = nib.Nifti1Header.from_fileobj(stream)
        return Header(header.get_data_shape(), header.get_best_affine(), header.get_data_dtype())


def read_nifti(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels and affine (4 x 4, voxel index to mm) of a ``.nii.gz``.

    The stored dtype is kept, in the machine's byte order, unless the header scales the values (then float32). The
    affine is nibabel's choice: the sform where it is set, else the qform (nine KiTS19 labels have only that). The gzip
    stream is read to its end, so that its checksum and length are verified: nibabel alone accepts a file whose tail is
    cut or flipped.
    Raises CaseError where the file is missing, unreadable, corrupt or no NIfTI file.
    """
    with _Explained(path), igzip.open(path, "rb") as stream:
        header = nib.Nifti1Header.from_fileobj(stream)
        dtype = header.get_data_dtype()
        stream.seek(header.get_data_offset())
        array = np.empty(header.get_data_shape(), dtype, order="F")
        target = memoryview(array.reshape(-1, order="F")).cast("B") if array.size else memoryview(b"")
        filled = 0
        # Piece by piece: igzip holds what it is asked for a second time.
        while filled < target.nbytes and (count := stream.readinto(target[filled : filled + READ])):
            filled += count
        if filled < target.nbytes:
            raise EOFError(f"{filled} of {target.nbytes} bytes of voxels")
        while stream.read(READ):  # the checksum is compared only when the stream's end is reached
            pass
        affine = header.get_best_affine()
        slope, intercept = header.get_slope_inter()
    if slope is not None and (slope, intercept) != (1, 0):
        return (array * np.float32(slope) + np.float32(intercept)).astype(np.float32), affine
    return array.astype(dtype.newbyteorder("="), copy=False), affine


class _Explained:
    """Turns what gzip, nibabel or the disk say about ``path`` into a CaseError."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def __enter__(self) -> None:
        names = _NAME.findall(str(self.path))
        self.case = names[-1] if names else self.path.parent.name
        if self.path.is_symlink() and not self.path.exists():
            raise self._error(f"missing: a link to {self.path.readlink()}, which is not there", "repair the link", "missing")
        if not self.path.is_file():
            raise self._error("missing", f"put it into {self.path.parent}, or remove the case", "missing")
        if self.path.stat().st_size == 0:
            raise self._error("corrupt: the file is empty")

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, igzip.BadGzipFile) and "not a gzipped" in str(error).lower():
            raise self._error("corrupt: no gzip file (a saved error page?)") from error
        if isinstance(error, (EOFError, igzip.BadGzipFile, isal_zlib.error)):
            raise self._error(f"corrupt: {error}") from error
        if isinstance(error, (HeaderDataError, WrapStructError)):
            raise self._error(f"corrupt: no valid NIfTI-1 header ({error})") from error
        if isinstance(error, OSError):
            raise self._error(f"unreadable: {error.strerror or error}", "check permissions and disk", "unreadable") from error

    def _error(self, reason: str, advice: str = DOWNLOAD_AGAIN, code: str = "corrupt") -> CaseError:
        return CaseError(self.case, self.path.name, reason, advice, code)


def spacing_of(affine: np.ndarray) -> np.ndarray:
    """Voxel spacing in mm along each array axis, shape (3,)."""
    return np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)


def orientation_of(affine: np.ndarray) -> str:
    """Where the array axes point, for example ``IPL``: inferior, posterior, left."""
    return "".join(code or "?" for code in nib.aff2axcodes(affine))


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    """Write a ``.nii.gz`` (mm, sform and qform set); it appears under its name only when it is complete.

    nibabel writes neither time nor name into the gzip header, so equal arrays give equal bytes.
    """
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    with replaced(path) as partial:
        image.to_filename(partial)
    return path

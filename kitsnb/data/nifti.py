"""Read NIfTI files to their last byte, and write them whole."""

import io
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from kitsnb.data.geometry import orientation_of, spacing_of, voxel_ml
from kitsnb.files import replaced

DOWNLOAD_AGAIN = "download it again"
#: No CT's longest side, in mm, lies beyond the first two; few lie beyond the others: crops, and whole bodies.
POSSIBLE = (20.0, 3000.0)
USUAL = (75.0, 2000.0)
#: Codes of ``xyzt_units`` whose unit is not mm: its name, and the mm in one.
UNITS = {1: ("metres", 1e3), 3: ("microns", 1e-3)}
_GZIP = b"\x1f\x8b"
_CASE = re.compile(r"case_\d{5}")
_GEOMETRY = ("pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d",
             "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z")


class CaseError(ValueError):
    """A case that cannot be used: which one, which file, what is wrong and what to do; ``code`` is for programs."""

    def __init__(self, case: str, file: str, reason: str, advice: str, code: str = "unusable"):
        self.case = case
        self.file = file
        self.reason = reason
        self.advice = advice
        self.code = code
        super().__init__(case, file, reason, advice, code)

    def __str__(self) -> str:
        return f"{self.case}: {self.file}: {self.reason}; {self.advice}"


@dataclass(frozen=True)
class Finding:
    """What is odd about a usable case; ``code`` is for programs."""

    code: str
    message: str


@dataclass(frozen=True)
class Header:
    """Geometry of a NIfTI file, known without its voxels: shape (three axes), affine in mm, stored dtype."""

    shape: tuple[int, ...]
    affine: np.ndarray
    dtype: np.dtype
    stored: nib.Nifti1Header | None = None


def read_header(path: str | Path, case: str | None = None) -> Header:
    """Read the geometry of a NIfTI file from its first bytes only, so that a cut file may pass.

    ``case`` is its name in messages. Raises CaseError where the file is missing or has no usable header.
    """
    path = Path(path)
    with _naming(path, case):
        with path.open("rb") as stream:
            packed = stream.read(2) == _GZIP
        with igzip.open(path) if packed else path.open("rb") as stream:
            stored = _parse(stream.read(nib.Nifti2Header.sizeof_hdr))
        shape, affine = _geometry(stored, path.name, [])
        return Header(shape, affine, stored.get_data_dtype(), stored)


def read_nifti(
    path: str | Path, case: str | None = None, notes: list[Finding] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Read voxels and affine (4 x 4, voxel index to mm) of a NIfTI-1 or NIfTI-2 file, packed or not.

    The stored dtype is kept, but for scaled integers, which become float32. The affine is nibabel's choice: the sform
    where it is set, else the qform (nine labels of KiTS19 have only that). The whole gzip stream is unpacked, and so
    verified: nibabel alone accepts a lost or changed tail. What is odd, but can be read, is added to ``notes``. Raises
    CaseError, and nothing else, for a file that cannot be used.
    """
    path = Path(path)
    with _naming(path, case):
        raw = path.read_bytes()
        if raw.startswith(_GZIP):
            raw = igzip.decompress(raw)
        stored = _parse(raw)
        offset = int(stored.get_data_offset())
        end = offset + math.prod(map(int, stored.get_data_shape())) * stored.get_data_dtype().itemsize
        if offset < stored.sizeof_hdr or end != len(raw):  # before anything is allocated
            raise _refuse(f"corrupt: the header says {end} bytes: no file of this size, {len(raw)} bytes, holds them")
        shape, affine = _geometry(stored, path.name, [] if notes is None else notes)
        array = np.asanyarray(nib.arrayproxy.ArrayProxy(io.BytesIO(raw), stored))
        if array.dtype.kind == "f" and stored.get_data_dtype().kind != "f":
            array = array.astype(np.float32)
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        return array.reshape(shape, order="F"), affine


@contextmanager
def _naming(path: Path, case: str | None) -> Iterator[None]:
    """Turn what fails within into a CaseError that names the case and the file."""
    names = _CASE.findall(str(path))
    name = case or (names[-1] if names else path.parent.name)

    try:
        if not path.exists() or path.is_dir():
            raise _refuse("missing", f"put it into {path.parent}", "missing")
        yield
    except CaseError as error:
        raise CaseError(name, path.name, error.reason, error.advice, error.code) from error.__cause__
    except (EOFError, igzip.BadGzipFile, isal_zlib.error) as error:
        raise CaseError(name, path.name, f"corrupt: cut or changed gzip stream ({error})", DOWNLOAD_AGAIN, "corrupt") from error
    except (OSError, MemoryError) as error:
        advice = "check permissions, disk and free memory"
        raise CaseError(name, path.name, f"unreadable: {str(error) or 'too large'}", advice, "unreadable") from error
    except (HeaderDataError, WrapStructError, ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise CaseError(name, path.name, f"corrupt: no valid NIfTI header ({error})", DOWNLOAD_AGAIN, "corrupt") from error


def _refuse(reason: str, advice: str = DOWNLOAD_AGAIN, code: str = "corrupt") -> CaseError:
    """Return why a file cannot be used; ``_naming`` knows which case and file it is."""
    return CaseError("", "", reason, advice, code)


def _parse(start: bytes) -> nib.Nifti1Header:
    """Return the header that an unpacked file begins with; raise CaseError for another kind of file."""
    sizes = {int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")}
    if not start:
        raise _refuse("corrupt: the file is empty")
    if start.startswith(b"version https://git-lfs"):
        raise _refuse("corrupt: a pointer of Git LFS, not the file itself", "fetch it with git lfs pull", "pointer")
    if start.lstrip().startswith(b"<"):
        raise _refuse("corrupt: a web page that was saved instead of the file")
    if sizes.isdisjoint({348, 540}):
        raise _refuse("corrupt: neither a gzip nor a NIfTI file")
    kind = nib.Nifti2Header if 540 in sizes else nib.Nifti1Header
    stored = kind(start[: kind.sizeof_hdr])
    stored.quaternion_threshold = -1e-4  # it may be a rounding longer than one
    return stored


def _geometry(stored: nib.Nifti1Header, file: str, notes: list[Finding]) -> tuple[tuple[int, ...], np.ndarray]:
    """Return the shape (three axes) and affine (mm) that a header says; note what is odd, refuse what is impossible."""
    if stored.get_data_dtype().kind not in "biuf":
        raise _refuse("voxels are colours or complex", "store HU or labels as integers or floats", "dtype")
    full = tuple(map(int, stored.get_data_shape()))
    shape = full
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 1:
        raise _refuse(f"shape {full} is no volume", "store one volume with three axes", "not_a_volume")
    if shape != full:
        notes.append(Finding("squeezed", f"{file}: shape {full} was taken as {shape}"))
    affine = _affine(stored, shape, file, notes)
    if not stored["sform_code"] and not stored["qform_code"]:
        assumed = f"{orientation_of(affine)} was assumed, so left and right may be wrong"
        notes.append(Finding("orientation", f"{file}: says no orientation; {assumed}"))
    return shape, affine


def _affine(stored: nib.Nifti1Header, shape: tuple[int, ...], file: str, notes: list[Finding]) -> np.ndarray:
    """Return the affine in mm: as stored, or by the header's unit where only that gives a CT's size."""
    affine = np.asarray(stored.get_best_affine(), np.float64)
    spacing = spacing_of(affine)
    if not (np.isfinite(affine).all() and voxel_ml(affine) > 0):
        shown = " x ".join(f"{value:g}" for value in spacing)
        advice = "repair the header's sform or qform"
        raise _refuse(f"geometry: spacing {shown} mm is impossible", advice, "geometry")
    longest = float((spacing * shape).max())
    unit, factor = UNITS.get(int(stored["xyzt_units"]) & 7, ("mm", 1.0))
    if not POSSIBLE[0] <= longest <= POSSIBLE[1] and POSSIBLE[0] <= factor * longest <= POSSIBLE[1]:
        notes.append(Finding("unit", f"{file}: its geometry is stored in {unit}, and was taken so"))
        affine = np.diag([factor, factor, factor, 1]) @ affine
        longest = factor * longest
    size = f"{longest / 10:.2g} cm" if longest < 1000 else f"{longest / 1000:.3g} m"
    if not POSSIBLE[0] <= longest <= POSSIBLE[1]:
        reason = f"geometry: the volume would be {size} wide (longest side {longest:.3g} mm), which no CT is"
        raise _refuse(reason, "store the spacing in mm, or say its unit in xyzt_units", "geometry")
    if not USUAL[0] <= longest <= USUAL[1]:
        notes.append(Finding("size", f"{file}: its longest side is {size}; is the spacing right, in mm?"))
    return affine


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray, like: Header | None = None) -> Path:
    """Write a ``.nii.gz``; it appears under its name only when it is complete.

    ``like`` is the header of the file whose geometry ``array`` has: its qform, sform, their codes and its unit are
    kept. Without it sform and qform are set to ``affine``, in mm. Equal arrays give equal bytes.
    """
    image = nib.Nifti1Image(array, affine)
    if like is None:
        image.header.set_xyzt_units("mm")
        image.set_sform(affine, code="scanner")
        image.set_qform(affine, code="scanner")
    else:
        for field in _GEOMETRY:
            image.header[field] = like.stored[field]
        image = nib.Nifti1Image(array, None, image.header)
    with replaced(path) as partial:
        image.to_filename(partial)
    return path

"""Read NIfTI files to their last byte, and write them whole."""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip
from numpy import ndarray

from kitsnb.data.geometry import orientation_of, spacing_of, voxel_ml
from kitsnb.files import replaced

DOWNLOAD_AGAIN = "download it again"
_GZIP = b"\x1f\x8b"


@dataclass(eq=False)
class CaseError(ValueError):
    """A case that cannot be used: which one, which file, what is wrong and what to do."""

    case: str
    file: str
    reason: str
    advice: str

    @property
    def message(self) -> str:
        """Say all but which case it is."""
        return f"{self.file}: {self.reason}; {self.advice}"

    def __str__(self) -> str:
        return f"{self.case}: {self.message}"


def read_header(path: Path, case: str | None = None) -> tuple[tuple[int, ...], ndarray, nib.Nifti1Header]:
    """Read shape (three axes), affine (mm) and header from a file's first bytes. Raises CaseError as ``read_nifti``."""
    with _naming(path, case), path.open("rb") as stream:
        packed = stream.peek(2).startswith(_GZIP)
        unpacked = igzip.GzipFile(fileobj=stream) if packed else stream
        header = _parse(unpacked.read(nib.Nifti2Header.sizeof_hdr))
        shape, affine = _geometry(header, path.name, [])
        return shape, affine, header


def read_nifti(path: Path, case: str | None = None, notes: list[str] | None = None) -> tuple[ndarray, ndarray]:
    """Read voxels and affine (mm; sform, else qform) of a NIfTI file, to its last byte, as nibabel alone does not.

    The stored dtype is kept, but for scaled integers, which become float32. Raises CaseError, and nothing else.
    """
    path = Path(path)
    with _naming(path, case):
        raw = path.read_bytes()
        if raw.startswith(_GZIP):
            raw = igzip.decompress(raw)
        header = _parse(raw)
        stored = header.get_data_dtype()
        end = int(header.get_data_offset()) + math.prod(header.get_data_shape()) * stored.itemsize
        if end != len(raw):  # before anything is allocated
            raise _refusal(f"corrupt: the header says {end} bytes: no file of this size, {len(raw)} bytes, holds them")
        shape, affine = _geometry(header, path.name, [] if notes is None else notes)
        array = header.data_from_fileobj(io.BytesIO(raw))
        scaled = array.dtype.kind == "f" and stored.kind != "f"
        array = array.astype(np.float32 if scaled else array.dtype.newbyteorder("="), copy=False)
        return array.reshape(shape, order="F"), affine


@contextmanager
def _naming(path: Path, case: str | None) -> Iterator[None]:
    """Turn what fails within into a CaseError that names the case and the file."""
    try:
        if not path.is_file():
            raise _refusal("missing", f"put it into {path.parent}")
        yield
    except Exception as error:  # whatever a damaged file makes the libraries raise
        if not isinstance(error, CaseError):
            advice = f"{DOWNLOAD_AGAIN}, or check permissions, disk and free memory"
            error = _refusal(f"corrupt or unreadable ({type(error).__name__}: {error})", advice)
        raise CaseError(case or path.parent.name, path.name, error.reason, error.advice) from None


def _refusal(reason: str, advice: str = DOWNLOAD_AGAIN) -> CaseError:
    """Return why a file cannot be used; ``_naming`` knows which case and file it is."""
    return CaseError("", "", reason, advice)


def _parse(start: bytes) -> nib.Nifti1Header:
    """Return the header that an unpacked file begins with; raise CaseError for another kind of file."""
    for kind in (nib.Nifti1Header, nib.Nifti2Header):
        block = start[: kind.sizeof_hdr]
        if kind.may_contain_header(block):
            header = kind(block)
            header.quaternion_threshold = -1e-4  # it may be a rounding longer than one
            return header
    raise _refusal(f"corrupt: neither a gzip nor a NIfTI file, as it begins with {start[:40]!r}")


def _geometry(header: nib.Nifti1Header, file: str, notes: list[str]) -> tuple[tuple[int, ...], ndarray]:
    """Return the shape (three axes) and affine (mm) that a header says; note what is odd, refuse what is impossible."""
    if header.get_data_dtype().kind not in "biuf":
        raise _refusal("voxels are colours or complex", "store HU or labels as integers or floats")
    shape = header.get_data_shape()
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 1:
        raise _refusal(f"shape {shape} is no volume", "store one volume with three axes")
    affine = header.get_best_affine()
    if not (np.isfinite(affine).all() and voxel_ml(affine) > 0):
        reason = f"geometry: spacing {spacing_of(affine)} mm is impossible"
        raise _refusal(reason, "repair the header's sform or qform")
    longest = (spacing_of(affine) * shape).max()
    factor = {1: 1e3, 3: 1e-3}.get(int(header["xyzt_units"]) & 7)  # metres, microns
    if factor and not 20 <= longest <= 3000:
        notes.append(f"{file}: its geometry is not in mm, and was taken in the unit that it names")
        affine = np.diag([factor, factor, factor, 1]) @ affine
        longest *= factor
    size = f"{longest / 10:.1f} cm"
    if not 20 <= longest <= 3000:
        raise _refusal(f"geometry: the volume would be {size} wide, which no CT is", "store the spacing in mm")
    if not 75 <= longest <= 2000:  # a crop, or a whole body?
        notes.append(f"{file}: its longest side is {size}; is the spacing in mm?")
    if not header["sform_code"] and not header["qform_code"]:
        assumed = f"{orientation_of(affine)} was assumed, so left and right may be wrong"
        notes.append(f"{file}: says no orientation; {assumed}")
    return shape, affine


def write_nifti(path: Path, array: ndarray, affine: ndarray, like: nib.Nifti1Header | None = None) -> Path:
    """Write a ``.nii.gz``, whole or not at all, with ``affine``, or with the geometry of the header ``like``."""
    image = nib.Nifti1Image(array, affine)
    if like is None:
        image.header.set_xyzt_units("mm")
        image.set_qform(affine, code="scanner")
    else:
        for field in like:
            if field.startswith(("pixdim", "xyzt", "q", "sform", "srow")):
                image.header[field] = like[field]
        image = nib.Nifti1Image(array, None, image.header)
    with replaced(path) as partial:
        image.to_filename(partial)
    return path

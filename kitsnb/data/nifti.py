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

from kitsnb.data.geometry import spacing_of, voxel_ml
from kitsnb.files import replaced

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
    """Read shape [3], affine (mm) and header from a file's first bytes. Raises CaseError as ``read_nifti``."""
    with _naming(path, case), path.open("rb") as stream:
        packed = stream.peek(2).startswith(_GZIP)
        unpacked = igzip.GzipFile(fileobj=stream) if packed else stream
        header = _parse(unpacked.read(nib.Nifti2Header.sizeof_hdr))
        return *_geometry(header), header


def read_nifti(path: Path, case: str | None = None) -> tuple[ndarray, ndarray]:
    """Read voxels and affine (mm; sform, else qform) of a NIfTI file, to its last byte, as nibabel alone does not.

    The stored dtype is kept, but for scaled integers, which become float32. Raises CaseError, and nothing else.
    """
    with _naming(path, case):
        raw = path.read_bytes()
        if raw.startswith(_GZIP):
            raw = igzip.decompress(raw)
        header = _parse(raw)
        stored = header.get_data_dtype()
        end = int(header.get_data_offset()) + math.prod(header.get_data_shape()) * stored.itemsize
        if end != len(raw):  # before anything is allocated
            raise _refusal(f"corrupt: the header says {end} bytes: no file of this size, {len(raw)} bytes, holds them")
        _, affine = _geometry(header)
        array = header.data_from_fileobj(io.BytesIO(raw))
        scaled = array.dtype.kind == "f" and stored.kind != "f"
        return array.astype(np.float32 if scaled else array.dtype.newbyteorder("="), copy=False), affine


@contextmanager
def _naming(path: Path, case: str | None) -> Iterator[None]:
    """Turn what fails within into a CaseError that names the case and the file."""
    try:
        if not path.is_file():
            raise _refusal("missing", f"put it into {path.parent}")
        yield
    except Exception as error:  # whatever a damaged file makes the libraries raise
        if not isinstance(error, CaseError):
            error = _refusal(f"corrupt or unreadable ({type(error).__name__}: {error})")
        raise CaseError(case or path.parent.name, path.name, error.reason, error.advice) from None


def _refusal(reason: str, advice: str = "download it again, or check permissions, disk and memory") -> CaseError:
    """Return why a file cannot be used; ``_naming`` knows which case and file it is."""
    return CaseError("", "", reason, advice)


def _parse(start: bytes) -> nib.Nifti1Header:
    """Return the header that an unpacked file begins with."""
    for kind in (nib.Nifti1Header, nib.Nifti2Header):
        block = start[: kind.sizeof_hdr]
        if kind.may_contain_header(block):
            return kind(block)
    raise _refusal(f"corrupt: neither a gzip nor a NIfTI file, as it begins with {start[:40]!r}")


def _geometry(header: nib.Nifti1Header) -> tuple[tuple[int, ...], ndarray]:
    """Return the shape [3] and affine (mm) that a header says; refuse what is impossible."""
    shape = header.get_data_shape()
    if header.get_data_dtype().kind not in "biuf" or len(shape) != 3 or min(shape) < 1:
        reason = f"shape {shape} of {header.get_data_dtype()} is no volume"
        raise _refusal(reason, "store HU or labels as numbers on three axes")
    affine = header.get_best_affine()
    longest = (spacing_of(affine) * shape).max()
    # A crop, a whole body, and any CT in cm, m or microns lie outside.
    if not (75 <= longest <= 2000 and voxel_ml(affine) > 0):
        reason = f"geometry: spacing {spacing_of(affine)} mm, so the volume would be {longest / 10:.3g} cm wide"
        raise _refusal(reason, "repair the header's sform or qform, with the spacing in mm")
    if not header["sform_code"] and not header["qform_code"]:
        raise _refusal("says no orientation, so left and right are unknown", "set the header's sform or qform")
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

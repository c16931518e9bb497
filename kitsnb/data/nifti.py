"""NIfTI files: reading that verifies the whole stream, writing in one step, and what an affine says.

KiTS19 stores the slice axis first, other sources do not, so everything downstream asks the affine what axes mean.
"""

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import BinaryIO

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from kitsnb.files import replaced
from kitsnb.metric.surface import RECTANGULAR

NIBABEL_ERRORS = (HeaderDataError, WrapStructError, ImageFileError)
DOWNLOAD_AGAIN = "download it again"
READ = 8 << 20  # bytes at a time
#: No gzip stream unpacks to more than this many times its size.
MOST_PACKED = 1032
#: What the longest side of a CT can be, in mm: below lie scans whose spacing is in cm or m, above those in microns.
EXTENT = (75.0, 3000.0)
#: Corners further apart than this, in mm, are a conflict between qform and sform.
CONFLICT = 1.0
_CASE = re.compile(r"case_\d{5}")
#: Codes of ``xyzt_units`` whose unit is not mm: its name, and the mm in one.
_UNITS = {1: ("metres", 1e3), 3: ("microns", 1e-3)}
_GEOMETRY = ("pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d",
             "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z")


class CaseError(ValueError):
    """A case that cannot be used: which one, which file, what is wrong and what to do; ``code`` is for programs."""

    def __init__(self, case: str, file: str, reason: str, advice: str, code: str = "unusable"):
        self.case, self.file, self.reason, self.advice, self.code = case, file, reason, advice, code
        super().__init__(case, file, reason, advice, code)

    def __str__(self) -> str:
        return f"{self.case}: {self.file}: {self.reason}; {self.advice}"


@dataclass(frozen=True)
class Finding:
    """What is odd about a usable case; ``code`` is for programs."""

    code: str
    message: str


class _Nifti1(nib.Nifti1Header):
    quaternion_threshold = -1e-4  # b^2 + c^2 + d^2 may be a rounding over 1


class _Nifti2(nib.Nifti2Header):
    quaternion_threshold = -1e-4


@dataclass(frozen=True)
class Header:
    """Geometry of a NIfTI file, known without its voxels: shape (three axes), affine in mm, stored dtype."""

    shape: tuple[int, ...]
    affine: np.ndarray
    dtype: np.dtype
    stored: nib.Nifti1Header | None = None


def read_header(path: str | Path, case: str | None = None) -> Header:
    """Geometry of a NIfTI file from its first bytes only (so a cut file may pass); ``case`` is its name in messages.

    Raises CaseError where the file is missing, unreadable, no NIfTI file, or claims more voxels than it can hold.
    """
    with _opened(Path(path), case, []) as (_, header, _):
        return header


def read_nifti(path: str | Path, case: str | None = None,
               notes: list[Finding] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Voxels and affine (4 x 4, voxel index to mm) of a NIfTI-1 or NIfTI-2 file, packed or not.

    The stored dtype is kept, in the machine's byte order, unless the header scales the values (then float32). The
    affine is nibabel's choice: the sform where it is set, else the qform (nine KiTS19 labels have only that). The gzip
    stream is read to its end, and so verified: nibabel alone accepts a file whose tail is cut or flipped. What is odd,
    but can be read, is added to ``notes``. Raises CaseError, and nothing else, for a file that cannot be used.
    """
    with _opened(Path(path), case, [] if notes is None else notes) as (stream, header, start):
        offset = header.stored.get_data_offset()
        size, filled = offset + _voxel_bytes(header.stored), len(start)
        raw = bytearray(start[:size]) + bytes(max(0, size - filled))
        target = memoryview(raw)
        # Piece by piece: igzip holds what it is asked for a second time.
        while filled < size and (count := stream.readinto(target[filled : filled + READ])):
            filled += count
        if filled < size:
            raise EOFError(f"{filled} of {size} bytes")
        # The checksum is compared only when the stream's end is reached.
        if surplus := filled - size + sum(map(len, iter(lambda: stream.read(READ), b""))):
            raise _refused(f"corrupt: {surplus} bytes follow the voxels of shape {header.shape}",
                           f"the header does not belong to them; {DOWNLOAD_AGAIN}")
        array = np.frombuffer(raw, header.dtype, math.prod(header.shape), offset)
        slope, intercept = header.stored.get_slope_inter()
    array = array.reshape(header.shape, order="F")
    if slope is not None and (slope, intercept) != (1, 0):
        with np.errstate(all="ignore"):  # what becomes infinite is refused by the checks, by name
            return (array * np.float32(slope) + np.float32(intercept)).astype(np.float32), header.affine
    return array.astype(array.dtype.newbyteorder("="), copy=False), header.affine


@contextmanager
def _opened(path: Path, case: str | None, notes: list[Finding]) -> Iterator[tuple[BinaryIO, Header, bytes]]:
    """The one way to a file: its stream, header, and the bytes read for it. Whatever fails is a CaseError."""

    def error(*said: str) -> CaseError:
        names = _CASE.findall(str(path))
        refused = _refused(*said)
        return CaseError(case or (names[-1] if names else path.parent.name), path.name, *refused.args[2:])

    try:
        if path.is_symlink() and not path.exists():
            raise error(f"missing: a link to {path.readlink()}, which is not there", "repair the link", "missing")
        if not path.is_file():
            raise error("missing", f"put it into {path.parent}, or remove the case", "missing")
        with path.open("rb") as file:
            first = file.read(256)
        packed = first.startswith(b"\x1f\x8b")
        if not packed:
            _refuse_other_files(first)
            notes.append(Finding("not_packed", f"{path.name}: is not compressed"))
        with (igzip.open if packed else open)(path, "rb") as stream:
            start = stream.read(540)
            header, oddities = _header(_parse(start), path.stat().st_size * (MOST_PACKED if packed else 1))
            notes += [Finding(code, f"{path.name}: {text}") for code, text in oddities]
            yield stream, header, start
    except CaseError as raised:
        raise error(raised.reason, raised.advice, raised.code) from raised.__cause__
    except MemoryError as raised:
        raise error("too large for this machine's memory", "free some memory", "memory") from raised
    except (EOFError, igzip.BadGzipFile, isal_zlib.error) as raised:
        followed = "not a gzipped" in str(raised).lower()
        raise error(f"corrupt: {'other bytes follow the end of its gzip stream' if followed else raised}") from raised
    except (*NIBABEL_ERRORS, ValueError, TypeError, LookupError, ArithmeticError) as raised:
        raise error(f"corrupt: no valid NIfTI header ({raised})") from raised
    except OSError as raised:
        raise error(f"unreadable: {raised.strerror or raised}", "check permissions and disk", "unreadable") from raised


def _refused(reason: str, advice: str = DOWNLOAD_AGAIN, code: str = "corrupt") -> CaseError:
    """Why a file cannot be used; ``_opened`` knows which case and file it is."""
    return CaseError("", "", reason, advice, code)


def _refuse_other_files(first: bytes) -> None:
    """Raise CaseError for a file that begins neither as gzip nor as NIfTI."""
    if not first:
        raise _refused("corrupt: the file is empty")
    if first.startswith(b"version https://git-lfs"):
        reason = "corrupt: a pointer of Git LFS, not the file itself"
        raise _refused(reason, "fetch it with git lfs pull", "pointer")
    if first.lstrip().startswith(b"<"):
        raise _refused("corrupt: a web page that was saved instead of the file")
    if {348, 540}.isdisjoint(int.from_bytes(first[:4], order) for order in ("little", "big")):
        raise _refused("corrupt: neither a gzip nor a NIfTI file")


def _parse(start: bytes) -> nib.Nifti1Header:
    """The header that nibabel reads from the first bytes of a file, NIfTI-1 or NIfTI-2, either byte order."""
    sizes = {int.from_bytes(start[:4], order) for order in ("little", "big")}
    kind = _Nifti2 if 540 in sizes else _Nifti1
    return kind(start[: kind.sizeof_hdr], check=True)


def _voxel_bytes(stored: nib.Nifti1Header) -> int:
    return math.prod(map(int, stored.get_data_shape())) * stored.get_data_dtype().itemsize


def _header(stored: nib.Nifti1Header, room: int) -> tuple[Header, list[tuple[str, str]]]:
    """What ``stored`` says, and what is odd about it. ``room``: the bytes that the file can have for all voxels."""
    full, dtype, oddities = tuple(map(int, stored.get_data_shape())), stored.get_data_dtype(), []
    if any(n < 0 for n in full):
        raise _refused(f"corrupt: negative dimensions {full}")
    needed = int(stored.get_data_offset()) + _voxel_bytes(stored)
    if stored.get_data_offset() < stored.sizeof_hdr or needed > room:
        says = f"the header says {needed} bytes with voxels of shape {full}"
        raise _refused(f"corrupt: {says}; no file of this size holds them")
    if dtype.kind not in "biuf":
        kind = "complex numbers" if dtype.kind == "c" else "colours"
        raise _refused(f"voxels are {kind}, not one number each", "store HU or labels as integers or floats", "dtype")
    shape = full
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 1:
        raise _refused(f"shape {full} is no volume", "store one volume with three axes", "not_a_volume")
    if shape != full:
        oddities.append(("squeezed", f"shape {full} was taken as {shape}"))
    affine, unit = _affine(stored, shape)
    if unit != "mm":
        oddities.append(("unit", f"its geometry is stored in {unit}, and was taken so"))
    return Header(shape, affine, dtype, stored), [*oddities, *_doubts(stored, shape, affine)]


def _affine(stored: nib.Nifti1Header, shape: tuple[int, ...]) -> tuple[np.ndarray, str]:
    """The affine in mm, which must give a volume of ``shape`` a body's size, and the unit that it is stored in."""
    affine = np.asarray(stored.get_best_affine(), np.float64)
    spacing, unit, factor = spacing_of(affine), *_UNITS.get(int(stored["xyzt_units"]) & 7, ("mm", 1.0))
    if not (np.isfinite(affine).all() and voxel_ml(affine) > 0):
        shown = " x ".join(f"{value:g}" for value in spacing)
        advice = "repair the header's sform or qform"
        raise _refused(f"geometry: spacing {shown} mm is impossible", advice, "geometry")
    longest = float((spacing * shape).max())
    if EXTENT[0] < longest < EXTENT[1]:
        return affine, "mm"
    if EXTENT[0] < factor * longest < EXTENT[1]:
        return np.diag([factor, factor, factor, 1]) @ affine, unit
    size = f"{longest / 10:.2g} cm" if longest < 1000 else f"{longest / 1000:.3g} m"
    raise _refused(f"geometry: the volume would be {size} wide (longest side {longest:.3g} mm)",
                   "store the spacing in mm, or say its unit in xyzt_units", "geometry")


def _doubts(stored: nib.Nifti1Header, shape: tuple[int, ...], affine: np.ndarray) -> Iterator[tuple[str, str]]:
    """What is doubtful about orientation and geometry: codes and sentences."""
    if not stored["sform_code"] and not stored["qform_code"]:
        yield "orientation", (f"says no orientation (the codes of qform and sform are 0); {orientation_of(affine)} "
                              "was assumed, so left and right may be wrong")
    elif stored["sform_code"] and stored["qform_code"]:
        try:
            distance = corner_distance(stored.get_qform(), stored.get_sform(), shape)
        except HeaderDataError:  # no quaternion of length one
            distance = math.inf
        if not distance <= CONFLICT:
            yield "forms", f"qform and sform put its corners {distance:.3g} mm apart; sform was taken"
    share = 1000 * voxel_ml(affine) / spacing_of(affine).prod()
    if share < RECTANGULAR:
        angle = math.degrees(math.acos(share))
        yield "sheared", (f"its axes are {angle:.2g} degrees off right angles (gantry tilt?); volumes are right, "
                          "distances between surfaces are left out")


def corner_distance(first: np.ndarray, second: np.ndarray, shape: Sequence[int]) -> float:
    """Largest distance in mm between the world positions that two affines give the corners of a volume."""
    corners = np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in shape))], dtype=np.float64)
    return float(np.linalg.norm((corners @ (np.asarray(first) - np.asarray(second)).T)[:, :3], axis=1).max())


def spacing_of(affine: np.ndarray) -> np.ndarray:
    """Voxel spacing in mm along each array axis, shape (3,)."""
    return np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)


def voxel_ml(affine: np.ndarray) -> float:
    """Volume of a voxel in ml: the determinant, which is right for sheared axes, too."""
    return float(abs(np.linalg.det(np.asarray(affine)[:3, :3]))) / 1000


def orientation_of(affine: np.ndarray) -> str:
    """Where the array axes point, for example ``IPL``: inferior, posterior, left."""
    return "".join(code or "?" for code in nib.aff2axcodes(affine))


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

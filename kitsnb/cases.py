"""What a case is: discovery, split, exclusions, reading and checks of NIfTI pairs in KiTS19's folder format.

Array axes carry no meaning of their own. KiTS19 stores the slice axis first (axes point inferior, posterior, left),
other sources do not, so everything downstream asks the affine: ``spacing_of`` and ``orientation_of``.
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

#: Cases that the seed paper leaves out: two that the challenge confirmed faulty, four that Isensee and others doubted
#: (its reference 13). Four of the six were corrected upstream in December 2019; they stay out to keep the split.
EXCLUDED = {
    15: "annotation confirmed faulty by the organizers of the challenge",
    23: "annotation doubted by the winners of the challenge",
    37: "annotation confirmed faulty by the organizers of the challenge",
    68: "annotation doubted by the winners of the challenge",
    125: "annotation doubted by the winners of the challenge",
    133: "annotation doubted by the winners of the challenge",
}
#: Largest distance, in mm, between the corners of imaging and segmentation that still counts as the same geometry.
TOLERANCE = 1e-3
LABELS = (0, 1, 2)
DOWNLOAD_AGAIN = "download it again"
_NAME = re.compile(r"case_\d{5}")


class CaseError(ValueError):
    """A case that cannot be used: which one, which file, what is wrong and what to do."""

    def __init__(self, case: str, file: str, reason: str, advice: str):
        self.case, self.file, self.reason, self.advice = case, file, reason, advice
        super().__init__(case, file, reason, advice)

    def __str__(self) -> str:
        return f"{self.case}: {self.file}: {self.reason}; {self.advice}"


@dataclass(frozen=True, order=True)
class Case:
    """One folder ``case_XXXXX`` with ``imaging.nii.gz`` and ``segmentation.nii.gz`` (neither need exist yet)."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def number(self) -> int:
        return int(self.name.removeprefix("case_"))

    @property
    def imaging(self) -> Path:
        return self.folder / "imaging.nii.gz"

    @property
    def segmentation(self) -> Path:
        return self.folder / "segmentation.nii.gz"


@dataclass(frozen=True)
class Split:
    """Training and validation cases, and the names that the ranges ask for but the folder lacks."""

    training: list[Case]
    validation: list[Case]
    missing: list[str]


@dataclass(frozen=True)
class Header:
    """Geometry of a NIfTI file: what can be known without reading the voxels."""

    shape: tuple[int, ...]
    affine: np.ndarray
    dtype: np.dtype


def discover(folder: str | Path) -> list[Case]:
    """All cases below ``folder``, sorted by number.

    Raises FileNotFoundError where ``folder`` is missing or holds no ``case_XXXXX`` folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; give the folder that holds case_00000, case_00001, ...")
    found = _case_folders(folder)
    if not found:
        inner = [child.name for child in sorted(folder.iterdir()) if child.is_dir() and _case_folders(child)]
        advice = f"did you mean {folder / inner[0]}?" if inner else "give the folder that holds them"
        raise FileNotFoundError(f"{folder}: holds no folder named case_XXXXX (five digits); {advice}")
    return [Case(path) for path in found]


def _case_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir())


def select(
    cases: Iterable[Case],
    training: Sequence[int] = (0, 165),
    validation: Sequence[int] = (166, 209),
    excluded: Iterable[int] | None = None,
) -> Split:
    """Split ``cases`` by inclusive ranges of numbers; the defaults are the seed paper's split.

    ``excluded`` None leaves out ``EXCLUDED``, an empty list leaves out nothing. Raises ValueError for a range that is
    not [first, last] and for ranges that share a case, since validation cases must not be trained on.
    """
    for name, limits in {"training": training, "validation": validation}.items():
        if len(limits) != 2 or limits[0] > limits[1]:
            raise ValueError(f"{name}: {list(limits)} is no range; give [first, last], both included")
    if max(training[0], validation[0]) <= min(training[1], validation[1]):
        ranges = f"training {list(training)} and validation {list(validation)}"
        raise ValueError(f"{ranges} share cases; give disjoint ranges")
    left_out = set(EXCLUDED if excluded is None else excluded)
    by_number = {case.number: case for case in cases}
    wanted = {
        name: [number for number in range(first, last + 1) if number not in left_out]
        for name, (first, last) in {"training": training, "validation": validation}.items()
    }
    chosen = {name: [by_number[n] for n in numbers if n in by_number] for name, numbers in wanted.items()}
    missing = [f"case_{n:05d}" for numbers in wanted.values() for n in numbers if n not in by_number]
    return Split(chosen["training"], chosen["validation"], sorted(missing))


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
        while filled < target.nbytes and (count := stream.readinto(target[filled:])):
            filled += count
        if filled < target.nbytes:
            raise EOFError(f"{filled} of {target.nbytes} bytes of voxels")
        while stream.read(1 << 20):  # the checksum is compared only when the stream's end is reached
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
        if not self.path.is_file():
            raise CaseError(self.case, self.path.name, "missing", f"put it into {self.path.parent}, or remove the case")
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
            raise self._error(f"unreadable: {error.strerror or error}", "check permissions and disk") from error

    def _error(self, reason: str, advice: str = DOWNLOAD_AGAIN) -> CaseError:
        return CaseError(self.case, self.path.name, reason, advice)


def spacing_of(affine: np.ndarray) -> np.ndarray:
    """Voxel spacing in mm along each array axis, shape (3,)."""
    return np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)


def orientation_of(affine: np.ndarray) -> str:
    """Where the array axes point, for example ``IPL``: inferior, posterior, left."""
    return "".join(code or "?" for code in nib.aff2axcodes(affine))


def check_case(case: Case, imaging: bool = True) -> None:
    """Raise CaseError unless ``case`` can be used; ``imaging=False`` looks at the segmentation alone."""
    read_case(case, imaging)


def check_cases(cases: Iterable[Case], imaging: bool = True) -> tuple[list[Case], dict[str, str]]:
    """The usable cases, and for each refused one its name and the reason. One bad case does not stop the others."""
    usable, refused = [], {}
    for case in cases:
        try:
            check_case(case, imaging)
            usable.append(case)
        except CaseError as error:
            refused[case.name] = f"{error.file}: {error.reason}; {error.advice}"
    return usable, refused


def load_subject(case: Case):
    """``case`` as a torchio Subject: ``imaging`` (float32) and ``segmentation`` (uint8), shape (1, *axes as stored*).

    Raises CaseError as ``check_case`` does; each file is read once.
    """
    import torch
    import torchio as tio  # takes seconds to import, and only this function needs it

    imaging, segmentation, affine = read_case(case, imaging=True)
    return tio.Subject(
        imaging=tio.ScalarImage(tensor=torch.from_numpy(imaging.astype(np.float32))[None], affine=affine),
        segmentation=tio.LabelMap(tensor=torch.from_numpy(segmentation.astype(np.uint8))[None], affine=affine),
        name=case.name,
    )


def read_case(case: Case, imaging: bool) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Imaging (None unless wanted), segmentation and affine, after every check; each file is read once.

    Raises CaseError as ``check_case`` does.
    """
    segmentation, affine = read_nifti(case.segmentation)
    _check_geometry(case, case.segmentation, segmentation, affine)
    _check_labels(case, segmentation)
    if not imaging:
        return None, segmentation, affine
    volume, volume_affine = read_nifti(case.imaging)
    _check_geometry(case, case.imaging, volume, volume_affine)
    _check_finite(case, case.imaging, volume)
    if volume.shape != segmentation.shape:
        reason = f"shape {segmentation.shape} differs from imaging's {volume.shape}"
        raise CaseError(case.name, case.segmentation.name, reason, "use the pair that belongs together")
    distance = _corner_distance(affine, volume_affine, volume.shape)
    if not distance <= TOLERANCE:
        reason = f"affine differs from imaging's: corners lie up to {distance:.3g} mm apart"
        raise CaseError(case.name, case.segmentation.name, reason, "use the pair that belongs together")
    return volume, segmentation, affine


def _check_geometry(case: Case, path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    if array.ndim != 3 or not array.size:
        raise CaseError(case.name, path.name, f"shape {array.shape} is no volume", "store one volume with three axes")
    spacing = spacing_of(affine)
    if not (np.isfinite(affine).all() and (spacing > 0).all() and abs(np.linalg.det(affine)) > 0):
        shown = " x ".join(f"{value:g}" for value in spacing)
        raise CaseError(case.name, path.name, f"spacing {shown} mm is impossible", "repair the header's sform or qform")


def _check_finite(case: Case, path: Path, array: np.ndarray) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array.sum(dtype=np.float64)):
        reason = f"{np.count_nonzero(~np.isfinite(array))} voxels are NaN or infinite"
        raise CaseError(case.name, path.name, reason, DOWNLOAD_AGAIN)


def _check_labels(case: Case, array: np.ndarray) -> None:
    _check_finite(case, case.segmentation, array)
    # Minimum and maximum settle integers, at a tenth of the time that sorting out the unique values takes.
    if array.min() < LABELS[0] or array.max() > LABELS[-1] or (array.dtype.kind == "f" and (array % 1).any()):
        wrong = sorted(set(np.unique(array).tolist()) - set(LABELS))
        reason = f"holds labels {', '.join(f'{value:g}' for value in wrong[:5])}, not only 0, 1, 2"
        raise CaseError(case.name, case.segmentation.name, reason, "KiTS19 has kidney 1 and tumour 2; map others first")


def _corner_distance(first: np.ndarray, second: np.ndarray, shape: Sequence[int]) -> float:
    """Largest distance in mm between the world positions that two affines give the corners of a volume."""
    corners = np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in shape))], dtype=np.float64)
    return float(np.linalg.norm((corners @ (np.asarray(first) - np.asarray(second)).T)[:, :3], axis=1).max())


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    """Write a ``.nii.gz`` (mm, sform and qform set); it appears under its name only when it is complete.

    nibabel writes neither time nor name into the gzip header, so equal arrays give equal bytes.
    """
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        image.to_filename(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path

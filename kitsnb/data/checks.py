"""Is a case usable? What is certain is done, what is likely is done and noted, what is impossible is refused.

``read_case`` returns what passed, in one form: imaging as stored, labels uint8, one affine. Notes and refusals
(``CaseError``) carry a code for programs and a sentence for people.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from kitsnb.data.cases import Case, discover, for_each_case, hold_out
from kitsnb.data.geometry import difference, place
from kitsnb.data.nifti import DOWNLOAD_AGAIN, CaseError, Finding, read_header, read_nifti
from kitsnb.data.slabs import cut_slab, is_slab, is_small
from kitsnb.files import resolve

if TYPE_CHECKING:
    from kitsnb.data.settings import DataSettings

#: A stored label this close to a whole number is that one: half of a step of labels 0 to 2 scaled to 8 bits is 0.004.
SNAP = 0.01
#: A volume whose highest value is below this holds nothing but air, in HU; no CT has all its values within the second.
AIR = -200
NARROW = 100
#: What voxels outside the scanner's field of view are taken for, in HU.
OUTSIDE = -1024


@dataclass(frozen=True)
class Accept:
    """How a case is read, where that is not as KiTS19 has it."""

    label_map: Mapping[int, int] = field(default_factory=dict)  # labels to take as others
    affine: bool = False  # take imaging's affine where the segmentation's differs
    slab: int | None = None  # pixels of a slice that ``cut_slab`` keeps of each case

    def __post_init__(self):
        wrong = {old: new for old, new in self.label_map.items() if new not in (0, 1, 2)}
        if wrong:
            raise ValueError(f"label_map: {wrong} leads to no label; map to 0 background, 1 kidney or 2 tumour")


@dataclass(frozen=True)
class CaseReport:
    """``status`` is "ok", "warning" (usable, something is odd) or "refused"."""

    case: str
    status: str
    reasons: list[Finding]


def read_case(
    case: Case, imaging: bool = True, accept: Accept | None = None, notes: list[Finding] | None = None
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Read imaging (None unless wanted), labels (uint8) and the affine that counts of ``case``, after every check.

    Findings that do not refuse it are added to ``notes``. Raises CaseError for one that does.
    """
    accept = accept or Accept()
    notes = [] if notes is None else notes
    for path in (case.segmentation, case.imaging) if imaging else (case.segmentation,):
        if path.suffix == ".gz" and path.with_suffix("").is_file():
            notes.append(Finding("twice", f"{path.name}: was taken, though {path.with_suffix('').name} is there, too"))
    labels, affine = read_labels(case.segmentation, case.name, accept, notes)
    volume = None
    wanted = labels.shape, affine
    if imaging:
        volume, own = read_nifti(case.imaging, case.name, notes)
        check_hu(case.name, case.imaging, volume, notes)
        wanted = volume.shape, own
    elif accept.affine and case.imaging.is_file():
        header = read_header(case.imaging, case.name)
        wanted = header.shape, header.affine
    labels = fit_labels(case.name, case.segmentation, (labels, affine), wanted, accept, notes)
    if accept.slab:
        return cut_slab(volume, labels, wanted[1], accept.slab)
    return volume, labels, wanted[1]


def check_case(case: Case, imaging: bool = True, accept: Accept | None = None) -> CaseReport:
    """Read ``case`` from end to end and say what is found; never raises for a faulty case."""
    notes: list[Finding] = []
    try:
        read_case(case, imaging, accept, notes)
    except CaseError as error:
        reason = Finding(error.code, f"{error.file}: {error.reason}; {error.advice}")
        return CaseReport(case.name, "refused", [reason, *notes])
    return CaseReport(case.name, "warning" if notes else "ok", notes)


def check_cases(
    cases: Iterable[Case], imaging: bool = True, accept: Accept | None = None, workers: int = 2
) -> list[CaseReport]:
    """Check each case, ``workers`` at a time (reading releases the interpreter's lock); keep their order."""
    reports, _ = for_each_case(lambda case: check_case(case, imaging, accept), cases, workers, "checking")
    return list(reports.values())


def check_hu(name: str, path: Path, volume: np.ndarray, notes: list[Finding]) -> None:
    """Raise CaseError for what cannot be HU of a patient; voxels outside the field of view become air, in place."""
    _fill_outside(name, path, volume, OUTSIDE, notes)
    low, high = float(volume.min()), float(volume.max())
    seen = f"values go from {low:g} to {high:g}"
    if low == high or high < AIR:
        what = "all voxels are equal" if low == high else "nothing but air"
        raise CaseError(name, path.name, f"{what}: {seen}", DOWNLOAD_AGAIN, "air")
    if low >= 0:
        reason = f"no negative value, so these are no HU (unscaled 12-bit values?): {seen}"
        raise CaseError(name, path.name, reason, "convert to HU by the scanner's slope and intercept", "unscaled")
    if high - low < NARROW:
        reason = f"too narrow for HU (normalized, or divided?): {seen}"
        raise CaseError(name, path.name, reason, "convert back to HU: undo the z-score or the scaling", "normalized")


def _fill_outside(name: str, path: Path, array: np.ndarray, value: float, notes: list[Finding]) -> None:
    """Set what is NaN or infinite to ``value``, in place, where it reaches the border; raise CaseError elsewhere."""
    if array.dtype.kind != "f" or np.isfinite(array.sum(dtype=np.float64)):
        return
    broken = ~np.isfinite(array)
    regions, _ = ndimage.label(broken)
    faces = [regions.take(end, axis).ravel() for axis in range(3) for end in (0, -1)]
    inside = np.count_nonzero(broken & ~np.isin(regions, np.concatenate(faces)))
    if inside:
        reason = f"{inside} voxels within the volume are NaN or infinite"
        raise CaseError(name, path.name, reason, "no value is known there: leave the case out", "not_finite")
    array[broken] = value
    what = f"{np.count_nonzero(broken)} voxels outside the field of view are NaN or infinite"
    notes.append(Finding("outside", f"{path.name}: {what}, and were taken as {value:g}"))


def read_labels(
    path: Path, name: str, accept: Accept | None = None, notes: list[Finding] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Read labels as uint8, rounded and mapped, and their affine; classes that are missing are noted.

    Raises CaseError for labels other than 0, 1 and 2.
    """
    accept = accept or Accept()
    notes = [] if notes is None else notes
    array, affine = read_nifti(path, name, notes)
    _fill_outside(name, path, array, 0, notes)
    if array.dtype.kind == "f":
        whole = np.rint(array)
        off = np.abs(array - whole)
        if off.max() > SNAP:
            reason = f"holds labels {_listed(array[off > SNAP])}, not only 0, 1, 2"
            advice = "store whole labels (resample them by nearest neighbour)"
            raise CaseError(name, path.name, reason, advice, "labels")
        if off.any():
            notes.append(Finding("snapped", f"{path.name}: labels up to {off.max():.2g} off were rounded"))
        array = whole
    array = _mapped(array, accept.label_map, path, notes)
    # Minimum and maximum settle integers, at a tenth of the time that sorting out the unique values takes.
    if array.min() < 0 or array.max() > 2:
        wrong = array[(array < 0) | (array > 2)]
        reason = f"holds labels {_listed(wrong)}, not only 0, 1, 2, in {wrong.size} voxels"
        advice = "say what each is, 0 background, 1 kidney or 2 tumour, as in --label-map 3=1 for cysts"
        raise CaseError(name, path.name, reason, advice, "labels")
    labels = array.astype(np.uint8, copy=False)
    for label, kind in ((1, "kidney"), (2, "tumour")):
        if not (labels == label).any():
            notes.append(Finding(f"no_{kind}", f"{path.name}: holds no {kind}"))
    return labels, affine


def _mapped(array: np.ndarray, label_map: Mapping[int, int], path: Path, notes: list[Finding]) -> np.ndarray:
    mapped = array.copy() if label_map else array
    for old, new in label_map.items():
        count = np.count_nonzero(array == old)
        if count:
            mapped[array == old] = new
            notes.append(Finding("mapped", f"{path.name}: label {old} was taken as {new} in {count} voxels"))
    return mapped


def _listed(values: np.ndarray) -> str:
    unique = np.unique(values)
    return ", ".join(f"{value:g}" for value in unique[:5]) + (", ..." if unique.size > 5 else "")


def fit_labels(
    name: str, path: Path, labels: tuple, wanted: tuple, accept: Accept | None = None,
    notes: list[Finding] | None = None, other: str = "imaging",
) -> np.ndarray:
    """Return labels, given as (array, affine), in the wanted geometry, (shape, affine), which is that of ``other``.

    Other axes are turned, and a part of the grid is placed in it (3D Slicer stores what is drawn); both are noted, as
    is another affine with ``accept.affine``. Raises CaseError for any other difference.
    """
    notes = [] if notes is None else notes
    array, affine = labels
    differs = difference(array.shape, affine, *wanted)
    if differs is None:
        return array
    placed = place(array, affine, *wanted)
    if placed is not None:
        notes.append(Finding("placed", f"{path.name}: was turned to, or placed in, the grid of {other}"))
        return placed
    same_shape = array.shape == tuple(wanted[0])
    if same_shape and accept and accept.affine:
        notes.append(Finding("affine", f"{path.name}: {differs}; the affine of {other} was taken"))
        return array
    advice = "use the pair that belongs together"
    if same_shape and other == "imaging":
        advice += ", or accept imaging's affine: --accept-affine"
    raise CaseError(name, path.name, f"not the geometry of {other}: {differs}", advice, "geometry")


def missing_cases(settings: "DataSettings") -> list[str]:
    """Say, all at once, what ``settings`` ask for and their folder lacks; nothing where all is made.

    Imaging is asked for only where it is read and a case has any, since a folder of labels alone is of use, too.
    """
    if settings.source == "phantom":
        return []
    try:
        cases = discover(resolve(settings.folder))
        split = hold_out(cases, settings)
    except (FileNotFoundError, ValueError) as error:
        return [str(error)]
    wanted = [*split.training, *split.validation]
    problems = [f"{name}: no such folder" for name in split.missing]
    problems += [f"{case.name}: no segmentation" for case in wanted if not case.segmentation.is_file()]
    if settings.source == "folder" and any(case.imaging.is_file() for case in cases):
        problems += [f"{case.name}: no imaging" for case in wanted if not case.imaging.is_file()]
    return problems + _slab_problems(wanted, settings)


def _slab_problems(cases: list[Case], settings: "DataSettings") -> list[str]:
    """Tell slabs given for whole scans, and the reverse, by the labels of five cases."""
    few = cases[:: len(cases) // 5 + 1]
    wrong = 0
    for case in few:
        try:
            labels, affine = read_labels(case.segmentation, case.name, settings.accept)
        except CaseError:
            continue  # is refused by name where it is read
        if settings.slab is None:
            wrong += is_slab(labels, affine)
        else:
            wrong += is_small(labels, affine, settings.slab.in_plane) and not is_slab(labels, affine)
    if 2 * wrong <= len(few):
        return []
    if settings.slab is None:
        return ["these look like slabs around tumours, not whole scans; set data.slab, or give whole scans"]
    return [f"data.slab is set, but these are whole scans of at most {settings.slab.in_plane} pixels a side; "
            "make slab.in_plane smaller, or set slab to null"]

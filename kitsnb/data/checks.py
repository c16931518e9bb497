"""Is a case usable? What is certain is done, what is likely is done and noted, what is impossible is refused.

``notes``, wherever it is taken, gets what is odd about a usable case.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy import ndarray
from scipy import ndimage

from kitsnb.data.cases import Case, discover, for_each_case, further_cases, hold_out
from kitsnb.data.geometry import Arrays, Grid, cut_slab, difference, is_slab
from kitsnb.data.nifti import CaseError, read_header, read_nifti
from kitsnb.data.settings import Accept, DataSettings
from kitsnb.files import resolve

#: A stored label this close to a whole number is that one: half of a step of labels 0 to 2 scaled to 8 bits is 0.004.
SNAP = 0.01


@dataclass(frozen=True)
class CaseReport:
    """What is to be said of a case; ``status`` is "ok", "warning" (usable, something is odd) or "refused"."""

    case: str
    status: str
    reasons: list[str]


def read_case(case: Case, imaging: bool = True, accept: Accept | None = None, notes: list[str] | None = None) -> Arrays:
    """Read imaging (None unless wanted), labels (uint8) and the affine that counts; CaseError for a case of no use."""
    accept = accept or Accept()
    notes = [] if notes is None else notes
    volume = None
    grid = None
    if imaging:
        volume, affine = read_nifti(case.imaging, case.name, notes)
        check_hu(case.name, case.imaging, volume, notes)
        grid = volume.shape, affine
    elif case.imaging.is_file():  # whose grid counts, whether it is wanted or not
        grid = read_header(case.imaging, case.name)[:2]
    labels, affine = read_labels(case.segmentation, case.name, accept, grid, notes=notes)
    if accept.slab:
        return cut_slab(volume, labels, affine, accept.slab)
    return volume, labels, affine


def check_cases(
    cases: Iterable[Case], imaging: bool = True, accept: Accept | None = None, workers: int = 2
) -> list[CaseReport]:
    """Read each case from end to end, ``workers`` at a time, and say what is found, in their order."""

    def check(case: Case) -> CaseReport:
        notes: list[str] = []
        try:
            read_case(case, imaging, accept, notes)
        except CaseError as error:
            return CaseReport(case.name, "refused", [error.message, *notes])
        return CaseReport(case.name, "warning" if notes else "ok", notes)

    reports, _ = for_each_case(check, cases, workers, "checking")
    return list(reports.values())


def check_hu(name: str, path: Path, volume: ndarray, notes: list[str]) -> None:
    """Raise CaseError for what cannot be HU of a patient; voxels outside the field of view become air, in place."""
    _fill_outside(name, path, volume, -1024, notes)
    low = float(volume.min())
    high = float(volume.max())
    if low >= 0 or high < -200 or high - low < 100:  # unscaled, all air, or normalized
        reason = f"values go from {low:g} to {high:g}: no HU of a patient (all air, unscaled, normalized?)"
        raise CaseError(name, path.name, reason, "convert to HU: undo what was done, or apply slope and intercept")


def _fill_outside(name: str, path: Path, array: ndarray, value: float, notes: list[str]) -> None:
    """Set what is NaN or infinite to ``value``, in place, where it reaches the border; raise CaseError elsewhere."""
    finite = np.isfinite(array)
    if finite.all():
        return
    inside = np.count_nonzero(ndimage.binary_fill_holes(finite) & ~finite)
    if inside:
        reason = f"{inside} voxels within the volume are NaN or infinite"
        raise CaseError(name, path.name, reason, "no value is known there: leave the case out")
    array[~finite] = value
    notes.append(f"{path.name}: NaN or infinite outside the field of view was taken as {value:g}")


def read_labels(
    path: Path, name: str, accept: Accept | None = None, grid: Grid | None = None, notes: list[str] | None = None
) -> tuple[ndarray, ndarray]:
    """Read labels (uint8, rounded and mapped) and affine; they must lie on ``grid``, if given. Raises CaseError."""
    accept = accept or Accept()
    notes = [] if notes is None else notes
    array, affine = read_nifti(path, name, notes)
    _fill_outside(name, path, array, 0, notes)
    whole = np.round(array)
    labels = whole.copy()
    for old, new in accept.label_map.items():
        labels[whole == old] = new
    off = np.abs(array - whole)
    wrong = array[(off > SNAP) | (labels < 0) | (labels > 2)]
    if wrong.size:
        listed = ", ".join(f"{value:g}" for value in np.unique(wrong)[:5])
        reason = f"holds labels {listed}, not only 0, 1, 2, in {wrong.size} voxels"
        advice = "say what each is, 0 background, 1 kidney or 2 tumour, as in --label-map 3=1 for cysts"
        raise CaseError(name, path.name, reason, advice)
    if off.any():
        notes.append(f"{path.name}: labels up to {off.max():.2g} off were rounded")
    labels = labels.astype(np.uint8)
    for label, kind in ((1, "kidney"), (2, "tumour")):
        if not (labels == label).any():
            notes.append(f"{path.name}: holds no {kind}")
    if grid is None:
        return labels, affine
    differs = difference((labels.shape, affine), grid)
    if differs:
        if not accept.affine or labels.shape != grid[0]:
            advice = "store it on the voxels of that CT; if its affine alone is wrong: --accept-affine"
            raise CaseError(name, path.name, f"not the geometry of its CT: {differs}", advice)
        notes.append(f"{path.name}: {differs}; the affine of imaging was taken")
    return labels, grid[1]


def missing_cases(settings: DataSettings) -> list[str]:
    """Say, all at once, what ``settings`` ask for and their folder lacks; imaging only where any case has it."""
    try:
        cases = discover(resolve(settings.folder))
        split = hold_out(cases, settings, further=further_cases(settings))
    except (FileNotFoundError, ValueError) as error:
        return [str(error)]
    wanted = [*split.training, *split.validation]
    problems = [f"{name}: no such folder" for name in split.missing]
    kinds = ["segmentation"]
    if settings.source == "folder" and any(case.imaging.is_file() for case in cases):
        kinds.append("imaging")
    for kind in kinds:
        problems += [f"{case.name}: no {kind}" for case in wanted if not getattr(case, kind).is_file()]
    own = [case for case in wanted if not case.mark]  # further folders may hold what they like
    found = []
    for case in own[:: len(own) // 5 + 1]:
        with suppress(CaseError):  # it is refused by name where it is read
            _, labels, affine = read_case(case, imaging=False, accept=settings.accept)
            found.append(is_slab(labels, affine))
    if found and (np.mean(found) > 0.5) != bool(settings.slab):
        kind = "whole scans" if settings.slab else "slabs around tumours"
        problems.append(f"these look like {kind}; change data.slab (null: whole scans), or give another folder")
    return problems

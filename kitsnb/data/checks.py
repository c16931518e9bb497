"""Is a case usable? It is read as it is stored, or refused with what is wrong and what to do."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy import ndarray

from kitsnb.data.cases import Case, discover, for_each_case, further_cases, hold_out
from kitsnb.data.geometry import Arrays, Grid, cut_slab, difference, is_slab
from kitsnb.data.nifti import CaseError, read_header, read_nifti
from kitsnb.data.settings import Accept, DataSettings
from kitsnb.files import resolve


@dataclass(frozen=True)
class CaseReport:
    """What is to be said of a case; ``status`` is "ok", "warning" (usable, something is odd) or "refused"."""

    case: str
    status: str
    reasons: list[str]


def read_case(case: Case, imaging: bool = True, accept: Accept | None = None) -> Arrays:
    """Read imaging (None unless wanted), labels (uint8) and the affine that counts; CaseError for a case of no use."""
    accept = accept or Accept()
    volume = None
    grid = None
    if imaging:
        volume, affine = read_nifti(case.imaging, case.name)
        check_hu(case.name, case.imaging, volume)
        grid = volume.shape, affine
    elif case.imaging.is_file():  # whose grid counts, whether it is wanted or not
        grid = read_header(case.imaging, case.name)[:2]
    labels, affine = read_labels(case.segmentation, case.name, accept, grid)
    if accept.slab:
        return cut_slab(volume, labels, affine, accept.slab)
    return volume, labels, affine


def check_cases(cases: Iterable[Case], imaging: bool = True, accept: Accept | None = None) -> list[CaseReport]:
    """Read each case from end to end, and say what is found, in their order."""

    def check(case: Case) -> CaseReport:
        try:
            _, labels, _ = read_case(case, imaging, accept)
        except CaseError as error:
            return CaseReport(case.name, "refused", [error.message])
        odd = oddities(labels)
        return CaseReport(case.name, "warning" if odd else "ok", odd)

    reports, _ = for_each_case(check, cases, 2, "checking")
    return list(reports.values())


def oddities(labels: ndarray) -> list[str]:
    """Say what is odd about labels that are usable."""
    return [f"holds no {kind}" for label, kind in ((1, "kidney"), (2, "tumour")) if label not in labels]


def check_hu(name: str, path: Path, volume: ndarray) -> None:
    """Raise CaseError for what cannot be HU of a patient."""
    low = float(volume.min())
    high = float(volume.max())
    if not (low < 0 and high >= -200 and 100 <= high - low < np.inf):
        reason = f"values go from {low:g} to {high:g}: no HU of a patient (NaN, all air, unscaled, normalized?)"
        advice = "apply slope and intercept, undo what was done, and store -1024 outside the field of view"
        raise CaseError(name, path.name, reason, f"convert to HU: {advice}")


def read_labels(
    path: Path, name: str, accept: Accept | None = None, grid: Grid | None = None
) -> tuple[ndarray, ndarray]:
    """Read labels (uint8, mapped) and affine; they must lie on ``grid``, if given. Raises CaseError."""
    accept = accept or Accept()
    array, affine = read_nifti(path, name)
    labels = array.copy()
    for old, new in accept.label_map.items():
        labels[array == old] = new
    wrong = array[(labels != 0) & (labels != 1) & (labels != 2)]
    if wrong.size:
        listed = ", ".join(f"{value:g}" for value in np.unique(wrong)[:5])
        reason = f"holds labels {listed}, not only 0, 1, 2, in {wrong.size} voxels"
        advice = "say what each is, 0 background, 1 kidney or 2 tumour, as in --label-map 3=1 for cysts"
        raise CaseError(name, path.name, reason, advice)
    labels = labels.astype(np.uint8)
    if grid is None:
        return labels, affine
    differs = difference((labels.shape, affine), grid)
    if differs and not (accept.affine and labels.shape == grid[0]):
        advice = "store it on the voxels of that CT; if its affine alone is wrong: --accept-affine"
        raise CaseError(name, path.name, f"not the geometry of its CT: {differs}", advice)
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
    problems += [f"{case.name}: no segmentation" for case in wanted if not case.segmentation.is_file()]
    if settings.source == "folder" and any(case.imaging.is_file() for case in cases):
        problems += [f"{case.name}: no imaging" for case in wanted if not case.imaging.is_file()]
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

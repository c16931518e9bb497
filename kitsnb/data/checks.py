"""Is a case usable? The checks that guard every stage, each with a code for programs and a sentence for people.

``read_case`` returns what passed, in one form: imaging as stored, labels uint8, one affine. What is odd but usable
is noted; what is not raises ``CaseError``. Each file is read once, to the end of its gzip stream.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path

import nibabel as nib
import numpy as np

from kitsnb.data.cases import Case, discover, for_each_case, select
from kitsnb.data.nifti import DOWNLOAD_AGAIN, CaseError, Finding, corner_distance, read_nifti, spacing_of

#: Largest distance, in mm, between the corners of imaging and segmentation that still counts as the same geometry.
TOLERANCE = 1e-3
LABELS = (0, 1, 2)
#: Floating-point labels this close to a label are that label.
SNAP = 1e-3
#: HU beyond which no CT goes, padding and metal included; what lies outside is noted.
HU_RANGE = (-4096, 32767)
#: A volume whose highest value is below this holds nothing but air, in HU.
AIR = -200
#: Voxels that the shares of tissue are counted in.
SAMPLE = 1_000_000
#: Ranges of HU, first excluded and last included.
AIR_HU, SOFT_HU, BONE_HU = (-np.inf, -300), (-200, 300), (600, np.inf)
#: No body has a larger share of voxels above 600 HU, nor a smaller one of soft tissue.
MOST_BONE, LEAST_SOFT = 0.1, 0.05
#: Where 99.8 % of the voxels lie closer together than this, they are no HU; closer than the second, perhaps.
NARROW = (100, 250)
RESCALE = "convert to HU with the scanner's slope and intercept"
#: The spacing of all cases in KiTS19's interpolated branch, in mm (slice, height, width).
INTERPOLATED = (3.0, 0.78162497, 0.78162497)


@dataclass(frozen=True)
class Accept:
    """What is accepted although KiTS19 has it not: other labels, and an affine that differs (imaging's counts)."""

    label_map: Mapping[int, int] = field(default_factory=dict)
    affine: bool = False

    def __post_init__(self):
        # papermill hands keys of a dict on as text.
        object.__setattr__(self, "label_map", {int(old): int(new) for old, new in self.label_map.items()})
        if wrong := {old: new for old, new in self.label_map.items() if new not in LABELS}:
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
    """Imaging (None unless wanted), labels (uint8) and affine of ``case``, after every check.

    Findings that do not refuse the case are added to ``notes``. Raises CaseError for one that does.
    """
    accept, notes = accept or Accept(), [] if notes is None else notes
    labels, affine = read_nifti(case.segmentation, case.name, notes)
    labels = _labels(case, labels, accept, notes)
    if not imaging:
        _note_spacing(affine, notes)
        return None, labels, affine
    volume, volume_affine = read_nifti(case.imaging, case.name, notes)
    check_hu(case.name, case.imaging, volume, notes)
    check_pair(case, (labels.shape, affine), (volume.shape, volume_affine), accept, notes)
    _note_spacing(volume_affine, notes)
    return volume, labels, volume_affine


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
    """``check_case`` of each, in their order, ``workers`` at a time (reading releases the interpreter's lock)."""
    return list(for_each_case(lambda case: check_case(case, imaging, accept), cases, workers, "checking")[0].values())


def missing_from_split(
    folder: str | Path, training: Sequence[int], validation: Sequence[int], excluded: Iterable[int] | None = None,
    imaging: bool = True,
) -> list[str]:
    """What a split needs and ``folder`` lacks, all at once: cases, and files of those there are.

    Imaging is asked for only where a case has any, since a folder of labels alone is of use, too.
    """
    cases = discover(folder)
    split = select(cases, training, validation, excluded)
    with_imaging = imaging and any(case.imaging.exists() for case in cases)
    files = [case.segmentation for case in (*split.training, *split.validation)]
    files += [case.imaging for case in (*split.training, *split.validation) if with_imaging]
    lacking = sorted(f"{path.parent.name}/{path.name}" for path in files if not path.is_file())
    return [*split.missing, *lacking]


def _check_finite(name: str, path: Path, array: np.ndarray) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array.sum(dtype=np.float64)):
        reason = f"{np.count_nonzero(~np.isfinite(array))} voxels are NaN or infinite"
        raise CaseError(name, path.name, reason, DOWNLOAD_AGAIN, "not_finite")


def check_hu(name: str, path: Path, volume: np.ndarray, notes: list[Finding]) -> None:
    """Are these HU? Judged by extremes and, in about a million voxels, by the shares of air, soft tissue and bone.

    Raises CaseError for what cannot be HU of a patient; what is doubtful is added to ``notes``.
    """
    _check_finite(name, path, volume)
    low, high = float(volume.min()), float(volume.max())
    seen = f"values go from {low:g} to {high:g}"
    if low == high or high < AIR:
        what = "all voxels are equal" if low == high else "nothing but air"
        raise CaseError(name, path.name, f"{what}: {seen}", DOWNLOAD_AGAIN, "air")
    few = volume.reshape(-1, order="A")[:: volume.size // SAMPLE | 1]
    air, soft, bone = (float(np.mean((few > first) & (few <= last))) for first, last in (AIR_HU, SOFT_HU, BONE_HU))
    if low >= 0 or bone > MOST_BONE and air < bone / 2:
        reason = "no negative value" if low >= 0 else f"{bone:.0%} above {BONE_HU[0]} HU and {air:.0%} air"
        reason += f", so these are no HU (unscaled 12-bit values?): {seen}"
        raise CaseError(name, path.name, reason, RESCALE, "unscaled")
    width = float(np.subtract(*np.percentile(few, (99.9, 0.1))))
    if width < NARROW[0]:
        reason = f"too narrow for HU (normalized, or divided?): {seen}"
        raise CaseError(name, path.name, reason, "convert back to HU: undo the z-score or the scaling", "normalized")
    if low < HU_RANGE[0] or high > HU_RANGE[1]:
        notes.append(Finding("hu_range", f"{path.name}: outside any CT's range: {seen}"))
    if width < NARROW[1]:
        doubt = f"narrow for HU, clipped or scaled? 99.8 % lie within {width:g}: {seen}"
        notes.append(Finding("hu_narrow", f"{path.name}: {doubt}"))
    elif low > AIR:
        notes.append(Finding("hu_clipped", f"{path.name}: no air, clipped to a window or no HU? {seen}"))
    elif bone > MOST_BONE / 2 and air < bone or soft < LEAST_SOFT:
        shares = f"{air:.0%} air, {soft:.0%} soft tissue, {bone:.0%} above {BONE_HU[0]} HU"
        doubt = "unusual for HU of a body (slope and intercept applied?)"
        notes.append(Finding("hu_shares", f"{path.name}: {doubt}: {shares}: {seen}"))


def _labels(case: Case, array: np.ndarray, accept: Accept, notes: list[Finding]) -> np.ndarray:
    """Labels as uint8, after snapping and mapping; missing classes are noted."""
    name = case.segmentation.name
    _check_finite(case.name, case.segmentation, array)
    if array.dtype.kind == "f":
        whole = np.rint(array)
        if (off := float(np.abs(array - whole).max())) > SNAP:
            reason = f"holds labels {_listed(array[np.abs(array - whole) > SNAP])}, not only 0, 1, 2"
            advice = "store whole labels (resample them by nearest neighbour)"
            raise CaseError(case.name, name, reason, advice, "labels")
        if off:
            notes.append(Finding("snapped", f"{name}: floating-point labels up to {off:.2g} off were rounded"))
        array = whole
    if accept.label_map:
        array = _mapped(array, accept.label_map, name, notes)
    # Minimum and maximum settle integers, at a tenth of the time that sorting out the unique values takes.
    low, high = int(array.min()), int(array.max())
    if low < LABELS[0] or high > LABELS[-1]:
        wrong = array[(array < LABELS[0]) | (array > LABELS[-1])]
        reason = f"holds labels {_listed(wrong)}, not only 0, 1, 2, in {wrong.size} voxels"
        advice = f"if they are, for example, cysts, count them as kidney: --label-map {int(wrong[0])}=1"
        raise CaseError(case.name, name, reason, advice, "labels")
    labels = array.astype(np.uint8, copy=False)
    for label, kind in ((1, "kidney"), (2, "tumour")):
        if high < label or (label == 1 and not (labels == 1).any()):
            notes.append(Finding(f"no_{kind}", f"{name}: holds no {kind}; patches are centred on what there is"))
    return labels


def _mapped(array: np.ndarray, label_map: Mapping[int, int], name: str, notes: list[Finding]) -> np.ndarray:
    mapped = array.copy()
    for old, new in label_map.items():
        if count := int(np.count_nonzero(array == old)):
            mapped[array == old] = new
            notes.append(Finding("mapped", f"{name}: label {old} was taken as {new} in {count} voxels"))
    return mapped


def _listed(values: np.ndarray) -> str:
    unique = np.unique(values)
    return ", ".join(f"{value:g}" for value in unique[:5]) + (", ..." if unique.size > 5 else "")


def check_pair(case: Case, labels: tuple, imaging: tuple, accept: Accept, notes: list[Finding]) -> None:
    """Labels and imaging, each (shape, affine), must share one geometry, else CaseError says what would fit.

    With ``accept.affine`` another affine alone is noted.
    """
    (shape, affine), (wanted_shape, wanted_affine) = labels, imaging
    distance = corner_distance(affine, wanted_affine, shape) if shape == wanted_shape else np.inf
    if distance <= TOLERANCE:
        return
    if distance < np.inf and accept.affine:
        differs = f"the segmentation's affine differs by up to {distance:.3g} mm; imaging's was taken"
        notes.append(Finding("affine", differs))
        return
    fitting = _fitting(shape, affine, wanted_shape, wanted_affine)
    if distance == np.inf:
        reason, code = f"shape {shape} differs from imaging's {wanted_shape}", "shape"
    else:
        reason, code = f"affine differs from imaging's: corners lie up to {distance:.3g} mm apart", "affine"
        if np.allclose(affine[:3, :3], wanted_affine[:3, :3], atol=1e-6):
            moved = ", ".join(f"{value:+.3g}" for value in (affine - wanted_affine)[:3, 3])
            reason += f" (shifted by {moved} mm)"
        opposite = np.isclose(affine[:3, :3], -wanted_affine[:3, :3], atol=1e-6).all(axis=0)
        if turned := np.flatnonzero(opposite).tolist():
            reason += f" (axis {' and '.join(map(str, turned))} points the other way)"
    advice = "use the pair that belongs together"
    advice += ", or accept imaging's affine: --accept-affine" if code == "affine" else ""
    raise CaseError(case.name, case.segmentation.name, reason, fitting or advice, "axes" if fitting else code)


def _fitting(shape: Sequence[int], affine: np.ndarray, wanted: Sequence[int], wanted_affine: np.ndarray) -> str | None:
    """How to permute and flip an array so that it has the wanted geometry, in words; None if nothing does it.

    Either the array with its affine fits after the turn, or the array alone was turned under an affine that is right.
    """
    start, end = (nib.orientations.io_orientation(one) for one in (affine, wanted_affine))
    turn = nib.orientations.ornt_transform(start, end)
    order = tuple(np.argsort(turn[:, 0]).tolist())
    turned = affine @ nib.orientations.inv_ornt_aff(turn, shape)
    fits = [found for found in permutations(range(3)) if tuple(shape[axis] for axis in found) == tuple(wanted)]
    if order in fits and corner_distance(turned, wanted_affine, wanted) <= TOLERANCE:
        flipped = [str(place) for place, axis in enumerate(order) if turn[axis, 1] < 0]
        steps = [f"permute its axes to {order}"] if order != (0, 1, 2) else []
        steps += [f"flip {'axis' if len(flipped) == 1 else 'axes'} {', '.join(flipped)}"] if flipped else []
        return f"it would fit after this: {' and '.join(steps)} (with its affine)"
    if fits and tuple(shape) != tuple(wanted):
        turn = f"permute its axes to {fits[0]}"
        return f"its shape would fit after this: {turn}; its affine would not, so check the pair"
    return None


def _note_spacing(affine: np.ndarray, notes: list[Finding]) -> None:
    if np.allclose(sorted(spacing_of(affine)), sorted(INTERPOLATED), atol=2e-6):
        spacing = " x ".join(f"{value:g}" for value in INTERPOLATED)
        what = f"spacing {spacing} mm: KiTS19's interpolated branch, not the scanner's own grid"
        notes.append(Finding("interpolated", what))

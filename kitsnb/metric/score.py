"""One case in native geometry: the KiTS19 score (eq. 14) and its parts; surface distances; volumes; size.

HD95 and normalized surface Dice are those of Nikolov et al. (2021, doi:10.2196/26151), by their package
surface-distance: elements of a surface count by their area, so thick slices weigh neither more nor less than thin ones.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

SCORES = ("kidney_and_tumour", "kidney", "tumour", "composite")
#: Size classes of a lesion, each with its largest equivalent diameter in mm.
SIZES = {"up to 4 cm": 40.0, "4-7 cm": 70.0, "over 7 cm": math.inf}
#: Regions with a surface, each with its smallest label. The kidney's border with its tumour is no surface of an organ.
REGIONS = {"kidney_and_tumour": 1, "tumour": 2}
#: Tolerances in mm of the challenge's next edition (KiTS21, ``HEC_SD_TOLERANCES_MM`` of its evaluation code): how far
#: its annotators were apart.
TOLERANCES_MM = {"kidney_and_tumour": 1.0330772532390826, "tumour": 1.1498198361434828}
#: Share of the product of its sides that a voxel's volume must be to count as a box; less is a sheared grid.
RECTANGULAR = 1 - 1e-6


def foreground(prediction: ArrayLike, reference: ArrayLike) -> tuple[NDArray, NDArray]:
    """Cut two label maps of one shape, arrays of any library, to the box of their foreground, as uint8.

    Raises ``ValueError`` when shapes differ, or for what holds anything but labels 0, 1 and 2.
    """
    predicted = _array(prediction, "prediction")
    actual = _array(reference, "reference")
    if predicted.shape != actual.shape:
        raise ValueError(f"prediction {predicted.shape} and reference {actual.shape} must have the same shape")
    box = []
    for axis in range(actual.ndim):
        others = tuple(other for other in range(actual.ndim) if other != axis)
        used = np.bitwise_or.reduce(predicted, others) != 0
        used |= np.bitwise_or.reduce(actual, others) != 0
        places = np.flatnonzero(used)
        box.append(slice(places[0], places[-1] + 1) if places.size else slice(0))
    predicted = _labels(predicted[*box], "prediction")
    actual = _labels(actual[*box], "reference")
    return predicted, actual


def _array(labels: ArrayLike, name: str) -> NDArray:
    if hasattr(labels, "detach"):  # a torch tensor, wherever it lies
        labels = labels.detach().cpu()
    array = np.asarray(labels)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be an array of labels 0, 1 and 2, not of type {array.dtype}")
    return _labels(array, name) if array.dtype.kind == "f" else array


def _labels(array: NDArray, name: str) -> NDArray:
    wrong = array[(array != 0) & (array != 1) & (array != 2)]
    if wrong.size:
        raise ValueError(f"{name} must hold labels 0 (background), 1 (kidney), 2 (tumour), but has {wrong[0]}")
    return array.astype(np.uint8, copy=False)


def confusion(prediction: ArrayLike, reference: ArrayLike) -> NDArray:
    """Count voxels, 3 x 3 [reference label, predicted label]; raise ``ValueError`` as ``foreground`` does."""
    predicted, actual = foreground(prediction, reference)
    pairs = 3 * actual + predicted
    counts = np.bincount(pairs.ravel(order="K"), minlength=9)
    counts[0] += math.prod(np.shape(reference)) - pairs.size
    return counts.reshape(3, 3)


def dice(counts: NDArray, labels: list[int]) -> float:
    """Compute Dice of the union of ``labels`` from ``confusion``; NaN where neither map has a voxel of it."""
    tp = counts[np.ix_(labels, labels)].sum()
    total = counts[labels, :].sum() + counts[:, labels].sum()
    return float(2 * tp / total) if total else math.nan


def scores_of(counts: NDArray) -> dict[str, float]:
    """Compute ``kits19_score`` from the voxel counts of ``confusion``."""
    both = dice(counts, [1, 2])
    kidney = dice(counts, [1])
    tumour = dice(counts, [2])
    return dict(zip(SCORES, (both, kidney, tumour, (both + tumour) / 2)))


def kits19_score(prediction: ArrayLike, reference: ArrayLike) -> dict[str, float]:
    """Score one case: two arrays of labels (0 background, 1 kidney, 2 tumour) of equal shape, of any array library.

    ``kidney_and_tumour``: label > 0; ``kidney``: label 1 only; ``tumour``: label 2; ``composite``: mean of
    kidney_and_tumour and tumour (eq. 14, the challenge's score). NaN, undefined, where both arrays are empty of it; a
    missed tumour scores 0. Raises ``ValueError`` as ``foreground`` does.
    """
    return scores_of(confusion(prediction, reference))


def surface_scores(prediction: ArrayLike, reference: ArrayLike, spacing: Sequence[float]) -> dict[str, float]:
    """Compute ``hd95_*`` (mm) and ``nsd_*`` (0 to 1) of ``REGIONS`` in two label arrays [D, H, W], ``spacing`` in mm.

    ``hd95``: the larger of the two directed 95th percentiles of the distance between surfaces; NaN, undefined, when
    the region is empty in either array. ``nsd``: the share of both surfaces that lies within the region's tolerance of
    the other; 0 when the region is empty in one array, NaN when it is empty in both. Raises ``ValueError`` as
    ``foreground`` does, for shapes that are not 3D, and for a spacing that is not three positive numbers.
    """
    from surface_distance import metrics

    predicted, actual = foreground(prediction, reference)
    spacing = np.asarray(spacing, float)
    if actual.ndim != 3 or spacing.shape != (3,) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise ValueError("prediction and reference must be 3D, and spacing three positive numbers of mm, "
                         f"got {actual.ndim} dimensions and {spacing.tolist()}")
    scores = {}
    for region, smallest in REGIONS.items():
        masks = (actual >= smallest, predicted >= smallest)
        present = sum(mask.any() for mask in masks)
        scores[f"hd95_{region}"] = math.nan
        scores[f"nsd_{region}"] = 0.0 if present else math.nan
        if present == 2:
            distances = metrics.compute_surface_distances(*masks, spacing)
            nsd = metrics.compute_surface_dice_at_tolerance(distances, TOLERANCES_MM[region])
            scores[f"hd95_{region}"] = float(metrics.compute_robust_hausdorff(distances, 95))
            scores[f"nsd_{region}"] = float(nsd)
    return scores


def lesion_size(tumour_ml: float) -> str:
    """Name the size class of a lesion, one of ``SIZES``, or ``none`` for 0 ml; raise ``ValueError`` below 0 or for NaN.

    The cut-offs are those of the T stages of kidney cancer (TNM, 8th edition), on the equivalent diameter: never above
    the greatest one, which a radiologist takes, so a long lesion can fall a class lower.
    """
    if not tumour_ml >= 0:
        raise ValueError(f"a volume is at least 0 ml, not {tumour_ml}")
    if tumour_ml == 0:
        return "none"
    diameter = (6 * 1000 * tumour_ml / math.pi) ** (1 / 3)
    return next(name for name, largest in SIZES.items() if diameter <= largest)


def case_row(prediction: ArrayLike, reference: ArrayLike, affine: ArrayLike) -> dict[str, float | str]:
    """Compute all that a table says of one case: two label arrays [D, H, W], ``affine`` (4 x 4) from voxels to mm.

    ``kits19_score``; ``surface_scores``, NaN where the voxels' axes are not at right angles; volumes in ml; and
    ``size``, the class of the reference's tumour, all lesions taken together. Raises ``ValueError`` as these do.
    """
    counts = confusion(prediction, reference)
    axes = np.asarray(affine, float)[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    voxel = float(abs(np.linalg.det(axes)))
    row = scores_of(counts)
    if voxel >= RECTANGULAR * spacing.prod():
        row |= surface_scores(prediction, reference, spacing)
    else:
        for region in REGIONS:
            row[f"hd95_{region}"] = math.nan
            row[f"nsd_{region}"] = math.nan
    for prefix, axis in (("", 1), ("predicted_", 0)):
        _, kidney, tumour = counts.sum(axis).tolist()
        row[f"{prefix}kidney_ml"] = voxel / 1000 * kidney
        row[f"{prefix}tumour_ml"] = voxel / 1000 * tumour
    row["size"] = lesion_size(row["tumour_ml"])
    return row


def summarise(values: Iterable[float]) -> dict[str, float | int]:
    """Compute mean and standard deviation (n - 1) over cases; NaN scores are left out and counted as ``undefined``."""
    values = np.asarray(list(values), dtype=np.float64)
    defined = values[~np.isnan(values)]
    return {
        "mean": float(defined.mean()) if defined.size else math.nan,
        "sd": float(defined.std(ddof=1)) if defined.size > 1 else math.nan,
        "n": defined.size,
        "undefined": values.size - defined.size,
    }

"""One case in native geometry: the KiTS19 score (eq. 14) and its parts, as the challenge has them; volumes; size."""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kitsnb.metric.labels import foreground
from kitsnb.metric.surface import RECTANGULAR, REGIONS, surface_scores

SCORES = ("kidney_and_tumour", "kidney", "tumour", "composite")
#: Size classes of a lesion, each with its largest equivalent diameter in mm.
SIZES = {"up to 4 cm": 40.0, "4-7 cm": 70.0, "over 7 cm": math.inf}


def confusion(prediction: ArrayLike, reference: ArrayLike) -> NDArray[np.int64]:
    """Count voxels, 3 x 3 [reference label, predicted label], of two label arrays of one shape.

    Raises ``ValueError`` when shapes differ or labels are not 0, 1 or 2.
    """
    predicted, actual = foreground(prediction, reference)
    pairs = 3 * actual + predicted
    counts = np.bincount(pairs.ravel(order="K"), minlength=9)
    counts[0] += math.prod(np.shape(reference)) - pairs.size
    return counts.reshape(3, 3)


def _dice(counts: NDArray[np.int64], labels: list[int]) -> float:
    """Compute Dice of the union of ``labels``; NaN when neither prediction nor reference has a voxel of it."""
    tp = counts[np.ix_(labels, labels)].sum()
    total = counts[labels, :].sum() + counts[:, labels].sum()
    return float(2 * tp / total) if total else float("nan")


def kits19_score(prediction: ArrayLike, reference: ArrayLike) -> dict[str, float]:
    """Score one case: two arrays of labels (0 background, 1 kidney, 2 tumour) of equal shape, of any array library.

    ``kidney_and_tumour``: label > 0; ``kidney``: label 1 only; ``tumour``: label 2; ``composite``: mean of
    kidney_and_tumour and tumour (eq. 14, the challenge's score). A score is NaN when undefined, that is when both
    arrays are empty of it (a missed tumour scores 0); the composite is then NaN, too. Raises ``ValueError`` for what
    is no such array.
    """
    return scores_of(confusion(prediction, reference))


def scores_of(counts: NDArray[np.int64]) -> dict[str, float]:
    """Compute ``kits19_score`` from the voxel counts of ``confusion``."""
    scores = {"kidney_and_tumour": _dice(counts, [1, 2]), "kidney": _dice(counts, [1]), "tumour": _dice(counts, [2])}
    scores["composite"] = (scores["kidney_and_tumour"] + scores["tumour"]) / 2
    return scores


def volumes_of(counts: NDArray[np.int64], voxel_ml: float) -> dict[str, float]:
    """Compute volumes in ml from the counts of ``confusion``, for voxels of ``voxel_ml``: ``kidney_ml``, ``tumour_ml``
    (of the reference), ``predicted_kidney_ml`` and ``predicted_tumour_ml``.
    """
    volumes = {}
    for prefix, voxels in (("", counts.sum(1)), ("predicted_", counts.sum(0))):
        volumes[f"{prefix}kidney_ml"] = voxel_ml * int(voxels[1])
        volumes[f"{prefix}tumour_ml"] = voxel_ml * int(voxels[2])
    return volumes


def equivalent_diameter(volume_ml: float) -> float:
    """Compute the diameter in mm of the ball of this volume: (6 V / pi)^(1/3), where 1 ml is 1000 mm^3."""
    return (6000 * volume_ml / math.pi) ** (1 / 3)


def lesion_size(tumour_ml: float) -> str:
    """Name the size class of a lesion by its volume in ml, one of ``SIZES``, or ``none`` for 0 ml.

    The cut-offs, 33.5 and 179.6 ml, are those of the T stages of kidney cancer (TNM, 8th edition) on the equivalent
    diameter. A radiologist takes the greatest diameter, which is never below it: a long lesion can fall a class lower.
    Raises ``ValueError`` for a volume below 0 or NaN.
    """
    if not tumour_ml >= 0:
        raise ValueError(f"a volume is at least 0 ml, not {tumour_ml}")
    if tumour_ml == 0:
        return "none"
    return next(name for name, largest in SIZES.items() if equivalent_diameter(tumour_ml) <= largest)


def case_row(prediction: ArrayLike, reference: ArrayLike, affine: ArrayLike) -> dict[str, float | str]:
    """Compute all that a table says of one case: two label arrays [D, H, W], ``affine`` (4 x 4) from voxels to mm.

    The scores of ``kits19_score``; ``hd95_*`` and ``nsd_*`` of ``surface_scores``, NaN where the voxels' axes are not
    at right angles; the volumes of ``volumes_of``; and ``size``, the class of the reference's tumour
    (``lesion_size``), all lesions of a case taken together. Raises ``ValueError`` as these do.
    """
    counts = confusion(prediction, reference)
    axes = np.asarray(affine, float)[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    voxel = float(abs(np.linalg.det(axes)))
    volumes = volumes_of(counts, voxel / 1000)
    if voxel >= RECTANGULAR * spacing.prod():
        surfaces = surface_scores(prediction, reference, spacing)
    else:
        names = [f"{name}_{region}" for region in REGIONS for name in ("hd95", "nsd")]
        surfaces = dict.fromkeys(names, float("nan"))
    return {**scores_of(counts), **surfaces, **volumes, "size": lesion_size(volumes["tumour_ml"])}


def summarise(values: Iterable[float]) -> dict[str, float | int]:
    """Compute mean and standard deviation (n - 1) over cases; NaN scores are left out and counted as ``undefined``."""
    values = np.asarray(list(values), dtype=np.float64)
    defined = values[~np.isnan(values)]
    return {
        "mean": float(defined.mean()) if defined.size else float("nan"),
        "sd": float(defined.std(ddof=1)) if defined.size > 1 else float("nan"),
        "n": int(defined.size),
        "undefined": int(values.size - defined.size),
    }

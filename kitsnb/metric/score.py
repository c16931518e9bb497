"""One case in native geometry: the KiTS19 score (eq. 14) and its parts, as the challenge has them; volumes; size."""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kitsnb.metric.surface import RECTANGULAR, REGIONS, foreground, slow_to_fast, surface_scores

SCORES = ("kidney_and_tumour", "kidney", "tumour", "composite")
#: Size classes of a lesion, each with its largest equivalent diameter in mm.
SIZES = {"up to 4 cm": 40.0, "4-7 cm": 70.0, "over 7 cm": math.inf}
#: Voxels counted together: what is derived from them stays in a core's cache.
_PIECE = 1 << 18


def confusion(prediction: ArrayLike, reference: ArrayLike) -> NDArray[np.int64]:
    """3 x 3 voxel counts, [reference label, predicted label], of two label arrays of one shape, in any memory order.

    Counted slab by slab in the box of the foreground, so that no further array of the volume's size is made.
    Raises ``ValueError`` when shapes differ or labels are not 0, 1 or 2.
    """
    box = foreground(prediction, reference)
    order = slow_to_fast(box[1])
    p, r = (labels.transpose(order) for labels in box)
    counts, slices = np.zeros(9, np.int64), max(1, _PIECE * len(r) // max(1, r.size))
    for first in range(0, len(r), slices):
        slab = slice(first, first + slices)
        pairs = 3 * r[slab].astype(np.uint8) + p[slab].astype(np.uint8)
        counts += np.bincount(pairs.ravel(order="K"), minlength=9)
    counts[0] += np.size(reference) - r.size
    return counts.reshape(3, 3)


def _dice(counts: NDArray[np.int64], labels: list[int]) -> float:
    """Dice of the union of ``labels``; NaN when neither prediction nor reference has a voxel of it."""
    tp = counts[np.ix_(labels, labels)].sum()
    total = counts[labels, :].sum() + counts[:, labels].sum()
    return float(2 * tp / total) if total else float("nan")


def kits19_score(prediction: ArrayLike, reference: ArrayLike) -> dict[str, float]:
    """Dice scores of one case: two integer label arrays of equal shape (0 background, 1 kidney, 2 tumour).

    ``kidney_and_tumour``: label > 0; ``kidney``: label 1 only; ``tumour``: label 2; ``composite``: mean of
    kidney_and_tumour and tumour (eq. 14, the challenge's score). A score is NaN when undefined, that is when both
    arrays are empty of it (a missed tumour scores 0); the composite is then NaN, too.
    """
    return scores_of(confusion(prediction, reference))


def scores_of(counts: NDArray[np.int64]) -> dict[str, float]:
    """``kits19_score`` from the voxel counts of ``confusion``."""
    scores = {"kidney_and_tumour": _dice(counts, [1, 2]), "kidney": _dice(counts, [1]), "tumour": _dice(counts, [2])}
    scores["composite"] = (scores["kidney_and_tumour"] + scores["tumour"]) / 2
    return scores


def volumes_of(counts: NDArray[np.int64], voxel_ml: float) -> dict[str, float]:
    """Volumes in ml from the voxel counts of ``confusion``, voxels of ``voxel_ml``: ``kidney_ml`` and ``tumour_ml``
    of the reference, ``predicted_kidney_ml`` and ``predicted_tumour_ml``.
    """
    return {
        f"{prefix}{name}_ml": voxel_ml * int(voxels[label])
        for prefix, voxels in (("", counts.sum(1)), ("predicted_", counts.sum(0)))
        for label, name in ((1, "kidney"), (2, "tumour"))
    }


def equivalent_diameter(volume_ml: float) -> float:
    """Diameter in mm of the ball of this volume: (6 V / pi)^(1/3), where 1 ml is 1000 mm^3."""
    return (6000 * volume_ml / math.pi) ** (1 / 3)


def lesion_size(tumour_ml: float) -> str:
    """Size class of a lesion from its volume in ml, one of ``SIZES``, or ``none`` for 0 ml.

    The cut-offs are those of the T stages of kidney cancer (TNM, 8th edition: T1a up to 4 cm, T1b over 4 and up to 7
    cm, T2 over 7 cm), which a radiologist applies to the greatest diameter. Here it is the equivalent diameter, that
    of the ball of the same volume, which is never above the greatest diameter: a long lesion can fall a class lower.
    In volume the cut-offs are 33.5 and 179.6 ml. Raises ``ValueError`` for a volume below 0 or NaN.
    """
    if not tumour_ml >= 0:
        raise ValueError(f"a volume is at least 0 ml, not {tumour_ml}")
    if tumour_ml == 0:
        return "none"
    return next(name for name, largest in SIZES.items() if equivalent_diameter(tumour_ml) <= largest)


def case_row(prediction: ArrayLike, reference: ArrayLike, affine: ArrayLike) -> dict[str, float | str]:
    """All that a table says of one case: two label arrays [D, H, W], ``affine`` (4 x 4) from their voxels to mm.

    The scores of ``kits19_score``; ``hd95_*`` and ``nsd_*`` of ``surface.surface_scores``, NaN where the voxels' axes
    are not at right angles; the volumes of ``volumes_of``; and ``size``, the class of the reference's tumour
    (``lesion_size``), all lesions of a case taken together. Raises ``ValueError`` as ``confusion`` and
    ``surface_scores`` do.
    """
    counts, axes = confusion(prediction, reference), np.asarray(affine, float)[:3, :3]
    spacing, voxel = np.linalg.norm(axes, axis=0), float(abs(np.linalg.det(axes)))
    volumes = volumes_of(counts, voxel / 1000)
    if voxel < RECTANGULAR * spacing.prod():
        surfaces = {f"{name}_{region}": float("nan") for region in REGIONS for name in ("hd95", "nsd")}
    else:
        surfaces = surface_scores(prediction, reference, spacing)
    return {**scores_of(counts), **surfaces, **volumes, "size": lesion_size(volumes["tumour_ml"])}


def summarise(values: Iterable[float]) -> dict[str, float | int]:
    """Mean and standard deviation (n - 1) over cases; NaN scores are left out and counted as ``undefined``."""
    values = np.asarray(list(values), dtype=np.float64)
    defined = values[~np.isnan(values)]
    return {
        "mean": float(defined.mean()) if defined.size else float("nan"),
        "sd": float(defined.std(ddof=1)) if defined.size > 1 else float("nan"),
        "n": int(defined.size),
        "undefined": int(values.size - defined.size),
    }

"""The KiTS19 score (eq. 14) and its parts, as the challenge defines them, in native geometry."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

SCORES = ("kidney_and_tumour", "kidney", "tumour", "composite")


def confusion(prediction: NDArray, reference: NDArray) -> NDArray[np.int64]:
    """3 x 3 voxel counts, [reference label, predicted label].

    Only the bounding box of the foreground of both is counted; outside it both are background.
    Raises ``ValueError`` when shapes differ or labels are not 0, 1 or 2.
    """
    prediction, reference = np.asarray(prediction), np.asarray(reference)
    if prediction.shape != reference.shape:
        raise ValueError(f"prediction {prediction.shape} and reference {reference.shape} must have the same shape")
    for name, labels in (("prediction", prediction), ("reference", reference)):
        if labels.size and (labels.min() < 0 or labels.max() > 2 or not np.issubdtype(labels.dtype, np.integer)):
            raise ValueError(f"{name} must hold integer labels 0, 1, 2; got {labels.dtype} from {labels.min()} to {labels.max()}")
    box = _foreground_box(prediction, reference)
    codes = reference[box].astype(np.uint8) * 3 + prediction[box].astype(np.uint8)
    counts = np.bincount(codes.ravel(), minlength=9).astype(np.int64).reshape(3, 3)
    counts[0, 0] = reference.size - counts.sum() + counts[0, 0]
    return counts


def _foreground_box(*arrays: NDArray) -> tuple[slice, ...]:
    box = []
    for axis in range(arrays[0].ndim):
        others = tuple(a for a in range(arrays[0].ndim) if a != axis)
        used = np.flatnonzero(np.logical_or.reduce([a.any(axis=others) for a in arrays]))
        box.append(slice(used[0], used[-1] + 1) if used.size else slice(0, 0))
    return tuple(box)


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
    counts = confusion(prediction, reference)
    scores = {"kidney_and_tumour": _dice(counts, [1, 2]), "kidney": _dice(counts, [1]), "tumour": _dice(counts, [2])}
    scores["composite"] = (scores["kidney_and_tumour"] + scores["tumour"]) / 2
    return scores


def summarise(values: Iterable[float]) -> dict[str, float | int]:
    """Mean and standard deviation (n - 1) over cases in float64; NaN scores are left out and counted as ``undefined``."""
    values = np.asarray(list(values), dtype=np.float64)
    defined = values[~np.isnan(values)]
    return {
        "mean": float(defined.mean()) if defined.size else float("nan"),
        "sd": float(defined.std(ddof=1)) if defined.size > 1 else float("nan"),
        "n": int(defined.size),
        "undefined": int(values.size - defined.size),
    }

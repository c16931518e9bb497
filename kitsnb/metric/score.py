"""One case in native geometry: the KiTS19 score (eq. 14) and its parts, as the challenge defines them; volumes; lesion size."""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kitsnb.metric.surface import surface_scores

SCORES = ("kidney_and_tumour", "kidney", "tumour", "composite")
#: Size classes of a lesion, each with its largest equivalent diameter in mm.
SIZES = {"up to 4 cm": 40.0, "4-7 cm": 70.0, "over 7 cm": math.inf}
#: Voxels looked at together: their labels and what is derived from them stay in a core's cache.
_PIECE = 1 << 18


def confusion(prediction: NDArray, reference: NDArray) -> NDArray[np.int64]:
    """3 x 3 voxel counts, [reference label, predicted label], of two integer arrays of one shape, in any memory order.

    Each is read piece by piece as it lies in memory, and only words of eight voxels that are not all background are
    looked at: no further array of the volume's size is made.
    Raises ``ValueError`` when shapes differ or labels are not 0, 1 or 2.
    """
    prediction, reference = np.asarray(prediction), np.asarray(reference)
    if prediction.shape != reference.shape:
        raise ValueError(f"prediction {prediction.shape} and reference {reference.shape} must have the same shape")
    for name, labels in (("prediction", prediction), ("reference", reference)):
        if labels.size and not np.issubdtype(labels.dtype, np.integer):
            raise _refusal(name, labels)
    alike = _slow_to_fast(prediction) == _slow_to_fast(reference)
    counts = (_count_together if alike else _count_apart)(prediction, reference)
    counts[0, 0] += reference.size - counts.sum()
    return counts


def _refusal(name: str, labels: NDArray) -> ValueError:
    return ValueError(f"{name} must hold integer labels 0, 1, 2; got {labels.dtype} from {labels.min()} to {labels.max()}")


def _slow_to_fast(labels: NDArray) -> list[int]:
    """The axes, the one with the largest steps in memory first."""
    return sorted(range(labels.ndim), key=lambda axis: -abs(labels.strides[axis]))


def _count_together(prediction: NDArray, reference: NDArray) -> NDArray[np.int64]:
    """Counts of voxel pairs of two arrays that lie alike in memory; of the pairs (0, 0) only some."""
    axes, counts = _slow_to_fast(reference), np.zeros(9, np.int64)
    for _, (p, r) in _occupied(prediction=prediction.transpose(axes), reference=reference.transpose(axes)):
        counts += np.bincount(3 * r + p, minlength=9)
    return counts.reshape(3, 3)


def _count_apart(prediction: NDArray, reference: NDArray) -> NDArray[np.int64]:
    """As ``_count_together`` where the memory orders differ: each array is read in its own.

    What is predicted at the reference's foreground is looked up; what is predicted elsewhere is the rest of all that is.
    """
    axes, counts = _slow_to_fast(reference), np.zeros(9, np.int64)
    at, predicted = prediction.transpose(axes).flat, np.zeros(3, np.int64)
    for _, (p,) in _occupied(prediction=prediction.transpose(_slow_to_fast(prediction))):
        predicted += np.bincount(p, minlength=3)
    for first, (r,) in _occupied(reference=reference.transpose(axes)):
        found = np.flatnonzero(r)
        counts += np.bincount(3 * r[found] + at[first[found // 8] + found % 8].astype(np.uint8), minlength=9)
    counts = counts.reshape(3, 3)
    counts[0, 1:] = (predicted - counts.sum(0))[1:]
    return counts


def _occupied(**arrays: NDArray) -> Iterator[tuple[NDArray[np.int64], list[NDArray[np.uint8]]]]:
    """The words of eight voxels in which either of ``arrays``, one or two, has foreground, piece by piece in C order.

    Yields, for each piece that has any, the position of each word's first voxel in C order, and each array's labels in these
    words, flat. Raises ValueError for labels below 0 or above 2.
    """
    start, flags = 0, ["external_loop", "buffered", "zerosize_ok"]
    operands = [["readonly", "contig"]] * len(arrays)  # of arrays with gaps or backwards a piece is copied, not viewed
    for pieces in np.nditer(list(arrays.values()), flags, operands, order="C", buffersize=_PIECE):
        pieces = pieces if isinstance(pieces, tuple) else (pieces,)
        words = [_words(piece, name, labels) for piece, (name, labels) in zip(pieces, arrays.items())]
        used = np.flatnonzero(np.bitwise_or(*words) if len(words) == 2 else words[0])
        if used.size:
            found = [word[used].view(np.uint8) for word in words]
            for values, (name, labels) in zip(found, arrays.items()):
                if values.max() > 2:
                    raise _refusal(name, labels)
            yield start + 8 * used, found
        start += pieces[0].size


def _words(piece: NDArray, name: str, labels: NDArray) -> NDArray[np.uint64]:
    """A flat piece as words of eight labels of a byte each, the last one filled up with background."""
    if piece.dtype.itemsize > 1 and piece.size:
        largest = piece.view(piece.dtype.str.replace("i", "u")).max()  # negative labels are large ones as unsigned
        if largest > 2:  # a cast to one byte would wrap it
            raise _refusal(name, labels)
        piece = piece.astype(np.uint8) if largest else np.zeros(piece.size, np.uint8)
    missing = -piece.size % 8
    return (np.pad(piece, (0, missing)) if missing else piece).view(np.uint64)


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


def volumes_of(counts: NDArray[np.int64], spacing: Sequence[float]) -> dict[str, float]:
    """Volumes in ml from the voxel counts of ``confusion`` and the voxel's sides in mm: ``kidney_ml`` and ``tumour_ml`` of
    the reference, ``predicted_kidney_ml`` and ``predicted_tumour_ml``.
    """
    ml = math.prod(map(float, spacing)) / 1000
    return {
        f"{prefix}{name}_ml": ml * int(voxels[label])
        for prefix, voxels in (("", counts.sum(1)), ("predicted_", counts.sum(0)))
        for label, name in ((1, "kidney"), (2, "tumour"))
    }


def equivalent_diameter(volume_ml: float) -> float:
    """Diameter in mm of the ball of this volume: (6 V / pi)^(1/3), where 1 ml is 1000 mm^3."""
    return (6000 * volume_ml / math.pi) ** (1 / 3)


def lesion_size(tumour_ml: float) -> str:
    """Size class of a lesion from its volume in ml, one of ``SIZES``, or ``none`` for 0 ml.

    The cut-offs are those of the T stages of kidney cancer (TNM, 8th edition: T1a up to 4 cm, T1b over 4 and up to 7 cm,
    T2 over 7 cm), which a radiologist applies to the greatest diameter. Here it is the equivalent diameter, that of the ball
    of the same volume, which is never above the greatest diameter: a long lesion can fall a class lower. In volume the
    cut-offs are 33.5 and 179.6 ml.
    Raises ``ValueError`` for a volume below 0 or NaN.
    """
    if not tumour_ml >= 0:
        raise ValueError(f"a volume is at least 0 ml, not {tumour_ml}")
    if tumour_ml == 0:
        return "none"
    return next(name for name, largest in SIZES.items() if equivalent_diameter(tumour_ml) <= largest)


def case_row(prediction: ArrayLike, reference: ArrayLike, spacing: Sequence[float]) -> dict[str, float | str]:
    """All that a table says of one case: two label arrays [D, H, W] in native geometry, voxels of ``spacing`` mm.

    The scores of ``kits19_score``; ``hd95_*`` and ``nsd_*`` of ``surface.surface_scores``; the volumes of ``volumes_of``; and
    ``size``, the class of the reference's tumour (``lesion_size``), all lesions of a case taken together.
    Raises ``ValueError`` as ``confusion`` and ``surface_scores`` do.
    """
    counts = confusion(prediction, reference)
    volumes = volumes_of(counts, spacing)
    surfaces = surface_scores(prediction, reference, spacing)
    return {**scores_of(counts), **surfaces, **volumes, "size": lesion_size(volumes["tumour_ml"])}


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

"""Label maps as the metric reads them: from any library's arrays, checked, and cut to the box of their foreground."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def foreground(prediction: ArrayLike, reference: ArrayLike) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Cut two label maps of one shape to the box of their foreground; what else they are is background.

    Raises ``ValueError`` when shapes differ, or for what holds anything but labels 0, 1 and 2.
    """
    arrays = {"prediction": _array(prediction, "prediction"), "reference": _array(reference, "reference")}
    shapes = [array.shape for array in arrays.values()]
    if shapes[0] != shapes[1]:
        raise ValueError(f"prediction {shapes[0]} and reference {shapes[1]} must have the same shape")
    box = foreground_box(*arrays.values())
    cut = []
    for name, array in arrays.items():
        found = array[box]
        if found.size and (found.min() < 0 or found.max() > 2):
            _refuse(found[(found < 0) | (found > 2)], name)
        cut.append(found.astype(np.uint8, copy=False))
    return cut[0], cut[1]


def _array(labels: ArrayLike, name: str) -> NDArray[np.integer]:
    """Read whole numbers from an array of any library, or nested lists; ``ValueError`` says what else it is."""
    if hasattr(labels, "detach"):  # a torch tensor, wherever it lies
        labels = labels.detach().cpu()
    try:
        array = np.asarray(labels)
    except Exception as error:
        raise ValueError(f"{name} must be an array of labels, not {type(labels).__name__} ({error})") from error
    if array.dtype.kind not in "iuf":
        kind = array.dtype if array.ndim else type(labels).__name__
        raise ValueError(f"{name} must be an array of labels 0, 1 and 2, not of type {kind}")
    if array.dtype.kind != "f":
        return array
    _refuse(array[~np.isin(array, (0, 1, 2))], name)
    return array.astype(np.uint8)


def _refuse(wrong: NDArray, name: str) -> None:
    if wrong.size:
        raise ValueError(f"{name} must hold labels 0 (background), 1 (kidney), 2 (tumour), but has {wrong[0]}")


def foreground_box(*arrays: NDArray) -> tuple[slice, ...]:
    """Find the smallest box that holds all that is not 0 in ``arrays``, integers of one shape; empty where all is 0."""
    used = [np.zeros(n, bool) for n in arrays[0].shape]
    for array in arrays:
        slow_to_fast = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
        rest = array.transpose(slow_to_fast)
        for axis in slow_to_fast:  # each array is read once, as it lies in memory: what is left shows the next axis
            parts = rest != 0 if rest.ndim == 1 else [part.any() for part in rest]
            used[axis] |= np.array(parts, bool)
            rest = np.bitwise_or.reduce(rest, axis=0)
    box = []
    for found in used:
        places = np.flatnonzero(found)
        box.append(slice(int(places[0]), int(places[-1]) + 1) if places.size else slice(0, 0))
    return tuple(box)

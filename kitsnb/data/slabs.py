"""Slabs: the slices of a CT that hold its tumour, and the middle of them."""

import numpy as np

from kitsnb.data.geometry import slice_axis, spacing_of

#: A slab around a tumour is no higher than this, in mm, and this share of its slices holds tumour.
HEIGHT = 200
SHARE = 0.9


def is_small(labels: np.ndarray, affine: np.ndarray, in_plane: int) -> bool:
    """Have the slices at most ``in_plane`` pixels a side, as those of a slab that was cut before?"""
    return max(np.delete(labels.shape, slice_axis(affine))) <= in_plane


def is_slab(labels: np.ndarray, affine: np.ndarray) -> bool:
    """Does nearly every slice hold tumour, and are there few?"""
    along = slice_axis(affine)
    low = labels.shape[along] * spacing_of(affine)[along] < HEIGHT
    return bool(low and _with_tumour(labels, along).mean() >= SHARE)


def cut_slab(
    volume: np.ndarray | None, labels: np.ndarray, affine: np.ndarray, in_plane: int
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Return the longest run of neighbouring slices with tumour, ``in_plane`` pixels of them from the middle.

    The affine is shifted to the first voxel that is left. A case that ``is_small`` is returned as it is; without
    tumour all slices are kept.
    """
    if is_small(labels, affine, in_plane):
        return volume, labels, affine
    along = slice_axis(affine)
    box = []
    for axis, size in enumerate(labels.shape):
        first = max(0, size - in_plane) // 2
        box.append(longest_run(_with_tumour(labels, along)) if axis == along else slice(first, size - first))
    shifted = affine.copy()
    shifted[:3, 3] += affine[:3, :3] @ [part.start for part in box]
    return None if volume is None else volume[tuple(box)], labels[tuple(box)], shifted


def _with_tumour(labels: np.ndarray, along: int) -> np.ndarray:
    """Return for each slice whether it holds tumour."""
    return (labels == 2).any(axis=tuple({0, 1, 2} - {along}))


def longest_run(marked: np.ndarray) -> slice:
    """Return where the longest run of neighbouring true values lies, the first of equals; all where none is true."""
    edges = np.flatnonzero(np.diff([False, *marked, False]))
    if not len(edges):
        return slice(0, len(marked))
    longest = int(np.argmax(edges[1::2] - edges[::2]))
    return slice(int(edges[2 * longest]), int(edges[2 * longest + 1]))

"""Slabs: the slices of a CT that hold its tumour, and what a folder must hold for a study."""

import numpy as np

from kitsnb.data.geometry import slice_axis

#: A slab around a tumour is no higher than this, in mm; nearly all of its slices hold tumour.
SLAB_MM = 200
MOST = 0.9


def is_slab(labels: np.ndarray, affine: np.ndarray) -> bool:
    """Does nearly every slice hold tumour?"""
    across = tuple({0, 1, 2} - {slice_axis(affine)})
    return bool((labels == 2).any(axis=across).mean() >= MOST)


def cut_slab(
    volume: np.ndarray | None, labels: np.ndarray, affine: np.ndarray, in_plane: int
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Return the longest run of neighbouring slices with tumour, ``in_plane`` pixels of them from the middle.

    The affine is shifted to the first voxel that is left. A case whose slices have no more pixels is a slab already
    and is returned as it is; without tumour all slices are kept.
    """
    along = slice_axis(affine)
    across = [axis for axis in range(3) if axis != along]
    if max(labels.shape[axis] for axis in across) <= in_plane:
        return volume, labels, affine
    box = [slice(0, n) for n in labels.shape]
    box[along] = longest_run((labels == 2).any(axis=tuple(across)))
    for axis in across:
        first = max(0, labels.shape[axis] - in_plane) // 2
        box[axis] = slice(first, min(first + in_plane, labels.shape[axis]))
    shifted = affine.copy()
    shifted[:3, 3] += affine[:3, :3] @ [part.start for part in box]
    return None if volume is None else volume[tuple(box)], labels[tuple(box)], shifted


def longest_run(marked: np.ndarray) -> slice:
    """Return where the longest run of neighbouring true values lies, the first of equals; all where none is true."""
    edges = np.flatnonzero(np.diff([False, *marked, False]))
    if not len(edges):
        return slice(0, len(marked))
    starts = edges[::2]
    ends = edges[1::2]
    longest = int(np.argmax(ends - starts))
    return slice(int(starts[longest]), int(ends[longest]))

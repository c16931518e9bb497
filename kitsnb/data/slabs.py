"""Slabs: the slices of a CT that hold its tumour, and the middle of them."""

import numpy as np
from nibabel.affines import from_matvec
from numpy import ndarray
from scipy import ndimage

from kitsnb.data.geometry import slice_axis, spacing_of

#: A slab around a tumour is no higher than this, in mm, and this share of its slices holds tumour.
HEIGHT = 200
SHARE = 0.9


def is_slab(labels: ndarray, affine: ndarray) -> bool:
    """Does nearly every slice hold tumour, and are there few?"""
    marked = with_tumour(labels, affine)
    height = len(marked) * spacing_of(affine)[slice_axis(affine)]
    return bool(height < HEIGHT and marked.mean() >= SHARE)


def cut_slab(
    volume: ndarray | None, labels: ndarray, affine: ndarray, pixels: int
) -> tuple[ndarray | None, ndarray, ndarray]:
    """Return the longest run of neighbouring slices with tumour, ``pixels`` a side from the middle.

    The affine is shifted to the first voxel that is left. Slices that are no larger are those of a slab that was cut
    before: the case is returned as it is. Without tumour all slices are kept.
    """
    if max(np.delete(labels.shape, slice_axis(affine))) <= pixels:
        return volume, labels, affine
    margins = np.maximum(0, np.array(labels.shape) - pixels) // 2
    box = [slice(margin, size - margin) for margin, size in zip(margins, labels.shape)]
    box[slice_axis(affine)] = longest_run(with_tumour(labels, affine))
    shifted = affine @ from_matvec(np.eye(3), [part.start for part in box])
    kept = None if volume is None else volume[tuple(box)]
    return kept, labels[tuple(box)], shifted


def with_tumour(labels: ndarray, affine: ndarray) -> ndarray:
    """Return for each slice whether it holds tumour."""
    slices = np.moveaxis(labels, slice_axis(affine), 0)
    return (slices == 2).any(axis=(1, 2))


def longest_run(marked: ndarray) -> slice:
    """Return where the longest run of neighbouring true values lies, the first of equals; all where none is true."""
    regions, _ = ndimage.label(marked)
    runs = [run for (run,) in ndimage.find_objects(regions)]
    return max(runs, key=lambda run: run.stop - run.start, default=slice(0, len(marked)))

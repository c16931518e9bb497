"""Volumes between grids: axes by the affine, then linear interpolation over the same extent of the world."""

from collections.abc import Sequence

import nibabel.orientations as orientations
import numpy as np
import torch
import torch.nn.functional as F
from nibabel.affines import from_matvec
from torch import Tensor

#: Axes of the working grid: (slice, height, width) as KiTS19 stores them, pointing inferior, posterior, left.
ORIENTATION = "IPL"
#: Planes that are worked on at a time, so that a whole CT never exists as float.
SLAB = 8


def reorient(array: np.ndarray, affine: np.ndarray, wanted: str = ORIENTATION) -> tuple[np.ndarray, np.ndarray]:
    """Return a view of ``array`` (3D) whose axes point along ``wanted``, and the affine that belongs to it."""
    here = orientations.io_orientation(affine)
    there = orientations.axcodes2ornt(wanted)
    change = orientations.ornt_transform(here, there)
    turned = affine @ orientations.inv_ornt_aff(change, array.shape)
    return orientations.apply_orientation(array, change), turned


def grid_size(shape: Sequence[int], spacing: Sequence[float], wanted: Sequence[float]) -> tuple[int, ...]:
    """Return the voxels per axis (at least one) that cover the same extent at about the ``wanted`` spacing."""
    size = []
    for voxels, here, there in zip(shape, spacing, wanted):
        size.append(max(1, round(voxels * here / there)))
    return tuple(size)


def resized_affine(affine: np.ndarray, old: Sequence[int], new: Sequence[int]) -> np.ndarray:
    """Return the affine after ``resize``: the outer faces of the volume stay where they are in the world."""
    ratio = np.divide(old, new)
    shift = (ratio - 1) / 2
    return affine @ from_matvec(np.diag(ratio), shift)


def resize(volume: np.ndarray, size: Sequence[int], clip: Sequence[float] = (-np.inf, np.inf)) -> Tensor:
    """Resample an image [D, H, W] of any dtype linearly to ``size``, clipped before to ``clip`` [low, high]: float32.

    Two axes come first, a few planes at a time, as they lie in memory: turning a CT costs more than resampling it.
    """
    order = np.argsort(-np.abs(volume.strides))
    stored = volume.transpose(order)  # the last axis varies fastest
    outer, *inner = [size[axis] for axis in order]
    slabs = []
    for first in range(0, len(stored), SLAB):
        planes = np.array(stored[first : first + SLAB], np.float32, order="C")
        planes = torch.from_numpy(planes).clamp_(*clip)
        slabs.append(F.interpolate(planes[None], inner, mode="bilinear")[0])
    lines = torch.cat(slabs).flatten(1)  # interpolated along the first axis alone
    flat = F.interpolate(lines[None, None], (outer, lines.shape[1]), mode="bilinear")
    result = flat[0, 0].unflatten(1, inner)
    return result.permute(*np.argsort(order))


def resize_labels(labels: np.ndarray, size: Sequence[int]) -> Tensor:
    """Resample ``labels`` [D, H, W] (uint8) to ``size`` by the nearest voxel."""
    volume = torch.from_numpy(labels.copy())
    return F.interpolate(volume[None, None], size, mode="nearest-exact")[0, 0]


def to_native(probabilities: Tensor, shape: Sequence[int], affine: np.ndarray) -> np.ndarray:
    """Return labels (uint8, the native ``shape``) of class probabilities [C, *working grid].

    Interpolated before argmax, since resampling labels costs up to 0.05 Dice, and only in the box that can hold more
    than background.
    """
    labels = np.zeros(shape, np.uint8)
    upright, _ = reorient(labels, affine)  # a view
    found = ~(probabilities[0] > probabilities[1:].amax(0))  # a tie may go either way, so it counts
    weights = []
    box = []
    for axis, new in enumerate(upright.shape):
        unit = torch.eye(found.shape[axis])
        matrix = F.interpolate(unit[None], new, mode="linear")[0].T  # [native, grid]
        planes = found.movedim(axis, 0).flatten(1).any(1)
        rows = _extent(matrix[:, planes].any(1))
        columns = _extent(matrix[rows].any(0))
        weights.append(matrix[rows, columns])
        box.append(rows)
        length = columns.stop - columns.start
        probabilities = probabilities.narrow(axis + 1, columns.start, length)
    part = upright[tuple(box)]
    deep, high, wide = weights
    for first in range(0, len(deep), SLAB):
        slab = slice(first, first + SLAB)
        native = torch.einsum("cdhw,zd,yh,xw->czyx", probabilities, deep[slab], high, wide)
        part[slab] = native.argmax(0).numpy()
    return labels


def _extent(found: Tensor) -> slice:
    """Return the range from the first to the last true entry; an empty one where none is true."""
    places = torch.nonzero(found)
    if not len(places):
        return slice(0, 0)
    return slice(int(places[0]), int(places[-1]) + 1)

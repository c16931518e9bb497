"""Volumes between grids: axes by the affine, then linear interpolation over the same extent of the world."""

from collections.abc import Sequence

import nibabel.orientations as orientations
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kitsnb.data.nifti import spacing_of

#: Axes of the working grid: (slice, height, width) as KiTS19 stores them, pointing inferior, posterior, left.
ORIENTATION = "IPL"
#: Planes that are worked on at a time, so that a whole CT never exists as float.
SLAB = 8


def reorient(array: np.ndarray, affine: np.ndarray, wanted: str = ORIENTATION) -> tuple[np.ndarray, np.ndarray]:
    """Return a view of ``array`` (3D) whose axes point along ``wanted``, and the affine that belongs to it."""
    here = orientations.io_orientation(affine)
    change = orientations.ornt_transform(here, orientations.axcodes2ornt(wanted))
    turned = affine @ orientations.inv_ornt_aff(change, array.shape)
    return orientations.apply_orientation(array, change), turned


def grid_size(shape: Sequence[int], spacing: Sequence[float], wanted: Sequence[float]) -> tuple[int, ...]:
    """Return the voxels per axis (at least one) that cover the same extent at about the ``wanted`` spacing."""
    return tuple(max(1, round(n * s / w)) for n, s, w in zip(shape, spacing, wanted))


def resized_affine(affine: np.ndarray, old: Sequence[int], new: Sequence[int]) -> np.ndarray:
    """Return the affine after ``resize``: the outer faces of the volume stay where they are in the world."""
    ratio = np.asarray(old, float) / np.asarray(new, float)
    result = affine.copy()
    result[:3, :3] = affine[:3, :3] * ratio
    result[:3, 3] = affine[:3, 3] + affine[:3, :3] @ ((ratio - 1) / 2)
    return result


def working_grid(
    shape: Sequence[int], affine: np.ndarray, spacing: Sequence[float]
) -> tuple[tuple[int, ...], np.ndarray]:
    """Return size (slice, height, width) and affine of the working grid for a volume of this geometry."""
    unallocated = np.broadcast_to(np.uint8(0), shape)
    view, upright = reorient(unallocated, affine)
    size = grid_size(view.shape, spacing_of(upright), spacing)
    return size, resized_affine(upright, view.shape, size)


def resize(volume: np.ndarray, size: Sequence[int], clip: Sequence[float] = (-np.inf, np.inf)) -> Tensor:
    """Resample an image [D, H, W] of any dtype linearly to ``size``, clipped before to ``clip`` [low, high]: float32.

    Linear interpolation is separable, so two axes come first, a few planes at a time; planes as they lie in memory,
    since turning a whole CT round costs more than resampling it.
    """
    order = np.argsort([-abs(step) for step in volume.strides]).tolist()
    stored = volume.transpose(order)  # the last axis varies fastest
    outer, *inner = [size[axis] for axis in order]
    slabs = []
    for first in range(0, len(stored), SLAB):
        planes = torch.from_numpy(np.array(stored[first : first + SLAB], np.float32, order="C"))
        planes.clamp_(*clip)
        slabs.append(F.interpolate(planes[None], inner, mode="bilinear")[0])
    lines = torch.cat(slabs).flatten(1)  # interpolated along the first axis alone
    result = F.interpolate(lines[None, None], (outer, lines.shape[1]), mode="bilinear")[0, 0]
    return result.unflatten(1, inner).permute(np.argsort(order).tolist())


def resize_labels(labels: np.ndarray, size: Sequence[int]) -> Tensor:
    """Resample ``labels`` [D, H, W] to ``size`` by the nearest voxel, in their own dtype."""
    nearest = []
    for old, new in zip(labels.shape, size):
        places = torch.arange(old, dtype=torch.float32)[None, None]
        nearest.append(F.interpolate(places, new, mode="nearest-exact")[0, 0].long().numpy())
    return torch.from_numpy(labels[np.ix_(*nearest)])


def to_native(probabilities: Tensor, shape: Sequence[int], affine: np.ndarray) -> np.ndarray:
    """Return labels (uint8, the native ``shape``) of class probabilities [C, *working grid].

    Interpolated before argmax, since resampling labels costs up to 0.05 Dice; slab by slab, so that memory stays
    bounded. Only the box that can hold more than background is worked on: between voxels where background is likeliest
    it is likeliest too.
    """
    labels = np.zeros(shape, np.uint8)
    upright, _ = reorient(labels, affine)  # a view
    found = ~(probabilities[0] > probabilities[1:].amax(0))  # a tie may go either way, so it counts
    if not found.any():
        return labels
    deep, slices, used_slices = _way_back(found.any(2).any(1), upright.shape[0])
    high, rows, used_rows = _way_back(found.any(2).any(0), upright.shape[1])
    wide, columns, used_columns = _way_back(found.any(1).any(0), upright.shape[2])
    box = upright[slices, rows, columns]
    part = probabilities[:, used_slices, used_rows, used_columns].float()
    for first in range(0, len(deep), SLAB):
        slab = slice(first, first + SLAB)
        native = torch.einsum("cdhw,zd,yh,xw->czyx", part, deep[slab], high, wide)
        box[slab] = native.argmax(0).byte().cpu().numpy()
    return labels


def _way_back(found: Tensor, new: int) -> tuple[Tensor, slice, slice]:
    """Return linear weights of those of ``new`` voxels that the ``found`` old ones reach; which; the old they need."""
    unit = torch.eye(len(found), dtype=torch.float64, device=found.device)[None]
    matrix = F.interpolate(unit, new, mode="linear")[0].T.float()
    rows = _extent(matrix[:, found].any(1))
    columns = _extent(matrix[rows].any(0))
    return matrix[rows, columns], rows, columns


def _extent(found: Tensor) -> slice:
    """Return the range from the first to the last true entry."""
    places = torch.nonzero(found)
    return slice(int(places[0]), int(places[-1]) + 1)

"""Volumes between grids: axes by the affine, then one small matrix an axis, so that nothing is copied at full size.

Linear and cubic interpolation are separable, and a row of either matrix reaches a few voxels only: products of small
blocks, a slab of the volume at a time, cost a twentieth of resampling voxel by voxel.
"""

from collections.abc import Sequence
from itertools import pairwise

import nibabel.orientations as orientations
import numpy as np
import torch
import torch.nn.functional as F
from scipy.interpolate import CubicSpline
from torch import Tensor

from kitsnb.data.nifti import spacing_of

#: Axes of the working grid: (slice, height, width) as KiTS19 stores them, pointing inferior, posterior, left.
ORIENTATION = "IPL"
#: Slices that are in work at a time: few, so that they stay in the processor's cache.
SLAB = 8
#: Rows of a matrix that are multiplied at a time: few, so that the voxels they reach are few too.
ROWS = 16
#: Weights below this are dropped; a cubic row has some for every voxel of the axis, each a quarter of its neighbour's.
NEGLIGIBLE = 1e-7

#: Part of an axis' matrix: rows (new voxels), columns (old voxels that they reach), and the weights between them.
Block = tuple[slice, slice, Tensor]


def reorient(array: np.ndarray, affine: np.ndarray, wanted: str = ORIENTATION) -> tuple[np.ndarray, np.ndarray]:
    """``array`` (3D), its axes permuted and flipped to point along ``wanted``, and the affine that belongs to it."""
    change = orientations.ornt_transform(orientations.io_orientation(affine), orientations.axcodes2ornt(wanted))
    return orientations.apply_orientation(array, change), affine @ orientations.inv_ornt_aff(change, array.shape)


def grid_size(shape: Sequence[int], spacing: Sequence[float], wanted: Sequence[float]) -> tuple[int, ...]:
    """Voxels an axis (at least one) that cover the same extent at about the ``wanted`` spacing."""
    return tuple(max(1, round(n * s / w)) for n, s, w in zip(shape, spacing, wanted))


def working_shape(shape: Sequence[int], affine: np.ndarray, spacing: Sequence[float]) -> tuple[int, ...]:
    """Size of the working grid (slice, height, width) for a volume of this geometry."""
    view, own = reorient(np.broadcast_to(np.uint8(0), shape), affine)  # no voxel of it is in memory
    return grid_size(view.shape, spacing_of(own), spacing)


def resized_affine(affine: np.ndarray, old: Sequence[int], new: Sequence[int]) -> np.ndarray:
    """Affine after ``resize``: the outer faces of the volume stay where they are in the world."""
    ratio = np.asarray(old, float) / np.asarray(new, float)
    result = affine.copy()
    result[:3, :3] = affine[:3, :3] * ratio
    result[:3, 3] = affine[:3, 3] + affine[:3, :3] @ ((ratio - 1) / 2)
    return result


def grid_affine(native_shape: Sequence[int], native_affine: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Affine of the working grid of ``shape`` that a native volume was brought to."""
    view, affine = reorient(np.broadcast_to(np.uint8(0), native_shape), native_affine)
    return resized_affine(affine, view.shape, shape)


def resize(
    volume: Tensor,
    *sizes: Sequence[int],
    labels: bool = False,
    interpolation: str = "linear",
    clip: Sequence[float] | None = None,
) -> Tensor:
    """[C, D, H, W] resampled to each of ``sizes`` [D, H, W] in turn, over the same extent.

    Images come back as float32, clipped to ``clip`` [low, high] before; ``labels`` by the nearest voxel, in their own
    dtype. Voxels keep their order in memory: turning a volume round would cost more than resampling it.
    """
    order = [0, *sorted((1, 2, 3), key=volume.stride, reverse=True)]  # in memory, the last of these axes varies fastest
    volume, lengths = volume.permute(order), list(zip(volume.shape[1:], *sizes))
    lengths = [lengths[axis - 1] for axis in order[1:]]
    if labels:
        array = volume.numpy()
        for axis in (2, 1, 3):  # whole rows first: the last axis, voxel by voxel, is the dear one
            array = array.take(nearest_index(lengths[axis - 1]), axis)
        volume = torch.from_numpy(array)
    else:
        volume = _interpolated(volume, [blocks(axis_matrix(steps, interpolation)) for steps in lengths], clip)
    return volume.permute([order.index(axis) for axis in range(4)])


def _interpolated(volume: Tensor, matrices: list[list[Block]], clip: Sequence[float] | None) -> Tensor:
    """The two inner axes slab by slab, so that only a slab is ever float at full size; the outer axis last."""
    outer, middle, inner = matrices
    mixed = torch.empty(*volume.shape[:2], middle[-1][0].stop, inner[-1][0].stop)
    work = torch.empty(len(volume), SLAB, *volume.shape[2:])
    for first in range(0, volume.shape[1], SLAB):
        part = volume[:, first : first + SLAB]
        slab = work[:, : part.shape[1]].copy_(part)
        if clip is not None:
            slab.clamp_(*clip)
        mixed[:, first : first + SLAB] = along(along(slab, middle, 2), inner, 3)
    return along(mixed, outer, 1)


def along(volume: Tensor, matrix: list[Block], axis: int) -> Tensor:
    """``volume`` (float, contiguous) with ``axis`` multiplied by ``matrix``, which ``blocks`` made."""
    result = volume.new_empty(*volume.shape[:axis], matrix[-1][0].stop, *volume.shape[axis + 1 :])
    last = axis == volume.dim() - 1
    for rows, columns, weights in matrix:
        part = volume.narrow(axis, columns.start, columns.stop - columns.start)
        if last:
            result[..., rows] = part @ weights.T
        else:
            result.flatten(axis + 1)[..., rows, :] = weights @ part.flatten(axis + 1)
    return result


def blocks(matrix: Tensor) -> list[Block]:
    """``matrix`` [new, old] cut into groups of rows, each with the columns that matter to it."""
    found = []
    for first in range(0, len(matrix), ROWS):
        group = matrix[first : first + ROWS]
        columns = _extent((group.abs() > NEGLIGIBLE).any(0))
        found.append((slice(first, first + len(group)), columns, group[:, columns].contiguous()))
    return found


def axis_matrix(lengths: Sequence[int], interpolation: str) -> Tensor:
    """Weights [last, first] (float32) that bring an axis through all ``lengths`` in turn, over the same extent."""
    matrix = torch.eye(lengths[0], dtype=torch.float64)
    for old, new in pairwise(lengths):
        matrix = (_linear if interpolation == "linear" else _cubic)(old, new) @ matrix
    return matrix.float()


def to_native(probabilities: Tensor, native_shape: Sequence[int], native_affine: np.ndarray) -> np.ndarray:
    """Labels (uint8, ``native_shape``) from class probabilities [C, *working grid].

    Interpolated before argmax, since resampling labels costs up to 0.05 Dice; slab by slab, so that memory stays
    bounded. Only the box that can hold more than background is worked on: between voxels where background is likeliest
    it is likeliest too.
    """
    start = orientations.io_orientation(native_affine)
    change = orientations.ornt_transform(start, orientations.axcodes2ornt(ORIENTATION))
    shape = [native_shape[axis] for axis in np.argsort(change[:, 0])]
    labels = np.zeros(shape, np.uint8)
    found = ~(probabilities[0] > probabilities[1:].amax(0))  # a tie may go either way, so it counts
    if found.any():
        lines = [found.any(2).any(1), found.any(2).any(0), found.any(1).any(0)]
        ways = [_way_back(line.cpu(), new, probabilities.device) for line, new in zip(lines, shape)]
        (deep, d, _), (high, h, _), (wide, w, _) = ways
        part = probabilities[(slice(None), *(used for _, _, used in ways))].float().contiguous()
        for first in range(0, len(deep), ROWS):
            slab = along(part, blocks(deep[first : first + ROWS]), 1)
            full = along(along(slab, blocks(wide), 3), blocks(high), 2)
            labels[d][first : first + ROWS, h, w] = full.argmax(0).byte().cpu().numpy()
    back = orientations.ornt_transform(orientations.axcodes2ornt(ORIENTATION), start)
    return np.ascontiguousarray(orientations.apply_orientation(labels, back))


def _way_back(found: Tensor, new: int, device: torch.device) -> tuple[Tensor, slice, slice]:
    """Linear weights of those of ``new`` voxels that the ``found`` old ones reach; which; and the old they need."""
    matrix = _linear(len(found), new).float()
    rows = _extent(matrix[:, found].any(1))
    columns = _extent(matrix[rows].any(0))
    return matrix[rows, columns].to(device), rows, columns


def _extent(found: Tensor) -> slice:
    """From the first to the last true entry."""
    places = torch.nonzero(found)
    return slice(int(places[0]), int(places[-1]) + 1)


def _linear(old: int, new: int) -> Tensor:
    """Weights [new, old] of torch's linear interpolation; the outermost voxels go on outside."""
    return F.interpolate(torch.eye(old, dtype=torch.float64)[None], new, mode="linear", align_corners=False)[0].T


def _cubic(old: int, new: int) -> Tensor:
    """Weights [new, old] of the cubic spline through all voxels, level at both ends.

    Between the outermost voxels that is scipy.ndimage's order 3 with mode "mirror"; outside, these go on.
    """
    if old == 1:
        return torch.ones(new, 1, dtype=torch.float64)
    positions = ((np.arange(new) + 0.5) * old / new - 0.5).clip(0, old - 1)
    return torch.from_numpy(CubicSpline(np.arange(old), np.eye(old), bc_type="clamped")(positions))


def nearest_index(lengths: Sequence[int]) -> np.ndarray:
    """For each voxel of an axis' last length the nearest one of its first, through all ``lengths`` in turn."""
    index = torch.arange(lengths[0])
    for old, new in pairwise(lengths):
        index = index[F.interpolate(torch.arange(old)[None, None].float(), new, mode="nearest-exact")[0, 0].long()]
    return index.numpy()

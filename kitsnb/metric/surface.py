"""Distances between the surfaces of prediction and reference in mm: HD95 and normalized surface Dice of each region.

Both are the definitions of Nikolov et al. (2021, doi:10.2196/26151), whose code is the package surface-distance. A
mask's surface is made of surface elements: one at every corner between 2 x 2 x 2 voxels that are not all inside or
all outside, with the area in mm2 that marching cubes gives this neighbourhood (that package's table); outside the
volume is background. A distance is the Euclidean one from an element to the nearest element of the other surface
(SciPy's k-d tree). Elements count by their area, so thick slices weigh neither more nor less than thin ones.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

#: Regions of the challenge's score, each with its smallest label. Kidney alone is none: its border with the tumour is
#: no surface of an organ.
REGIONS = {"kidney_and_tumour": 1, "tumour": 2}
#: Tolerances in mm of the challenge's next edition (KiTS21, ``HEC_SD_TOLERANCES_MM`` of its evaluation code): how far
#: its annotators were apart.
TOLERANCES_MM = {"kidney_and_tumour": 1.0330772532390826, "tumour": 1.1498198361434828}
#: Share of the product of its sides that a voxel's volume must be to count as a box; less is a sheared grid.
RECTANGULAR = 1 - 1e-6
#: Slices whose neighbourhoods are looked at together.
_SLICES = 16


def surface_scores(
    prediction: ArrayLike,
    reference: ArrayLike,
    spacing: Sequence[float],
    tolerances: Mapping[str, float] = TOLERANCES_MM,
) -> dict[str, float]:
    """``hd95_*`` (mm) and ``nsd_*`` (0 to 1) of ``REGIONS`` in two label arrays [D, H, W], voxels of ``spacing`` mm.

    ``hd95``: the larger of the two directed 95th percentiles, each the distance within which 95 % of one surface's
    area lies of the other surface. NaN, undefined, when the region is empty in either array. ``nsd``: the share of
    both surfaces' area that lies within the region's tolerance of the other surface. 0 when the region is empty in
    one array, NaN, undefined, when it is empty in both. Raises ValueError as ``foreground`` does, for shapes that are
    not 3D, and for a spacing that is not three positive numbers.
    """
    box = foreground(prediction, reference)
    if box[0].ndim != 3:
        raise ValueError(f"prediction and reference must be 3D, got {np.shape(reference)}")
    spacing = np.asarray(spacing, float)
    if spacing.shape != (3,) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise ValueError(f"spacing must be three positive numbers of mm, got {spacing.tolist()}")
    scores = {}
    for region, smallest in REGIONS.items():
        surfaces = [surface_elements(labels >= smallest, spacing) for labels in box]
        scores |= _compare(region, *surfaces, tolerances[region])
    return scores


def foreground(prediction: ArrayLike, reference: ArrayLike) -> tuple[NDArray, NDArray]:
    """Views of two label arrays, cut to the box of their foreground.

    Raises ValueError when shapes differ, or labels are not integers 0, 1 or 2.
    """
    arrays = {"prediction": np.asarray(prediction), "reference": np.asarray(reference)}
    if arrays["prediction"].shape != arrays["reference"].shape:
        shapes = " and ".join(f"{name} {labels.shape}" for name, labels in arrays.items())
        raise ValueError(f"{shapes} must have the same shape")
    whole = all(np.issubdtype(labels.dtype, np.integer) or not labels.size for labels in arrays.values())
    box = foreground_box(*arrays.values()) if whole else ...
    cut = [labels[box] for labels in arrays.values()]
    for (name, labels), found in zip(arrays.items(), cut):
        if found.size and (found.dtype.kind not in "iu" or found.min() < 0 or found.max() > 2):
            low, high = labels.min(), labels.max()
            raise ValueError(f"{name} must hold integer labels 0, 1, 2; got {labels.dtype} from {low} to {high}")
    return cut[0], cut[1]


def foreground_box(*arrays: NDArray) -> tuple[slice, ...]:
    """Smallest box that holds all that is not 0 in ``arrays``, integers of one shape; empty where all is 0."""
    used = [np.zeros(n, bool) for n in arrays[0].shape]
    for array in arrays:
        order = slow_to_fast(array)
        rest = array.transpose(order)
        for axis in order:  # each array is read once, as it lies in memory: what is left of an axis shows the next
            used[axis] |= rest != 0 if rest.ndim == 1 else np.fromiter((part.any() for part in rest), bool, len(rest))
            rest = np.bitwise_or.reduce(rest, axis=0)
    ends = [np.flatnonzero(found)[[0, -1]] if found.any() else (0, -1) for found in used]
    return tuple(slice(int(first), int(last) + 1) for first, last in ends)


def slow_to_fast(array: NDArray) -> list[int]:
    """The axes, the one with the largest steps in memory first."""
    return sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))


def surface_elements(mask: NDArray[np.bool_], spacing: NDArray) -> tuple[NDArray, NDArray]:
    """Places [n, 3] in mm and areas [n] in mm2 of the surface elements of a mask [D, H, W].

    Slab by slab, so that a mask of full size needs little memory beside its surface. Corner (i, j, k) lies between the
    voxels i - 1 and i, and so on; its place is (i, j, k) times ``spacing``.
    """
    from surface_distance import lookup_tables

    table = lookup_tables.create_table_neighbour_code_to_surface_area(spacing)
    weights = lookup_tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL.astype(np.uint8)
    box = foreground_box(mask)
    mask, offset = mask[box], [axis.start for axis in box]
    places, areas = [np.empty((0, 3))], [np.empty(0)]
    for first in range(0, len(mask) + 1, _SLICES):
        slab = mask[max(first - 1, 0) : first + _SLICES]
        codes = _codes(np.pad(slab, ((first == 0, first + _SLICES > len(mask)), (1, 1), (1, 1))), weights)
        found = np.nonzero((codes != 0) & (codes != 255))
        places.append((np.stack(found, axis=1) + offset + (first, 0, 0)) * spacing)
        areas.append(table[codes[found]])
    return np.concatenate(places), np.concatenate(areas)


def _codes(slab: NDArray[np.bool_], weights: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Code of each 2 x 2 x 2 neighbourhood, [n - 1 along each axis]: sum of the weights [2, 2, 2] of voxels inside."""
    codes = np.zeros([n - 1 for n in slab.shape], np.uint8)
    for corner in np.ndindex(2, 2, 2):
        codes += slab[tuple(slice(c, c + n) for c, n in zip(corner, codes.shape))] * weights[corner]
    return codes


def _compare(region: str, predicted: tuple, actual: tuple, tolerance: float) -> dict[str, float]:
    areas = np.concatenate([predicted[1], actual[1]])
    if not (predicted[1].size and actual[1].size):
        return {f"hd95_{region}": float("nan"), f"nsd_{region}": 0.0 if areas.size else float("nan")}
    # unbalanced trees are far quicker to build on places that share coordinates
    trees = [KDTree(places, balanced_tree=False, compact_nodes=False) for places, _ in (predicted, actual)]
    distances = trees[1].query(predicted[0])[0], trees[0].query(actual[0])[0]
    return {
        f"hd95_{region}": max(_percentile(d, a, 0.95) for d, a in zip(distances, (predicted[1], actual[1]))),
        f"nsd_{region}": float(areas[np.concatenate(distances) <= tolerance].sum() / areas.sum()),
    }


def _percentile(distances: NDArray, areas: NDArray, share: float) -> float:
    """Smallest of the distances within which at least ``share`` of the area lies."""
    order = np.argsort(distances)
    covered = np.cumsum(areas[order])
    return float(distances[order[np.searchsorted(covered, share * covered[-1])]])

"""Where voxels lie, by the affine (voxel index to mm): spacing, axes, whether two grids are one; slabs of tumours."""

from collections.abc import Sequence

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine, from_matvec, voxel_sizes
from numpy import ndarray
from scipy import ndimage

#: Shape and affine of a volume; imaging, labels and affine of a case.
Grid = tuple[Sequence[int], ndarray]
Arrays = tuple[ndarray | None, ndarray, ndarray]
#: Two grids are one where no corner lies further apart than this share of the smallest voxel side: less than what could
#: change a voxel's nearest neighbour, and more than the rounding of an affine (ITK's is 5 um).
SAME = 0.1
#: Of an affine, the spacing in mm along each array axis, shape (3,).
spacing_of = voxel_sizes


def voxel_ml(affine: ndarray) -> float:
    """Return the volume of a voxel in ml: the determinant, which is right for sheared axes, too."""
    return float(abs(np.linalg.det(affine))) / 1000


def orientation_of(affine: ndarray) -> str:
    """Say where the array axes point, for example ``IPL``: inferior, posterior, left."""
    return "".join(code or "?" for code in nib.aff2axcodes(affine))


def slice_axis(affine: ndarray) -> int:
    """Return the array axis that runs along the body."""
    return int(np.argmax(np.abs(affine[2, :3]) / spacing_of(affine)))


def difference(grid: Grid, wanted: Grid) -> str | None:
    """Say in words how a grid differs from the wanted one; None where they are one (``SAME``)."""
    shape = tuple(grid[0])
    if shape != tuple(wanted[0]):
        return f"its shape {shape} is not {tuple(wanted[0])}"
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape) - 1)
    offsets = apply_affine(grid[1], corners) - apply_affine(wanted[1], corners)
    distance = np.linalg.norm(offsets, axis=1).max()
    return f"its corners lie up to {distance:.3g} mm away" if distance > SAME * spacing_of(wanted[1]).min() else None


def is_slab(labels: ndarray, affine: ndarray) -> bool:
    """Is it no higher than 200 mm, and do nine of ten slices hold tumour?"""
    marked = with_tumour(labels, affine)
    height = len(marked) * spacing_of(affine)[slice_axis(affine)]
    return height < 200 and marked.mean() >= 0.9


def cut_slab(volume: ndarray | None, labels: ndarray, affine: ndarray, pixels: int) -> Arrays:
    """Return the longest run of slices with tumour (without any, all), ``pixels`` a side from the middle."""
    # Slices that are no larger are of a slab that was cut before.
    if max(np.delete(labels.shape, slice_axis(affine))) <= pixels:
        return volume, labels, affine
    margins = np.maximum(0, np.array(labels.shape) - pixels) // 2
    box = [slice(margin, margin + pixels) for margin in margins]
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
    runs = [run for (run,) in ndimage.find_objects(ndimage.label(marked)[0])]
    return max(runs, key=lambda run: run.stop - run.start, default=slice(0, len(marked)))

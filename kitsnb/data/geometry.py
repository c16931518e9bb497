"""What an affine (voxel index to mm) says: spacing, orientation, and whether two grids are one.

KiTS19 stores the slice axis first, others do not, so everything downstream asks the affine what axes mean.
"""

from collections.abc import Sequence

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from numpy import ndarray
from scipy import ndimage

#: Shape and affine of a volume.
Grid = tuple[Sequence[int], ndarray]
#: Two grids are one where no corner lies further apart than this share of the smallest voxel side: a fifth of what
#: could change a voxel's nearest neighbour, and far more than the rounding of an affine (ITK's is 5 um).
SAME = 0.1


def spacing_of(affine: ndarray) -> ndarray:
    """Return the voxel spacing in mm along each array axis, shape (3,)."""
    return voxel_sizes(affine)


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


def place(array: ndarray, affine: ndarray, grid: Grid) -> ndarray | None:
    """Turn ``array`` and put it where it lies in ``grid``, zero elsewhere; None where its voxels are not of that grid.

    A part of a grid is known by its offset; without one, another shape is another scan.
    """
    shape, wanted = grid
    matrix = np.rint(np.linalg.solve(wanted, affine))  # from its voxel index to that of the grid
    if difference((array.shape, affine), (array.shape, wanted @ matrix)):
        return None
    ends = apply_affine(matrix, [[0, 0, 0], np.array(array.shape) - 1])
    first = ends.min(axis=0)
    behind = ends.max(axis=0) + 1
    if first.min() < 0 or (behind > shape).any() or not (first.any() or (behind == shape).all()):
        return None
    return ndimage.affine_transform(array, np.linalg.inv(matrix), output_shape=shape, order=0)

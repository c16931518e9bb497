"""What an affine (voxel index to mm) says: spacing, orientation, and whether two grids are one.

KiTS19 stores the slice axis first, other sources do not, so everything downstream asks the affine what axes mean.
"""

from collections.abc import Sequence
from itertools import product

import nibabel as nib
import numpy as np
from nibabel import orientations

#: Two grids are one where no corner lies further apart than this share of the smallest voxel side. That is a fifth of
#: what could change a voxel's nearest neighbour, and far more than the rounding of an affine (ITK's is 5 um).
SAME = 0.1


def spacing_of(affine: np.ndarray) -> np.ndarray:
    """Return the voxel spacing in mm along each array axis, shape (3,)."""
    return np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)


def voxel_ml(affine: np.ndarray) -> float:
    """Return the volume of a voxel in ml: the determinant, which is right for sheared axes, too."""
    return float(abs(np.linalg.det(np.asarray(affine)[:3, :3]))) / 1000


def orientation_of(affine: np.ndarray) -> str:
    """Say where the array axes point, for example ``IPL``: inferior, posterior, left."""
    return "".join(code or "?" for code in nib.aff2axcodes(affine))


def slice_axis(affine: np.ndarray) -> int:
    """Return the array axis that runs along the body."""
    return int(np.argmax(orientations.io_orientation(affine)[:, 0] == 2))


def difference(shape: Sequence[int], affine: np.ndarray, wanted_shape: Sequence[int], wanted: np.ndarray) -> str | None:
    """Say in words how a grid differs from the wanted one; None where they are one (``SAME``)."""
    if tuple(shape) != tuple(wanted_shape):
        return f"its shape {tuple(shape)} is not {tuple(wanted_shape)}"
    corners = np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in shape))], dtype=np.float64)
    offsets = corners @ (np.asarray(affine) - np.asarray(wanted)).T
    distance = np.linalg.norm(offsets[:, :3], axis=1).max()
    if distance <= SAME * spacing_of(wanted).min():
        return None
    return f"its corners lie up to {distance:.3g} mm away"


def turn_axes(array: np.ndarray, affine: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Permute and flip the axes of ``array`` until they point as those of ``wanted`` do; return it and its affine."""
    turn = orientations.ornt_transform(orientations.io_orientation(affine), orientations.io_orientation(wanted))
    turned = orientations.apply_orientation(array, turn)
    return turned, affine @ orientations.inv_ornt_aff(turn, array.shape)


def place(array: np.ndarray, affine: np.ndarray, shape: Sequence[int], wanted: np.ndarray) -> np.ndarray | None:
    """Turn ``array`` and put it where it lies in the wanted grid, zero elsewhere; None where it is not of that grid.

    A part of a grid is known by its offset; without one, another shape is another scan.
    """
    turned, own = turn_axes(array, affine, wanted)
    offset = np.rint(np.linalg.solve(wanted, own)[:3, 3]).astype(int)
    end = offset + turned.shape
    there = wanted.copy()
    there[:3, 3] = (wanted @ [*offset, 1])[:3]
    same_shape = turned.shape == tuple(shape)
    if difference(turned.shape, own, turned.shape, there) or not (same_shape or offset.any()):
        return None
    if offset.min() < 0 or (end > shape).any():
        return None
    placed = np.zeros(shape, array.dtype)
    placed[tuple(map(slice, offset, end))] = turned
    return placed

"""What the surroundings of kidneys are like in a CT, in four numbers that real and simulated CT have alike."""

import numpy as np
from scipy.ndimage import binary_fill_holes, binary_opening, distance_transform_edt, uniform_filter

#: The range of each over three real CTs, at 3.22 x 1.62 x 1.62 mm: soft tissue's share 3 to 20 mm from the kidneys,
#: fat's share of the body, SD (HU) in flat tissue, and the median of the SD (HU) in cubes of 7 voxels.
REAL = {"contact": (0.44, 0.66), "fat": (0.32, 0.46), "noise": (6.0, 15.0), "structure": (48.0, 55.0)}
#: HU of soft tissue and of fat; of flat tissue the mean in a cube of 3 voxels.
SOFT, FAT, FLAT = (0, 400), (-150, -30), (20, 120)


def surroundings(hu: np.ndarray, labels: np.ndarray, spacing: np.ndarray) -> dict[str, float]:
    """The numbers of ``REAL`` for an image [slice, row, column], over the slices that kidneys and tumours reach.

    ``spacing`` in mm. Raises ValueError where there is neither kidney nor tumour.
    """
    slices = np.flatnonzero((labels > 0).any((1, 2)))
    if not slices.size:
        raise ValueError("holds neither kidney nor tumour; give labels of 1 and 2")
    near = slice(max(0, slices[0] - 8), slices[-1] + 9)
    hu, foreground = hu[near].astype(np.float32), labels[near] > 0
    body = np.stack([binary_fill_holes(part) for part in binary_opening(hu > -300, iterations=2)])
    distance = distance_transform_edt(~foreground, spacing)
    ring = (distance > 3) & (distance < 20)
    mean, flat = _local(hu, 3)
    return {
        "contact": float(_between(hu[ring], SOFT).mean()),
        "fat": float(_between(hu[body], FAT).mean()),
        "noise": float(np.quantile(flat[body & _between(mean, FLAT)], 0.1)),
        "structure": float(np.median(_local(hu, 7)[1][body])),
    }


def _between(hu: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    return (hu > ends[0]) & (hu < ends[1])


def _local(hu: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and SD in the cube of ``width`` voxels around each."""
    mean = uniform_filter(hu, width)
    return mean, np.sqrt(np.maximum(uniform_filter(hu * hu, width) - mean * mean, 0))

"""A volume to paint on: a patient's frame, shapes as signed distances, smooth noise, and a scanner.

Arrays and places are (up, forward, right) in mm, slices first. An organ is a signed distance (mm, negative inside);
painting blends its HU in over a soft border. Coordinates are warped smoothly, so no organ stays an exact ellipsoid.
"""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import distance_transform_edt, find_objects, gaussian_filter

from kitsnb.simulation.numbers import AIR_HU, BLUR_MM, NOISE_HU, NOISE_MM

Box = tuple[slice, slice, slice]
ALL = (slice(None), slice(None), slice(None))


class Scene:
    """Coordinates of all voxels in the patient's frame (``z``, ``y``, ``x``), and the HU painted so far."""

    cavity: np.ndarray  # distance to the abdominal cavity, set with the wall
    fine: np.ndarray  # texture of all tissue: SD 1 over 4.5 mm

    def __init__(self, rng: np.random.Generator, axes: Sequence[np.ndarray], size: float):
        """``axes``: mm of the voxels along each array axis; ``size``: the patient's, of which 1 is ordinary."""
        self.rng = rng
        self.axes = [(axis / size).astype(np.float32) for axis in axes]
        self.spacing = np.array([abs(axis[0] - axis[-1]) / max(1, len(axis) - 1) for axis in axes])
        self.softness = 0.3 * self.spacing.min()
        z, y, x = np.meshgrid(*self.axes, indexing="ij", sparse=True)
        self.z = z + 4 * self.noise(40)
        self.y = y + 4 * self.noise(40)
        self.x = x + 4 * self.noise(40)
        self.hu = np.full(self.x.shape, AIR_HU, np.float32)
        self.fine = self.noise(4.5)

    def box(self, low: Sequence[float], high: Sequence[float]) -> Box:
        """Return the box of voxels between two corners in mm."""
        parts = []
        for axis, start, stop in zip(self.axes, low, high, strict=True):
            within = np.flatnonzero((axis >= start) & (axis <= stop))
            parts.append(slice(within[0], within[-1] + 1) if within.size else slice(0, 0))
        return tuple(parts)

    def noise(self, length: float, box: Box = ALL) -> np.ndarray:
        """Draw Gaussian noise of mean 0 and SD 1, correlated over about ``length`` mm.

        White noise on a lattice of that step, spread by a separable Gaussian: three small matrix products.
        """
        axes = [axis[part] for axis, part in zip(self.axes, box, strict=True)]
        if not all(map(len, axes)):
            return np.zeros([len(axis) for axis in axes], np.float32)
        bases = []
        for axis in axes:
            lattice = np.arange(axis.min() - 2 * length, axis.max() + 2.5 * length, length)
            weights = np.exp(-0.5 * ((axis[:, None] - lattice) / (0.7 * length)) ** 2)
            bases.append(np.float32(weights / np.linalg.norm(weights, axis=1, keepdims=True)))
        field = self.rng.standard_normal([basis.shape[1] for basis in bases], dtype=np.float32)
        for basis in bases:  # each product takes the first axis away and puts the new one last
            field = np.tensordot(field, basis, axes=(0, 1))
        return field

    def strands(self, length: float, radius: float, box: Box) -> np.ndarray:
        """Return the distance to winding tubes, some ``length`` mm apart: where two noises are both 0 runs a curve."""
        return length * hypot(self.noise(length, box), self.noise(length, box)) - radius

    def ellipsoid(self, centre: Sequence[float], radii: Sequence[float]) -> tuple[Box, np.ndarray]:
        """Return the box around an ellipsoid, and the distance to it there."""
        reach = np.add(radii, 20)
        box = self.box(np.subtract(centre, reach), np.add(centre, reach))
        z, y, x = self.z[box] - centre[0], self.y[box] - centre[1], self.x[box] - centre[2]
        return box, ellipsoid(z, y, x, radii)

    def tube(self, start: Sequence[float], end: Sequence[float], radius: float) -> tuple[Box, np.ndarray]:
        """Return the box around a straight tube, and the distance to it there."""
        box = self.box(np.minimum(start, end) - radius - 9, np.maximum(start, end) + radius + 9)
        way = np.subtract(end, start).astype(np.float32)
        z, y, x = self.z[box] - start[0], self.y[box] - start[1], self.x[box] - start[2]
        along = np.clip((z * way[0] + y * way[1] + x * way[2]) / (way @ way), 0, 1)
        z, y, x = z - along * way[0], y - along * way[1], x - along * way[2]
        return box, np.sqrt(z * z + y * y + x * x) - np.float32(radius)

    def paint(self, distance: np.ndarray, hu: float | np.ndarray, box: Box = ALL) -> None:
        """Blend ``hu`` into ``box`` where ``distance`` is negative."""
        near = distance < 2 * self.softness
        share = np.clip(0.5 - distance[near] / (4 * self.softness), 0, 1)
        target = self.hu[box]
        kept = target[near]
        new = hu[near] if isinstance(hu, np.ndarray) else np.float32(hu)
        target[near] = kept + (new - kept) * share

    def scan(self) -> np.ndarray:
        """Return HU (int16) as a scanner sees them: blurred, with correlated noise."""
        blur = [sigma.draw(self.rng) for sigma in BLUR_MM]
        scanned = gaussian_filter(self.hu, blur / self.spacing)
        noise = self.rng.standard_normal(scanned.shape, dtype=np.float32)
        noise = gaussian_filter(noise, NOISE_MM / self.spacing)
        scanned += noise * (NOISE_HU.draw(self.rng) / noise.std())
        return np.clip(np.rint(scanned), -1024, 3071).astype(np.int16)


def hypot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return sqrt(a^2 + b^2); numpy's, which guards against overflow, takes four times as long."""
    return np.sqrt(a * a + b * b)


def ellipsoid(z: np.ndarray, y: np.ndarray, x: np.ndarray, radii: Sequence[float]) -> np.ndarray:
    """Return the distance to an ellipsoid at the origin: right on its surface, and along its shortest half-axis."""
    scaled = (z / radii[0]) ** 2 + (y / radii[1]) ** 2 + (x / radii[2]) ** 2
    return (np.sqrt(scaled) - 1) * np.float32(min(radii))


def column(y: np.ndarray, x: np.ndarray, radii: Sequence[float]) -> np.ndarray:
    """Return the distance to an upright elliptical column at the origin."""
    return (hypot(y / radii[0], x / radii[1]) - 1) * np.float32(min(radii))


def signed_distance(mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Return the distance in mm to the surface of ``mask``, negative inside, smoothed over half a voxel.

    The surface lies half-way between voxel centres. The mask goes on beyond the array as it is at its border, so an
    organ that the field of view cuts has no surface there. Needs both kinds of voxel.
    """
    padded = np.pad(mask, 2, mode="edge")
    half = np.float32(0.5 * min(spacing))
    distance = distance_transform_edt(~padded, spacing).astype(np.float32) - half
    box = tuple(slice(max(0, part.start - 1), part.stop + 1) for part in find_objects(padded.view(np.uint8))[0])
    inside = padded[box]  # what lies inside is nowhere farther from the surface than the box is wide
    distance[box][inside] = half - distance_transform_edt(inside, spacing)[inside]
    return gaussian_filter(distance, 0.5)[2:-2, 2:-2, 2:-2]

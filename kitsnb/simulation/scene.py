"""A volume to paint on, (up, forward, right): shapes as signed distances in mm, smooth noise, and a scanner.

Painting blends an organ's HU in over a soft border; coordinates are warped, so no organ stays an exact ellipsoid.
"""

from collections.abc import Sequence
from copy import copy

import numpy as np
from numpy import ndarray
from scipy.ndimage import distance_transform_edt, find_objects, gaussian_filter

from kitsnb.simulation import numbers

Place = Sequence[float]
Box = tuple[slice, slice, slice]
#: Distances to what two shapes have in common, and to both together.
both = np.maximum
either = np.minimum


class Scene:
    """Coordinates of all voxels in the patient's frame, HU by the name of a tissue, and the HU painted so far."""

    tissue: dict[str, float]
    cavity: ndarray  # distance to the abdominal cavity

    def __init__(self, rng: np.random.Generator, axes: Sequence[ndarray], size: float):
        """``axes``: mm of the voxels along each array axis; ``size``: the patient's, of which 1 is ordinary."""
        self.rng = rng
        self.axes = [np.float32(axis / size) for axis in axes]
        self.spacing = np.array([axis[0] - axis[1] for axis in axes])
        self.softness = 1.2 * self.spacing.min()
        grid = np.meshgrid(*self.axes, indexing="ij", sparse=True)
        self.places = [axis + 4 * self.noise(40) for axis in grid]  # up, forward and right
        self.fine = self.noise(4.5)
        self.hu = np.full(self.fine.shape, numbers.AIR_HU, np.float32)

    def cut(self, box: Box) -> "Scene":
        """Return a view of ``box``: what is painted there is painted here."""
        part = copy(self)
        part.axes = [axis[along] for axis, along in zip(self.axes, box)]
        part.places = [coordinate[box] for coordinate in self.places]
        part.fine = self.fine[box]
        part.hu = self.hu[box]
        part.cavity = self.cavity[box]
        return part

    def between(self, low: Place, high: Place) -> "Scene":
        """Return a view of the box between two corners."""
        box = []
        for axis, start, stop in zip(self.axes, low, high):
            within = (axis >= start) & (axis <= stop)
            first = within.argmax()
            box.append(slice(first, first + within.sum()))
        return self.cut(tuple(box))

    def around(self, centre: Place, radii: Place) -> tuple["Scene", ndarray]:
        """Return a view of the box around an ellipsoid, and the distance to it there."""
        reach = np.add(radii, 20)
        part = self.between(centre - reach, centre + reach)
        z, y, x = part.places
        return part, ellipsoid(z - centre[0], y - centre[1], x - centre[2], radii)

    def draw(self, ends: tuple[float, float]) -> float:
        return self.rng.uniform(*ends)

    def noise(self, length: float) -> ndarray:
        """Draw Gaussian noise of SD 1 over about ``length`` mm: on a lattice, spread by three matrix products."""
        bases = []
        for axis in self.axes:
            first = axis.min(initial=0) - 2 * length
            last = axis.max(initial=0) + 2.5 * length
            lattice = np.arange(first, last, length)
            away = (axis[:, None] - lattice) / (0.7 * length)
            weights = np.exp(-0.5 * away**2)
            weights /= np.linalg.norm(weights, axis=1, keepdims=True)
            bases.append(np.float32(weights))
        shape = [basis.shape[1] for basis in bases]
        field = self.rng.standard_normal(shape, dtype=np.float32)
        for basis in bases:  # each product takes the first axis away and puts the new one last
            field = np.tensordot(field, basis, axes=(0, 1))
        return field

    def strands(self, length: float, radius: float) -> ndarray:
        """Return the distance to winding tubes, some ``length`` mm apart: where two noises are both 0 runs a curve."""
        return length * hypot(self.noise(length), self.noise(length)) - radius

    def paint(self, distance: ndarray, tissue: str | ndarray) -> None:
        """Blend a ``tissue``, by name or as HU per voxel, in where ``distance`` is negative."""
        near = distance < self.softness / 2
        if isinstance(tissue, str):
            tissue = self.tissue[tissue] + numbers.TEXTURE_HU * self.fine
        share = np.clip(0.5 - distance[near] / self.softness, 0, 1)
        self.hu[near] += (tissue[near] - self.hu[near]) * share

    def scan(self) -> ndarray:
        """Return HU (int16) as a scanner sees them: blurred, with correlated noise."""
        blur = [self.draw(sigma) for sigma in numbers.BLUR_MM]
        scanned = gaussian_filter(self.hu, blur / self.spacing)
        noise = self.rng.standard_normal(scanned.shape, dtype=np.float32)
        noise = gaussian_filter(noise, numbers.NOISE_MM / self.spacing)
        scanned += noise * (self.draw(numbers.NOISE_HU) / noise.std())
        return np.clip(np.rint(scanned), -1024, 3071).astype(np.int16)


def centred_axes(shape: Sequence[int], spacing: Place) -> list[ndarray]:
    """Return the coordinates in mm along each axis, falling, 0 in the middle."""
    return [step * ((n - 1) / 2 - np.arange(n)) for n, step in zip(shape, spacing)]


def hypot(a: ndarray, b: ndarray) -> ndarray:
    """Return sqrt(a^2 + b^2); numpy's, which guards against overflow, takes four times as long."""
    return np.sqrt(a * a + b * b)


def ellipsoid(z: float | ndarray, y: ndarray, x: ndarray, radii: Place) -> ndarray:
    """Return the distance to an ellipsoid at the origin, exact on its surface and along its shortest half-axis."""
    scaled = hypot(hypot(z / radii[0], y / radii[1]), x / radii[2])
    return (scaled - 1) * np.float32(min(radii))


def signed_distance(mask: ndarray, spacing: Place) -> ndarray:
    """Return the distance in mm to the surface of ``mask``, negative inside, smoothed over half a voxel."""
    padded = np.pad(mask, 2, mode="edge")  # an organ has no surface where the field of view cuts it
    half = 0.5 * min(spacing)
    distance = distance_transform_edt(~padded, spacing)
    distance -= distance_transform_edt(padded, spacing)
    distance -= np.where(padded, -half, half)
    smooth = gaussian_filter(np.float32(distance), 0.5)
    return smooth[2:-2, 2:-2, 2:-2]


def bounds(mask: ndarray, margin: Sequence[float]) -> Box:
    """Return the box around ``mask``, wider by ``margin`` voxels on each side, as far as the array goes."""
    box = []
    (found,) = find_objects(mask.view(np.uint8))
    for along, more in zip(found, margin):
        box.append(slice(max(0, along.start - int(more)), along.stop + int(more)))
    return tuple(box)

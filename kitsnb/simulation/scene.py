"""A volume to paint on: a patient's frame, shapes as signed distances, smooth noise, and a scanner's blur.

The frame is in mm (x right, y anterior, z superior; the origin midway between the kidneys). Every organ is a signed
distance (mm, negative inside); painting blends its HU in by a sigmoid of that distance, and its label is where the
distance is negative. Coordinates are warped smoothly first, so no organ stays an exact ellipsoid.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt, find_objects, gaussian_filter
from scipy.spatial.transform import Rotation

from kitsnb.simulation.organs import NUMBER

KIDNEY, TUMOUR = 1, 2
AIR = -1000.0
#: A box of voxels, along (slice, row, column).
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Ellipsoid:
    """Centre, half-axes (mm) and a rotation whose rows are the ellipsoid's own axes (None: the patient's)."""

    centre: np.ndarray
    radii: np.ndarray
    axes: np.ndarray | None = None

    def distance(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Signed distance in mm, negative inside: exact for a sphere, first order near any ellipsoid's surface."""
        own = [axis - middle for axis, middle in zip((x, y, z), self.centre, strict=True)]
        if self.axes is not None:
            own = [a * own[0] + b * own[1] + c * own[2] for a, b, c in self.axes.astype(np.float32)]
        radii = np.asarray(self.radii, np.float32)
        scaled = sum((o / r) ** 2 for o, r in zip(own, radii, strict=True))
        steep = sum((o / r**2) ** 2 for o, r in zip(own, radii, strict=True))
        # At the centre both sums vanish; the tiny terms give minus the smallest half-axis there.
        tiny, smallest = np.float32(1e-9), radii.min()
        return (np.sqrt(scaled) - 1) * np.sqrt((scaled + tiny) / (steep + tiny / smallest**2))

    def point(self, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The surface point that ``direction`` (in the ellipsoid's own axes) maps to, and the outward normal there."""
        axes = np.eye(3) if self.axes is None else self.axes
        unit = direction / np.linalg.norm(direction)
        normal = unit / self.radii
        return self.centre + (unit * self.radii) @ axes, (normal / np.linalg.norm(normal)) @ axes


class Scene:
    """Voxel coordinates of a volume in the patient's frame, and the HU painted so far; arrays (slice, row, column)."""

    #: Set with the trunk: distances that keep organs in their place, to the abdominal cavity and to the spine; a fine
    #: texture of all voxels (SD 1); HU of fat and of muscle.
    cavity: np.ndarray
    spine: np.ndarray
    fine: np.ndarray
    fat: float
    muscle: float

    def __init__(self, rng: np.random.Generator, axes: tuple[np.ndarray, np.ndarray, np.ndarray], softness: float):
        """``axes``: mm along z, y and x; ``softness``: width in mm of a painted surface."""
        self.rng, self.softness = rng, softness
        self.axes = tuple(axis.astype(np.float32) for axis in axes)
        z, y, x = np.meshgrid(*self.axes, indexing="ij", sparse=True)
        self.z, self.y, self.x = (c + 4.0 * smooth_noise(rng, self.axes, 40.0) for c in (z, y, x))
        self.hu = np.full(self.shape, AIR, np.float32)
        self.labels = np.zeros(self.shape, np.uint8)
        self.organs = np.zeros(self.shape, np.uint8)

    @property
    def shape(self) -> tuple[int, int, int]:
        return tuple(len(axis) for axis in self.axes)

    def between(self, low: Sequence[float], high: Sequence[float]) -> Box:
        """Box of voxels between two corners (x, y, z) in mm."""
        corners = zip(self.axes, low[::-1], high[::-1], strict=True)
        within = [np.flatnonzero((axis >= a) & (axis <= b)) for axis, a, b in corners]
        return tuple(slice(w[0], w[-1] + 1) if w.size else slice(0, 0) for w in within)

    def near(self, shape: Ellipsoid, margin: float = 20.0) -> tuple[Box, np.ndarray]:
        """Box of voxels that hold ``shape`` and ``margin`` mm around it, for warp and soft surface; distances there."""
        reach = np.max(shape.radii) + margin
        box = self.between(shape.centre - reach, shape.centre + reach)
        return box, self.distance(shape, box)

    def distance(self, shape: Ellipsoid, box: Box) -> np.ndarray:
        return shape.distance(self.x[box], self.y[box], self.z[box])

    def texture(self, length: float, box: Box | None = None) -> np.ndarray:
        """``smooth_noise`` on the voxels of ``box``, or on all."""
        parts = box or (slice(None),) * 3
        return smooth_noise(self.rng, tuple(axis[part] for axis, part in zip(self.axes, parts, strict=True)), length)

    def textured(self, value: float | np.ndarray, sd: float, length: float, box: Box) -> float | np.ndarray:
        """``value`` with a texture of this SD over ``length`` mm; itself, and nothing is drawn, where ``sd`` is 0."""
        return value + sd * self.texture(length, box) if sd else value

    def paint(
        self, distance: np.ndarray, hu: float | np.ndarray, box: Box | tuple = (), label: int | None = None,
        organ: int | None = None,
    ) -> None:
        """Blend ``hu`` into the box where ``distance`` is negative; with ``label`` or ``organ``, mark those."""
        near = distance < 2 * self.softness
        share = np.clip(0.5 - distance[near] / (4 * self.softness), 0, 1)
        target = self.hu[box]
        kept = target[near]
        target[near] = kept + ((hu[near] if isinstance(hu, np.ndarray) else float(hu)) - kept) * share
        for marks, mark in ((self.labels, label), (self.organs, organ)):
            if mark is not None:
                marks[box][distance < 0] = mark


def between_points(
    scene: Scene, start: np.ndarray, end: np.ndarray, radius: float, folds: float = 0.0, inside: bool = True
) -> tuple[Box, np.ndarray]:
    """Box and distance of a stretch of tube from ``start`` to ``end`` (x, y, z); ``folds``: depth of its haustra.

    The depth is a share of ``radius`` (mm). ``inside``: it stays in the abdominal cavity.
    """
    box = scene.between(np.minimum(start, end) - radius - 9, np.maximum(start, end) + radius + 9)
    way = (end - start).astype(np.float32)
    length = max(1e-3, float(np.linalg.norm(way)))
    own = [axis[box] - np.float32(first) for axis, first in zip((scene.x, scene.y, scene.z), start, strict=True)]
    along = np.clip(sum(o * w for o, w in zip(own, way, strict=True)) / np.float32(length**2), 0, 1)
    distance = np.sqrt(sum((o - along * w) ** 2 for o, w in zip(own, way, strict=True)))
    distance -= np.float32(radius) * (1 - folds * np.cos(np.float32(0.28 * length) * along) if folds else 1)
    return box, np.maximum(distance, scene.cavity[box] + 1) if inside else distance


def paint_tube(
    scene: Scene, points: Sequence, radius: float, hu: float, organ: str, inside: bool = True
) -> None:
    """A tube of ``radius`` mm through ``points`` (x, y, z)."""
    for start, end in zip(points[:-1], points[1:], strict=True):
        box, distance = between_points(scene, np.asarray(start, float), np.asarray(end, float), radius, inside=inside)
        if distance.size:
            scene.paint(distance, hu, box, organ=NUMBER[organ])


def smooth_noise(rng: np.random.Generator, axes: tuple[np.ndarray, ...], length: float) -> np.ndarray:
    """Gaussian noise of mean 0 and SD 1 on the grid of ``axes`` (mm), correlated over about ``length`` mm.

    White noise on a lattice of that step, spread by a separable Gaussian: three small matrix products.
    """
    if not all(len(axis) for axis in axes):  # an organ outside the field of view
        return np.zeros([len(axis) for axis in axes], np.float32)
    bases = []
    for axis in axes:
        lattice = np.arange(axis.min() - 2 * length, axis.max() + 2.5 * length, length)
        weights = np.exp(-0.5 * ((axis[:, None] - lattice) / (0.7 * length)) ** 2)
        bases.append((weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32))
    field = rng.standard_normal([basis.shape[1] for basis in bases], dtype=np.float32)
    for basis in bases:  # each product contracts the first axis and puts the new one last, so three restore the order
        field = np.tensordot(field, basis, axes=(0, 1))
    return field


def rotation(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> np.ndarray:
    """Rotation by angles in radians about x, then y, then z."""
    return Rotation.from_euler("xyz", (x, y, z)).as_matrix()


def hypot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Numpy's, which guards against overflow, takes four times as long."""
    return np.sqrt(a * a + b * b)


def modulo(values: np.ndarray, period: float) -> np.ndarray:
    """``values`` modulo ``period``; numpy's ``%`` takes ten times as long."""
    return values - period * np.floor(values / period)


def column(x: np.ndarray, y: np.ndarray, cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
    """Distance to an elliptical column along z."""
    return (hypot((x - cx) / rx, (y - cy) / ry) - 1) * min(rx, ry)


def signed_distance(mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Distance in mm (float32) to the surface of ``mask``, negative inside, smoothed over half a voxel.

    The surface lies half-way between voxel centres. The mask goes on beyond the array as it is at its border, so an
    organ that the field of view cuts has no surface there. Needs both kinds of voxel.
    """
    padded = np.pad(mask, 2, mode="edge")
    half = 0.5 * min(spacing)
    distance = distance_transform_edt(~padded, spacing).astype(np.float32) - half
    box = tuple(slice(max(0, part.start - 1), part.stop + 1) for part in find_objects(padded.view(np.uint8))[0])
    inside = padded[box]  # what lies inside is nowhere farther from the surface than the box is wide
    distance[box][inside] = half - distance_transform_edt(inside, spacing)[inside]
    return gaussian_filter(distance, 0.5)[2:-2, 2:-2, 2:-2]


def scan(
    scene: Scene, point_spread: Sequence[float], grain: Sequence[float], noise: tuple[float, float],
    streaks: tuple[float, float] | None = None,
) -> np.ndarray:
    """What a scanner sees of ``scene`` (int16): blurred by ``point_spread``, with noise correlated by ``grain``.

    Both are sigmas in voxels along (slice, row, column). The noise's SD is between the two of ``noise``, in HU.
    ``streaks``: the same for streaks from side to side, as where arms and hips leave few photons (None: no streaks).
    """
    rng = scene.rng
    scanned = gaussian_filter(scene.hu, point_spread)
    fields = [(grain, noise)] + ([((0, 0.7, 15.0), streaks)] if streaks else [])
    for sigma, ends in fields:
        field = gaussian_filter(rng.standard_normal(scene.shape, dtype=np.float32), sigma)
        scanned += field * (rng.uniform(*ends) / field.std())
    return np.clip(np.rint(scanned), -1024, 3071).astype(np.int16)

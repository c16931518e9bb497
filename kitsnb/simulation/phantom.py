"""Simulated abdominal CT: procedural cases in KiTS19's folder format, the same for the same seed.

A case is painted in a patient's frame (mm; x right, y anterior, z superior; the origin midway between the kidneys).
Every organ is a signed distance (mm, negative inside); painting blends its HU in by a sigmoid of that distance, and its
label is where the distance is negative. Coordinates are warped smoothly first, so no organ stays an exact ellipsoid. At
the end the volume is blurred by a point spread, gets correlated noise and is stored in one of several orientations.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel import orientations
from scipy.ndimage import gaussian_filter
from scipy.special import expit

from kitsnb.data.cases import Case
from kitsnb.data.nifti import write_nifti

KIDNEY, TUMOUR = 1, 2
AIR, FLUID = -1000.0, 9.0
#: KiTS19's orientation: slices run downwards, rows backwards, columns to the patient's left.
KITS19_ORIENTATION = "IPL"
#: About one case in six is stored as other converters do, with the slice axis last: along DICOM's own axes (LPS) or
#: along NIfTI's (RAS). KiTS19 itself is all IPL; these are here so that code which relies on an axis's position fails.
OTHER_ORIENTATIONS = ("LPS", "RAS")


@dataclass(frozen=True)
class Phantom:
    """One simulated case: HU (int16), labels (uint8), both of one shape, and their affine (voxel index to mm)."""

    imaging: np.ndarray
    segmentation: np.ndarray
    affine: np.ndarray


@dataclass(frozen=True)
class Ellipsoid:
    """Centre, half-axes (mm) and a rotation whose rows are the ellipsoid's own axes."""

    centre: np.ndarray
    radii: np.ndarray
    axes: np.ndarray

    def distance(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Signed distance in mm, negative inside: exact for a sphere, first order near any ellipsoid's surface."""
        shifted = (x - self.centre[0], y - self.centre[1], z - self.centre[2])
        own = [sum(a * s for a, s in zip(axis, shifted, strict=True)) for axis in self.axes.astype(np.float32)]
        scaled = sum((o / r) ** 2 for o, r in zip(own, self.radii.astype(np.float32), strict=True))
        steep = sum((o / r**2) ** 2 for o, r in zip(own, self.radii.astype(np.float32), strict=True))
        # At the centre both sums vanish; the tiny terms give minus the smallest half-axis there.
        tiny, smallest = np.float32(1e-9), np.float32(self.radii.min())
        return (np.sqrt(scaled) - 1) * np.sqrt((scaled + tiny) / (steep + tiny / smallest**2))

    def point(self, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The surface point that ``direction`` (in the ellipsoid's own axes) maps to, and the outward normal there."""
        unit = direction / np.linalg.norm(direction)
        normal = unit / self.radii
        return self.centre + (unit * self.radii) @ self.axes, (normal / np.linalg.norm(normal)) @ self.axes


class Scene:
    """Voxel coordinates of a volume in the patient's frame, and the HU painted so far; arrays (slice, row, column)."""

    #: Distances that keep organs in their place, set once the body is painted: to the abdominal cavity, to the spine.
    cavity: np.ndarray
    spine: np.ndarray

    def __init__(self, rng: np.random.Generator, axes: tuple[np.ndarray, np.ndarray, np.ndarray], softness: float):
        """``axes``: mm along z, y and x; ``softness``: width in mm of a painted surface."""
        self.axes = tuple(axis.astype(np.float32) for axis in axes)
        self.softness = softness
        z, y, x = np.meshgrid(*self.axes, indexing="ij", sparse=True)
        self.z, self.y, self.x = (c + 4.0 * smooth_noise(rng, self.axes, 40.0) for c in (z, y, x))
        self.hu = np.full(self.shape, AIR, np.float32)
        self.labels = np.zeros(self.shape, np.uint8)

    @property
    def shape(self) -> tuple[int, int, int]:
        return tuple(len(axis) for axis in self.axes)

    def near(self, shape: Ellipsoid, margin: float = 20.0) -> tuple[slice, slice, slice]:
        """Box of voxels that hold ``shape`` with ``margin`` mm around it, for the warp and the soft surface."""
        reach = shape.radii.max() + margin
        bounds = [
            np.flatnonzero(np.abs(axis - c) <= reach) for axis, c in zip(self.axes, shape.centre[::-1], strict=True)
        ]
        return tuple(slice(b[0], b[-1] + 1) if b.size else slice(0, 0) for b in bounds)

    def distance(self, shape: Ellipsoid, box: tuple = ()) -> np.ndarray:
        return shape.distance(self.x[box], self.y[box], self.z[box])

    def texture(self, rng: np.random.Generator, length: float, box: tuple[slice, slice, slice]) -> np.ndarray:
        """``smooth_noise`` on the voxels of ``box``."""
        return smooth_noise(rng, tuple(axis[part] for axis, part in zip(self.axes, box, strict=True)), length)

    def paint(self, distance: np.ndarray, hu: float | np.ndarray, box: tuple = (), label: int | None = None) -> None:
        """Blend ``hu`` into the box where ``distance`` is negative; with ``label``, mark those voxels too."""
        target = self.hu[box]
        target += (hu - target) * expit(-distance / self.softness)
        if label is not None:
            self.labels[box][distance < 0] = label

    def blob(self, centre, radii, hu: float, axes: np.ndarray | None = None) -> None:
        """Paint one ellipsoid."""
        shape = Ellipsoid(np.asarray(centre, float), np.asarray(radii, float), np.eye(3) if axes is None else axes)
        box = self.near(shape)
        self.paint(self.distance(shape, box), hu, box)


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
    (cx, cy, cz), (sx, sy, sz) = np.cos((x, y, z)), np.sin((x, y, z))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def simulate_case(seed: int, number: int, tumours: int = 1) -> Phantom:
    """Case ``number`` of the data set of ``seed``; it depends on nothing else, so a larger set contains a smaller one.

    KiTS19 has a tumour in every case, hence the default of one.
    """
    rng = np.random.default_rng((seed, number))
    size = float(np.clip(rng.normal(1.0, 0.07), 0.86, 1.14))
    slice_spacing = rng.triangular(3.0, 4.0, 7.0)
    in_plane = rng.uniform(3.0, 5.0)
    spacing = np.array([slice_spacing, in_plane, in_plane])
    extent = size * np.array([192.0, 280.0, 320.0]) * rng.uniform((0.9, 0.96, 0.96), (1.1, 1.06, 1.06))
    shape = np.round(extent / spacing).astype(int)
    # Indices run down, back and to the left, as in KiTS19, so that every coordinate falls. A small patient is a large
    # one seen closer: organs are painted in the frame of a patient of average size.
    millimetres = [step * ((n - 1) / 2 - np.arange(n)) for step, n in zip(spacing, shape, strict=True)]
    scene = Scene(rng, tuple(axis / size for axis in millimetres), softness=0.3 * in_plane)
    paint_body(rng, scene)
    _paint_organs(rng, scene)
    _paint_kidneys(rng, scene, tumours, size)
    imaging = _scan(rng, scene.hu)

    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = -spacing
    affine[:3, 3] = [axis[0] for axis in millimetres[::-1]] + rng.uniform(-250, 250, 3).round(1)
    affine[3, 3] = 1
    other = rng.random() < 1 / 6
    wanted = str(rng.choice(OTHER_ORIENTATIONS)) if other else KITS19_ORIENTATION
    return reorient(Phantom(imaging, scene.labels, affine), wanted)


def reorient(phantom: Phantom, wanted: str) -> Phantom:
    """The same case with its array axes along ``wanted``, for example ``LPS``; every voxel keeps its world position."""
    change = orientations.ornt_transform(
        orientations.io_orientation(phantom.affine), orientations.axcodes2ornt(tuple(wanted))
    )
    return Phantom(
        np.ascontiguousarray(orientations.apply_orientation(phantom.imaging, change)),
        np.ascontiguousarray(orientations.apply_orientation(phantom.segmentation, change)),
        phantom.affine @ orientations.inv_ornt_aff(change, phantom.imaging.shape),
    )


def paint_body(rng: np.random.Generator, scene: Scene) -> None:
    """Skin, subcutaneous fat, abdominal wall with ribs, abdominal fat, back muscles and spine."""
    x, y, z = scene.x, scene.y, scene.z
    width, depth = 148.0, rng.uniform(104, 118)
    fat, muscle = rng.normal(-105, 6), rng.normal(57, 6)
    subcutaneous, wall = rng.uniform(8, 26), rng.uniform(9, 14)
    # A power above two squares the ellipse off a little, as a trunk is; the distance is that along the radius.
    radius = (np.abs(x / width) ** 2.5 + np.abs((y - 8) / depth) ** 2.5) ** 0.4
    outside = (radius - 1) * np.hypot(x, y - 8) / np.maximum(radius, 1e-3)
    scene.paint(outside, 20.0)
    scene.paint(outside + 2.5, fat)
    scene.paint(outside + subcutaneous, muscle)
    scene.cavity = outside + subcutaneous + wall
    angle = np.arctan2(x, -y)
    rise = z + 45 * np.abs(angle) - rng.uniform(0, 30)  # ribs fall towards the front
    rib = np.hypot(scene.cavity - wall / 2, (rise % 30) - 15) - 4.0
    scene.paint(np.where(rise > 60, rib, 10.0), rng.normal(320, 40))
    scene.paint(scene.cavity, fat)
    for side in (-1, 1):
        scene.paint(column(x, y, side * 32, -72, 26, 20), muscle + rng.normal(0, 3))
        psoas = 10 + 0.09 * np.clip(60 - z, 0, 150)  # grows downwards
        scene.paint(np.hypot(x - side * 36, (y + 40) / 1.2) - psoas, muscle + rng.normal(0, 3))
    vertebra = column(x, y, 0, -44, 24, 18)
    disc = np.abs(((z + rng.uniform(0, 34)) % 34) - 17) - 3.5
    scene.spine = vertebra
    scene.paint(vertebra, rng.normal(330, 30))
    scene.paint(vertebra + 3, np.where(disc < 0, 80.0, rng.normal(170, 25)))
    scene.paint(column(x, y, 0, -84, 5, 20), rng.normal(260, 30))
    scene.paint(column(x, y, 0, -71, 13, 12), rng.normal(280, 30))
    scene.paint(column(x, y, 0, -70, 9, 8), 25.0)


def column(x: np.ndarray, y: np.ndarray, cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
    """Distance to an elliptical column along z."""
    return (np.hypot((x - cx) / rx, (y - cy) / ry) - 1) * min(rx, ry)


def _paint_organs(rng: np.random.Generator, scene: Scene) -> None:
    """Bowel, stomach, spleen, liver with gall bladder, aorta and vena cava; nothing leaves the abdominal cavity."""
    for centre, radii in bowel_loops(rng):
        contents = rng.choice([FLUID, 25.0, -850.0, 220.0, -60.0], p=[0.35, 0.25, 0.15, 0.1, 0.15])
        scene.blob(centre, radii, rng.normal(70, 12))
        scene.blob(centre, radii - 3.5, contents)
    liver, spleen = rng.normal(100, 14), rng.normal(115, 15)
    jitter = rng.normal(0, 5, (3, 3))
    organs = [
        (jitter[0] + (-48, 38, 62), (44, 34, 34), rng.choice([FLUID, 35.0, 200.0])),  # stomach
        (jitter[1] + (-92, -28, 66), (30, 42, 46), spleen),
        (jitter[2] + (72, 14, 72), (72, 76, 66), liver),
    ]
    for centre, radii, hu in organs:
        shape = Ellipsoid(centre, np.array(radii, float), np.eye(3))
        box = scene.near(shape)
        distance = np.maximum(scene.distance(shape, box), scene.cavity[box] + 2)
        scene.paint(distance, hu + 5 * scene.texture(rng, 14.0, box), box)
    if rng.random() < 0.7:
        scene.blob((52, 50, 18), (13, 17, 20), FLUID)
    scene.paint(column(scene.x, scene.y, -8, -15, 10, 10), rng.normal(190, 35))
    scene.paint(column(scene.x, scene.y, 16, -14, 12, 9), rng.normal(140, 25))


def bowel_loops(rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Centres and half-axes of loops in the front of the abdomen, and of ascending and descending colon."""
    for _ in range(rng.integers(28, 42)):
        yield rng.uniform((-85, 0, -110), (85, 72, 50)), rng.uniform(11, 24, 3)
    for side in (-1, 1):
        centre = np.array([side * 88.0, rng.uniform(0, 20), rng.uniform(-80, -50)])
        yield centre, rng.uniform((15, 15, 35), (22, 22, 60))


def _paint_kidneys(rng: np.random.Generator, scene: Scene, tumours: int, size: float) -> None:
    """Both kidneys with perirenal fat, cysts and, in one of them, the tumours; writes the labels."""
    cortex = float(np.clip(rng.normal(170, 40), 100, 280))
    kidneys = {side: _kidney_shape(rng, side) for side in (-1, 1)}
    for side, kidney in kidneys.items():
        _paint_kidney(rng, scene, kidney, side, cortex)
    for _ in range(tumours):
        side = int(rng.choice((-1, 1)))
        _paint_tumour(rng, scene, kidneys[side], side, cortex, size)


def _kidney_shape(rng: np.random.Generator, side: int) -> Ellipsoid:
    """Upper poles lean towards the spine and backwards; the right kidney lies lower, below the liver."""
    centre = np.array([side * rng.normal(64, 4), rng.normal(-27, 4), rng.normal(-6 if side > 0 else 6, 6)])
    radii = rng.normal((27, 24, 54), (2, 2, 5)).clip((22, 19, 42), (33, 30, 66))
    return Ellipsoid(centre, radii, rotation(x=rng.normal(0.15, 0.06), y=side * rng.normal(0.2, 0.06)))


def _paint_kidney(rng: np.random.Generator, scene: Scene, kidney: Ellipsoid, side: int, cortex: float) -> None:
    box = scene.near(kidney, 35.0)
    outer = scene.distance(kidney, box)
    scene.paint(np.maximum(outer - rng.uniform(2, 14), scene.cavity[box]), rng.normal(-100, 8), box)
    # The hilum opens towards the spine and a little to the front; its fat belongs to no label, as in KiTS19.
    hilum = Ellipsoid(kidney.centre + (-side * 17, 5, 0), kidney.radii * (0.62, 0.42, 0.42), kidney.axes)
    sinus = scene.distance(hilum, box)
    parenchyma = np.maximum(outer, -sinus)
    scene.paint(parenchyma, cortex, box, KIDNEY)
    pyramids = outer + 7 + 3 * scene.texture(rng, 9.0, box)
    scene.paint(np.maximum(pyramids, -sinus + 2), cortex * rng.uniform(0.60, 0.85), box)
    scene.paint(np.maximum(sinus, outer), rng.normal(-60, 15), box)
    pelvis = Ellipsoid(hilum.centre, hilum.radii * 0.45, kidney.axes)
    scene.paint(scene.distance(pelvis, box), rng.choice([FLUID, 0.9 * cortex]), box)
    for _ in range(rng.poisson(0.45)):
        surface, _ = kidney.point(rng.normal((0, 0, 0), 1) + (side * 0.8, 0, 0))
        cyst = Ellipsoid(surface, np.full(3, rng.uniform(5, 16)), np.eye(3))
        box = scene.near(cyst)
        scene.paint(np.maximum(scene.distance(cyst, box), scene.cavity[box] + 1), FLUID, box, KIDNEY)


def _paint_tumour(
    rng: np.random.Generator, scene: Scene, kidney: Ellipsoid, side: int, cortex: float, size: float
) -> None:
    """A lobed ball on the kidney's surface, away from the spine, between half sunk and mostly outside."""
    radius = float(np.clip(rng.lognormal(np.log(27), 0.38), 14, 48)) / size
    centre = _place(rng, scene, kidney, side, radius)
    shape = Ellipsoid(centre, radius * rng.uniform(0.88, 1.12, 3), rotation(*rng.uniform(0, np.pi, 3)))
    box = scene.near(shape)
    distance = scene.distance(shape, box) + 0.07 * radius * scene.texture(rng, max(radius, 18) / 1.5, box)
    distance = np.maximum.reduce([distance, scene.cavity[box] + 2, 3 - scene.spine[box]])
    # A renal mass stays inside the perirenal fat, which parts it from liver, spleen and bowel.
    fat = np.maximum.reduce([distance - rng.uniform(3, 12), scene.cavity[box], -scene.spine[box]])
    scene.paint(np.where(scene.labels[box] == KIDNEY, 20.0, fat), rng.normal(-100, 8), box)
    solid = cortex * rng.uniform(0.35, 0.70)
    scene.paint(distance, solid + rng.uniform(3, 12) * scene.texture(rng, 10.0, box), box, TUMOUR)
    if rng.random() < min(0.85, radius / 50):
        core = distance + radius * rng.uniform(0.35, 0.65) + 0.1 * radius * scene.texture(rng, 12.0, box)
        scene.paint(core, rng.uniform(12, 40), box)


def _place(rng: np.random.Generator, scene: Scene, kidney: Ellipsoid, side: int, radius: float) -> np.ndarray:
    """Of several centres near the kidney's surface the first that leaves room for most of the ball, or the roomiest."""
    roomiest, most = None, -np.inf
    for _ in range(20):
        surface, normal = kidney.point(rng.normal(0, (1, 1, 0.45)) + (side * 0.9, 0.5, 0))
        centre = surface + normal * radius * rng.uniform(-0.5, 0.3)
        voxel = tuple(int(np.abs(axis - c).argmin()) for axis, c in zip(scene.axes, centre[::-1], strict=True))
        room = min(-scene.cavity[voxel], scene.spine[voxel], *(np.abs(scene.axes[0][[0, -1]] - centre[2])))
        if room > most:
            roomiest, most = centre, room
        if room > 0.85 * radius:
            break
    return roomiest


def _scan(rng: np.random.Generator, hu: np.ndarray) -> np.ndarray:
    """Point spread, correlated noise of SD 6 to 14 HU, and a scanner's range of whole numbers."""
    noise = gaussian_filter(rng.standard_normal(hu.shape, dtype=np.float32), 0.6)
    scanned = gaussian_filter(hu, 0.45) + noise * (rng.uniform(6, 14) / noise.std())
    return np.clip(np.rint(scanned), -1024, 3071).astype(np.int16)


def write_dataset(folder: str | Path, count: int, seed: int, first: int = 0) -> list[Case]:
    """Write cases ``first`` to ``first + count - 1`` below ``folder`` and return them; existing ones are written anew.

    Equal arguments give equal bytes (with equal versions of the libraries). A file appears under its name only when it
    is complete. Raises ValueError for a negative count, seed or first.
    """
    if min(count, seed, first) < 0:
        raise ValueError(f"count {count}, seed {seed}, first {first}: give whole numbers of at least 0")
    cases = [Case(Path(folder) / f"case_{number:05d}") for number in range(first, first + count)]
    for case in cases:
        phantom = simulate_case(seed, case.number)
        write_nifti(case.imaging, phantom.imaging, phantom.affine)
        write_nifti(case.segmentation, phantom.segmentation, phantom.affine)
    return cases

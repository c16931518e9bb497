"""Simulated abdominal CT: procedural cases in KiTS19's folder format, the same for the same seed.

Kidneys and tumours are ellipsoids with a texture, in the body that hybrids have, too. At the end the volume is blurred
by a point spread, gets correlated noise and is stored in one of several orientations.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kitsnb.data.cases import Case, for_each_case
from kitsnb.data.nifti import write_nifti
from kitsnb.preprocessing import resampling
from kitsnb.simulation import belly, tissue, trunk
from kitsnb.simulation.organs import NUMBER
from kitsnb.simulation.scene import KIDNEY, TUMOUR, Ellipsoid, Scene, rotation, scan

#: KiTS19's orientation: slices run downwards, rows backwards, columns to the patient's left.
KITS19_ORIENTATION = "IPL"
#: About one case in six is stored as other converters do, with the slice axis last: along DICOM's own axes (LPS) or
#: along NIfTI's (RAS). KiTS19 itself is all IPL; these are here so that code which relies on an axis's position fails.
OTHER_ORIENTATIONS = ("LPS", "RAS")


@dataclass(frozen=True)
class Phantom:
    """One simulated case: HU (int16), labels and organs (uint8), all of one shape; their affine (voxel index to mm)."""

    imaging: np.ndarray
    segmentation: np.ndarray
    organs: np.ndarray
    affine: np.ndarray


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
    phase = tissue.draw_phase(rng, tissue.PHANTOM)
    trunk.paint_trunk(scene, phase.aorta)
    belly.paint_belly(scene, tissue.PHANTOM, phase)
    _paint_kidneys(scene, phase, tumours, size)
    imaging = scan(scene, [0.45] * 3, [0.6] * 3, noise=(6, 14))

    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = -spacing
    affine[:3, 3] = [axis[0] for axis in millimetres[::-1]] + rng.uniform(-250, 250, 3).round(1)
    affine[3, 3] = 1
    other = rng.random() < 1 / 6
    wanted = str(rng.choice(OTHER_ORIENTATIONS)) if other else KITS19_ORIENTATION
    return reorient(Phantom(imaging, scene.labels, scene.organs, affine), wanted)


def reorient(phantom: Phantom, wanted: str) -> Phantom:
    """The same case with its array axes along ``wanted``, for example ``LPS``; every voxel keeps its world position."""
    parts = (phantom.imaging, phantom.segmentation, phantom.organs)
    turned = [np.ascontiguousarray(resampling.reorient(part, phantom.affine, wanted)[0]) for part in parts]
    return Phantom(*turned, resampling.reorient(phantom.imaging, phantom.affine, wanted)[1])


def _paint_kidneys(scene: Scene, phase: tissue.Phase, tumours: int, size: float) -> None:
    """Both kidneys with perirenal fat, cysts and, in one of them, the tumours; writes the labels."""
    kidneys = {side: _kidney_shape(scene.rng, side) for side in (-1, 1)}
    for side, kidney in kidneys.items():
        _paint_kidney(scene, kidney, side, phase)
    for _ in range(tumours):
        side = int(scene.rng.choice((-1, 1)))
        _paint_tumour(scene, kidneys[side], side, phase, size)


def _kidney_shape(rng: np.random.Generator, side: int) -> Ellipsoid:
    """Upper poles lean towards the spine and backwards; the right kidney lies lower, below the liver."""
    centre = np.array([side * rng.normal(64, 4), rng.normal(-27, 4), rng.normal(-6 if side > 0 else 6, 6)])
    radii = rng.normal((27, 24, 54), (2, 2, 5)).clip((22, 19, 42), (33, 30, 66))
    return Ellipsoid(centre, radii, rotation(x=rng.normal(0.15, 0.06), y=side * rng.normal(0.2, 0.06)))


def _paint_kidney(scene: Scene, kidney: Ellipsoid, side: int, phase: tissue.Phase) -> None:
    rng, (box, outer) = scene.rng, scene.near(kidney, 35.0)
    tissue.paint_fat(scene, tissue.PHANTOM, box, outer)
    # The hilum opens towards the spine and a little to the front; its fat belongs to no label, as in KiTS19.
    hilum = Ellipsoid(kidney.centre + (-side * 17, 5, 0), kidney.radii * (0.62, 0.42, 0.42), kidney.axes)
    tissue.paint_kidney(scene, tissue.PHANTOM, box, outer, scene.distance(hilum, box), phase, KIDNEY)
    pelvis = Ellipsoid(hilum.centre, hilum.radii * 0.45, kidney.axes)
    scene.paint(scene.distance(pelvis, box), rng.choice([tissue.FLUID, 0.9 * phase.cortex]), box, organ=NUMBER["sinus"])
    for _ in range(rng.poisson(tissue.CYSTS)):
        surface, _ = kidney.point(rng.normal((0, 0, 0), 1) + (side * 0.8, 0, 0))
        box, cyst = scene.near(Ellipsoid(surface, np.full(3, rng.uniform(*tissue.CYST_MM))))
        scene.paint(np.maximum(cyst, scene.cavity[box] + 1), tissue.FLUID, box, KIDNEY, NUMBER["cyst"])


def _paint_tumour(scene: Scene, kidney: Ellipsoid, side: int, phase: tissue.Phase, size: float) -> None:
    """A lobed ball on the kidney's surface, away from the spine, between half sunk and mostly outside."""
    rng = scene.rng
    radius = float(np.clip(rng.lognormal(np.log(27), 0.38), 14, 48)) / size
    centre = _place(scene, kidney, side, radius)
    shape = Ellipsoid(centre, radius * rng.uniform(0.88, 1.12, 3), rotation(*rng.uniform(0, np.pi, 3)))
    box, distance = scene.near(shape)
    distance = scene.textured(distance, 0.07 * radius, max(radius, 18) / 1.5, box)
    distance = np.maximum.reduce([distance, scene.cavity[box] + 2, 3 - scene.spine[box]])
    # A renal mass stays inside the perirenal fat, which parts it from liver, spleen and bowel.
    fat = np.maximum.reduce([distance - rng.uniform(3, 12), scene.cavity[box], -scene.spine[box]])
    scene.paint(np.where(scene.labels[box] == KIDNEY, 20.0, fat), rng.normal(-100, 8), box)
    tissue.paint_tumour(scene, tissue.PHANTOM, box, distance, radius, radius, phase, TUMOUR)


def _place(scene: Scene, kidney: Ellipsoid, side: int, radius: float) -> np.ndarray:
    """Of several centres near the kidney's surface the first that leaves room for most of the ball, or the roomiest."""
    roomiest, most = None, -np.inf
    for _ in range(20):
        surface, normal = kidney.point(scene.rng.normal(0, (1, 1, 0.45)) + (side * 0.9, 0.5, 0))
        centre = surface + normal * radius * scene.rng.uniform(-0.5, 0.3)
        voxel = tuple(int(np.abs(axis - c).argmin()) for axis, c in zip(scene.axes, centre[::-1], strict=True))
        room = min(-scene.cavity[voxel], scene.spine[voxel], *(np.abs(scene.axes[0][[0, -1]] - centre[2])))
        if room > most:
            roomiest, most = centre, room
        if room > 0.85 * radius:
            break
    return roomiest


def write_dataset(folder: str | Path, count: int, seed: int, first: int = 0) -> list[Case]:
    """Write cases ``first`` to ``first + count - 1`` below ``folder`` and return them; existing ones are written anew.

    Equal arguments give equal bytes (with equal versions of the libraries). A file appears under its name only when it
    is complete. Raises ValueError for a negative count, seed or first.
    """
    if min(count, seed, first) < 0:
        raise ValueError(f"count {count}, seed {seed}, first {first}: give whole numbers of at least 0")

    def write(case: Case) -> None:
        phantom = simulate_case(seed, case.number)
        write_nifti(case.imaging, phantom.imaging, phantom.affine)
        write_nifti(case.segmentation, phantom.segmentation, phantom.affine)
        write_nifti(case.organs, phantom.organs, phantom.affine)

    cases = [Case(Path(folder) / f"case_{number:05d}") for number in range(first, first + count)]
    for_each_case(write, cases, what="simulating CT")
    return cases

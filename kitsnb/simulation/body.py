"""All that is not kidney: a trunk from the lungs' bases to the pelvis with bones, muscles, organs, gut and vessels."""

import numpy as np
from numpy import ndarray

from kitsnb.simulation import numbers
from kitsnb.simulation.scene import Box, Scene, ellipsoid, hypot

FAR = 1e4


def draw_tissue(rng: np.random.Generator) -> dict[str, float]:
    """Draw the HU of a case by tissue: before contrast, or between the arteries' phase and the latest."""
    phase = rng.random() ** 3  # most scans are early
    cortex = rng.triangular(*numbers.CORTEX_HU)
    if rng.random() < numbers.UNENHANCED:
        cortex = rng.uniform(26, 42)
    gain = max(0.0, cortex - 35)
    tissue = {name: rng.uniform(*hu) for name, hu in numbers.PLAIN.items()}
    for name, (before, early, late) in numbers.ENHANCED.items():
        tissue[name] = before + gain * (early + (late - early) * phase) * rng.uniform(0.85, 1.15)
    tissue["cortex"] = cortex
    tissue["medulla"] = cortex - gain * (1 - rng.uniform(*numbers.MEDULLA)) * (1 - phase)
    tissue["tumour"] = 36 + gain * rng.uniform(*numbers.TUMOUR_SHARE)
    tissue["calyx"] = cortex + rng.uniform(*numbers.CALYX_HU)
    return tissue


def trunk_radius(y: ndarray, x: ndarray) -> ndarray:
    """Return 1 on the surface of a trunk of half-axes 1: an ellipse, squared off a little."""
    return (np.abs(y) ** 2.5 + np.abs(x) ** 2.5) ** 0.4


def paint_wall(scene: Scene) -> None:
    """Paint the fat under the skin, muscles with ribs in them, and the fat of the abdominal cavity."""
    z, y, x = scene.at()
    depth = scene.rng.uniform(*numbers.HALF_DEPTH)
    width = scene.rng.uniform(*numbers.HALF_WIDTH)
    wall = scene.rng.uniform(*numbers.WALL)
    outside = depth * (trunk_radius((y - 8) / depth, x / width) - 1)
    fascia = outside + scene.rng.uniform(*numbers.FAT_UNDER_SKIN) + 3 * scene.noise(50)
    scene.cavity = fascia + wall * (1 + 0.3 * scene.noise(40))
    scene.paint(outside, "fat")
    scene.paint(fascia, "muscle")
    box = scene.box((-30, -FAR, -FAR), (FAR, FAR, FAR))
    z, y, x = scene.at(box)
    angle = np.arctan2(np.abs(x), -y)  # 0 at the back; ribs fall towards the front
    level = (z + 45 * angle) % 32 - 16
    scene.paint(hypot(scene.cavity[box] + wall / 2 - 1, level) - 5, "bone", box)
    scene.paint(scene.cavity, "fat")


def paint_spine(scene: Scene) -> None:
    """Paint muscles of the back, psoas, vertebrae, discs, the canal, aorta and cava."""
    box = scene.box((-FAR, -130, -90), (FAR, 10, 90))
    z, y, x = scene.at(box)
    aside = np.abs(x)
    septa = scene.rng.uniform(3, 14) * np.maximum(0, scene.noise(5, box) - 0.8)  # fat between the muscles' fibres
    back = np.maximum(ellipsoid(0, y + 74, aside - 38, (99, 23, 40)), scene.cavity[box] - 22)
    scene.paint(back + septa, "muscle", box)
    away = 33 + 0.14 * np.clip(-30 - z, 0, 140)  # the psoas leaves the spine downwards, and grows
    psoas = hypot(y + 40, 1.15 * (aside - away)) - 11 - 0.085 * np.clip(60 - z, 0, 190)
    scene.paint(psoas + 0.5 * septa, "muscle", box)
    height = scene.rng.uniform(*numbers.VERTEBRA)
    level = np.abs(z % height - height / 2)  # 0 half-way between two discs
    vertebra = ellipsoid(0, y + 44, aside, (99, 18, 24))
    scene.paint(vertebra, "bone", box)
    scene.paint(vertebra + 1.5, "marrow", box)
    scene.paint(np.maximum(vertebra, height / 2 - 4 - level), "muscle", box)
    arch = np.maximum(ellipsoid(0, y + 69, aside, (99, 14, 17)), level - 0.36 * height)
    spinous = np.maximum(hypot(aside, 0.35 * level) - 4, np.abs(y + 86) - 17)
    scene.paint(np.minimum(arch, spinous), "bone", box)
    scene.paint(ellipsoid(0, y + 69, aside, (99, 8, 9)), "fluid", box)  # the canal
    scene.cavity[box] = np.maximum(scene.cavity[box], -np.minimum(psoas, vertebra))  # they are outside of it
    scene.paint(ellipsoid(0, y + 15, x + 8, (99, 10, 10)), "artery", box)
    scene.paint(ellipsoid(0, y + 12, x - 17, (99, 9, 12)), "vein", box)


def paint_lungs(scene: Scene) -> None:
    """Paint the bases of the lungs above the diaphragm."""
    box = scene.box((40, -FAR, -FAR), (FAR, FAR, FAR))
    z, y, x = scene.at(box)
    dome = 42 * np.exp(-(((np.abs(x) - 70) / 62) ** 2)) + 35 * np.clip((y + 15) / 60, -1.3, 0)
    dome += scene.rng.uniform(*numbers.DIAPHRAGM)
    middle = 24 - hypot(x, (y + 25) / 1.8)  # between them
    scene.paint(np.maximum(np.maximum(scene.cavity[box] + 1, dome - z), middle), "gas", box)


def paint_organs(scene: Scene) -> None:
    """Paint liver with its veins, spleen, pancreas and stomach."""
    for name, place, radii in numbers.SOLID:
        size = scene.rng.uniform(*numbers.ORGAN_SIZE)
        box, organ = scene.ellipsoid(scene.rng.normal(place, 5), np.multiply(radii, size))
        organ = np.maximum(organ + 3 * scene.noise(16, box), scene.cavity[box] + 1.5)
        scene.paint(organ, name, box)
        if name == "liver":
            scene.paint(np.maximum(scene.strands(26, 3, box), organ + 5), "portal", box)
    paint_hollow(scene, *scene.ellipsoid(*numbers.STOMACH), 4.5)


def paint_gut(scene: Scene) -> None:
    """Paint winding bowel between the vessels of the mesentery; at the sides it reaches back as the colon does."""
    box = scene.box((-FAR, -40, -FAR), (60, 90, FAR))
    z, y, x = scene.at(box)
    behind = np.maximum(4 - y - np.clip(np.abs(x) - 75, 0, 45), z - 40)
    vessels = np.maximum(scene.strands(14, 1.5, box), scene.cavity[box] + 3)
    scene.paint(np.maximum(vessels, behind), "portal", box)
    loops = scene.strands(17, scene.rng.uniform(*numbers.BOWEL_MM), box)
    paint_hollow(scene, box, np.maximum(loops, behind), 2.6)


def paint_hollow(scene: Scene, box: Box, distance: ndarray, wall: float) -> None:
    """Paint a gut's wall of ``wall`` mm, and what it holds: food or stool, here and there contrast or gas."""
    distance = np.maximum(distance, scene.cavity[box] + 2)
    scene.paint(distance, "bowel", box)
    scene.paint(distance + wall, scene.rng.uniform(0, 50) + scene.rng.uniform(8, 50) * scene.fine[box], box)
    kind = 45 * scene.noise(45, box)
    scene.paint(np.maximum(distance + wall, kind + 45), "bone", box)  # contrast
    scene.paint(np.maximum(distance + wall, 50 - kind), "gas", box)

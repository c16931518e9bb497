"""All that is not kidney: a trunk from the lungs' bases to the pelvis with bones, muscles, organs, gut and vessels."""

import numpy as np
from numpy import ndarray

from kitsnb.simulation import numbers
from kitsnb.simulation.scene import Scene, both, either, ellipsoid, hypot

FAR = 1e4


def draw_tissue(rng: np.random.Generator) -> dict[str, float]:
    """Draw the HU of a case by tissue: before contrast, or between the arteries' phase and the latest."""
    phase = rng.random() ** 3  # most scans are early
    cortex = rng.triangular(*numbers.CORTEX_HU)
    if rng.random() < numbers.UNENHANCED:
        cortex = rng.uniform(26, 42)
    gain = max(0.0, cortex - 35)
    tissue = {}
    for name, hu in numbers.PLAIN.items():
        tissue[name] = rng.uniform(*hu)
    for name, (before, early, late) in numbers.ENHANCED.items():
        enhancement = gain * (early + (late - early) * phase)
        tissue[name] = before + enhancement * rng.uniform(0.85, 1.15)
    lacking = gain * (1 - rng.uniform(*numbers.MEDULLA))
    tissue["cortex"] = cortex
    tissue["medulla"] = cortex - lacking * (1 - phase)
    tissue["tumour"] = 36 + gain * rng.uniform(*numbers.TUMOUR_SHARE)
    tissue["calyx"] = cortex + rng.uniform(*numbers.CALYX_HU)
    return tissue


def trunk_radius(y: ndarray, x: ndarray) -> ndarray:
    """Return 1 on the surface of a trunk of half-axes 1: an ellipse, squared off a little."""
    return (np.abs(y) ** 2.5 + np.abs(x) ** 2.5) ** 0.4


def paint_wall(scene: Scene) -> None:
    """Paint the fat under the skin, muscles with ribs in them, and the fat of the abdominal cavity."""
    z, y, x = scene.places
    depth = scene.draw(numbers.HALF_DEPTH)
    width = scene.draw(numbers.HALF_WIDTH)
    wall = scene.draw(numbers.WALL)
    outside = depth * (trunk_radius((y - 8) / depth, x / width) - 1)
    fat = scene.draw(numbers.FAT_UNDER_SKIN)
    fascia = outside + fat + 3 * scene.noise(50)
    thickness = wall * (1 + 0.3 * scene.noise(40))
    scene.cavity = fascia + thickness
    scene.paint(outside, "fat")
    scene.paint(fascia, "muscle")
    paint_ribs(scene.between((-30, -FAR, -FAR), (FAR, FAR, FAR)), wall)
    scene.paint(scene.cavity, "fat")


def paint_ribs(part: Scene, wall: float) -> None:
    """Paint ribs in the middle of a ``wall`` of so many mm."""
    z, y, x = part.places
    angle = np.arctan2(np.abs(x), -y)  # 0 at the back; ribs fall towards the front
    level = (z + 45 * angle) % 32 - 16
    inwards = part.cavity + wall / 2 - 1
    part.paint(hypot(inwards, level) - 5, "bone")


def paint_spine(scene: Scene) -> None:
    """Paint muscles of the back, psoas, vertebrae, discs, the canal, aorta and cava."""
    part = scene.between((-FAR, -130, -90), (FAR, 10, 90))
    z, y, x = part.places
    aside = np.abs(x)
    fattening = part.rng.uniform(3, 14)
    septa = fattening * np.maximum(0, part.noise(5) - 0.8)  # fat between the muscles' fibres
    back = ellipsoid(0, y + 74, aside - 38, (99, 23, 40))
    back = both(back, part.cavity - 22)
    part.paint(back + septa, "muscle")
    away = 33 + 0.14 * np.clip(-30 - z, 0, 140)  # the psoas leaves the spine downwards, and grows
    thickness = 0.085 * np.clip(60 - z, 0, 190)
    centre = hypot(y + 40, 1.15 * (aside - away))
    psoas = centre - 11 - thickness
    part.paint(psoas + 0.5 * septa, "muscle")
    vertebra = ellipsoid(0, y + 44, aside, (99, 18, 24))
    paint_vertebrae(part, vertebra)
    part.cavity[:] = both(part.cavity, -either(psoas, vertebra))  # they are outside of it
    part.paint(ellipsoid(0, y + 15, x + 8, (99, 10, 10)), "artery")
    part.paint(ellipsoid(0, y + 12, x - 17, (99, 9, 12)), "vein")


def paint_vertebrae(scene: Scene, vertebra: ndarray) -> None:
    """Paint bodies, discs, arches and canal around the distance to the column's surface, ``vertebra``."""
    z, y, x = scene.places
    aside = np.abs(x)
    height = scene.draw(numbers.VERTEBRA)
    level = np.abs(z % height - height / 2)  # 0 half-way between two discs
    disc = height / 2 - 4 - level
    scene.paint(vertebra, "bone")
    scene.paint(vertebra + 1.5, "marrow")
    scene.paint(both(vertebra, disc), "muscle")
    arch = ellipsoid(0, y + 69, aside, (99, 14, 17))
    arch = both(arch, level - 0.36 * height)
    spinous = hypot(aside, 0.35 * level) - 4
    spinous = both(spinous, np.abs(y + 86) - 17)
    scene.paint(either(arch, spinous), "bone")
    scene.paint(ellipsoid(0, y + 69, aside, (99, 8, 9)), "fluid")  # the canal


def paint_lungs(scene: Scene) -> None:
    """Paint the bases of the lungs above the diaphragm."""
    part = scene.between((40, -FAR, -FAR), (FAR, FAR, FAR))
    z, y, x = part.places
    aside = (np.abs(x) - 70) / 62
    forward = np.clip((y + 15) / 60, -1.3, 0)
    dome = 42 * np.exp(-(aside**2)) + 35 * forward
    dome += part.draw(numbers.DIAPHRAGM)
    middle = 24 - hypot(x, (y + 25) / 1.8)  # between them
    lungs = both(part.cavity + 1, dome - z)
    part.paint(both(lungs, middle), "gas")


def paint_organs(scene: Scene) -> None:
    """Paint liver with its veins, spleen, pancreas and stomach."""
    for name, place, radii in numbers.SOLID:
        size = scene.draw(numbers.ORGAN_SIZE)
        centre = scene.rng.normal(place, 5)
        part, organ = scene.around(centre, np.multiply(radii, size))
        organ = organ + 3 * part.noise(16)
        organ = both(organ, part.cavity + 1.5)
        part.paint(organ, name)
        if name == "liver":
            veins = part.strands(26, 3)
            part.paint(both(veins, organ + 5), "portal")
    part, stomach = scene.around(*numbers.STOMACH)
    paint_hollow(part, stomach, 4.5)


def paint_gut(scene: Scene) -> None:
    """Paint winding bowel between the vessels of the mesentery; at the sides it reaches back as the colon does."""
    part = scene.between((-FAR, -40, -FAR), (60, 90, FAR))
    z, y, x = part.places
    back = np.clip(np.abs(x) - 75, 0, 45)
    behind = both(4 - y - back, z - 40)
    vessels = part.strands(14, 1.5)
    vessels = both(vessels, part.cavity + 3)
    part.paint(both(vessels, behind), "portal")
    loops = part.strands(17, part.draw(numbers.BOWEL_MM))
    paint_hollow(part, both(loops, behind), 2.6)


def paint_hollow(scene: Scene, distance: ndarray, wall: float) -> None:
    """Paint a gut's wall of ``wall`` mm, and what it holds: food or stool, here and there contrast or gas."""
    distance = both(distance, scene.cavity + 2)
    scene.paint(distance, "bowel")
    inside = distance + wall
    hu = scene.rng.uniform(0, 50)
    texture = scene.rng.uniform(8, 50)
    scene.paint(inside, hu + texture * scene.fine)
    kind = 45 * scene.noise(45)
    scene.paint(both(inside, kind + 45), "bone")  # contrast
    scene.paint(both(inside, 50 - kind), "gas")

"""All that is not kidney: a trunk from the lungs' bases to the pelvis with bones, muscles, organs, bowel and vessels."""

from itertools import pairwise

import numpy as np

from kitsnb.simulation import numbers
from kitsnb.simulation.scene import Scene, column, hypot

#: HU by the name of a tissue, those of one case.
Tissue = dict[str, float]
FAR = 1e4


def draw_tissue(rng: np.random.Generator) -> Tissue:
    """Draw the HU of a case: before contrast, or at a time between the arteries' phase and the late ones."""
    late = rng.random()
    cortex = rng.triangular(numbers.CORTEX_HU.low, numbers.CORTEX_TYPICAL, numbers.CORTEX_HU.high)
    medulla = numbers.MEDULLA.draw(rng)
    if rng.random() < numbers.UNENHANCED:
        cortex = rng.uniform(26, 42)
    gain = max(0.0, cortex - 35)
    spread = rng.uniform(0.85, 1.15, 7)
    return {
        "cortex": cortex,
        "medulla": 30 + (cortex - 30) * (medulla + (1 - medulla) * late),
        "tumour": max(20.0, 32 + gain * numbers.TUMOUR_SHARE.draw(rng)),
        "artery": 40 + gain * (1.5 - 0.75 * late) * spread[0],
        "vein": 40 + gain * (0.45 + 0.3 * late) * spread[1],
        "portal": 40 + gain * (0.5 + 0.25 * late) * spread[2],
        "liver": rng.uniform(35, 62) + gain * (0.15 + 0.3 * late) * spread[3],
        "spleen": 48 + gain * 0.5 * spread[4],
        "pancreas": 40 + gain * 0.42 * spread[5],
        "bowel": 40 + gain * 0.35 * spread[6],
        "urine": rng.uniform(150, 500) if late > 0.85 else 10.0,
        "fat": numbers.FAT_HU.draw(rng),
        "muscle": numbers.MUSCLE_HU.draw(rng),
        "bone": numbers.BONE_HU.draw(rng),
        "marrow": numbers.MARROW_HU.draw(rng),
    }


def paint_body(scene: Scene, tissue: Tissue) -> None:
    """Paint all that is not kidney nor the fat around it."""
    paint_wall(scene, tissue)
    paint_spine(scene, tissue)
    paint_pelvis(scene, tissue)
    paint_chest(scene, tissue)
    paint_organs(scene, tissue)
    paint_gut(scene, tissue)
    paint_vessels(scene, tissue)


def trunk_radius(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return 1 on the surface of a trunk of half-axes 1: an ellipse, squared off a little."""
    return (np.abs(y) ** 2.5 + np.abs(x) ** 2.5) ** 0.4


def paint_wall(scene: Scene, tissue: Tissue) -> None:
    """Paint the fat under the skin, muscles with ribs in them, and the fat of the abdominal cavity."""
    rng = scene.rng
    depth = numbers.HALF_DEPTH.draw(rng)
    width = numbers.HALF_WIDTH.draw(rng)
    wall = numbers.WALL.draw(rng)
    outside = depth * (trunk_radius((scene.y - 8) / depth, scene.x / width) - 1)
    fascia = outside + numbers.FAT_UNDER_SKIN.draw(rng) + 3 * scene.noise(50)
    scene.cavity = fascia + wall * (1 + 0.3 * scene.noise(40))
    scene.paint(outside, 20)  # skin
    scene.paint(outside + 2, tissue["fat"] + 8 * scene.fine)
    scene.paint(fascia, tissue["muscle"] + 8 * scene.fine)
    box = scene.box((-30, -FAR, -FAR), (FAR, FAR, FAR))
    z, y, x = scene.z[box], scene.y[box], scene.x[box]
    angle = np.arctan2(np.abs(x), -y)  # 0 at the back; ribs fall towards the front
    level = modulo(z + 45 * angle - rng.uniform(0, 30), 32) - 16
    rib = hypot(scene.cavity[box] + wall / 2 - 1, level) - 5
    rib = np.maximum(rib, 110 * np.clip((angle - 1.6) / 1.2, 0, 1) - 17 - z)  # the costal margin
    scene.paint(rib, tissue["bone"], box)
    scene.paint(rib + 2.5, tissue["marrow"], box)
    scene.paint(scene.cavity, tissue["fat"] + 9 * scene.fine)


def paint_spine(scene: Scene, tissue: Tissue) -> None:
    """Paint muscles of the back, psoas, vertebrae, discs and the canal."""
    rng = scene.rng
    box = scene.box((-FAR, -130, -90), (FAR, 10, 90))
    z, y, x = scene.z[box], scene.y[box], np.abs(scene.x[box])
    muscle = tissue["muscle"] + 8 * scene.fine[box]
    septa = rng.uniform(3, 14) * np.maximum(0, scene.noise(5, box) - 0.8)  # fat between their fibres
    for forward, right, radii in ((-82, 22, (19, 20)), (-74, 50, (22, 27)), (-55, 64, (12, 21))):
        back = column(y - forward, x - right, radii)
        scene.paint(np.maximum(back, scene.cavity[box] - 22) + septa, muscle, box)
    psoas = hypot(y + 40, 1.15 * (x - 33 - 0.14 * np.clip(-30 - z, 0, 140)))  # leaves the spine downwards
    scene.paint(psoas - 11 - 0.085 * np.clip(60 - z, 0, 190) + 0.5 * septa, muscle, box)
    height = numbers.VERTEBRA.draw(rng)
    level = np.abs(modulo(z + rng.uniform(0, height), height) - height / 2)  # 0 half-way between two discs
    vertebra = column(y + 44, x, (18, 24))
    scene.paint(vertebra, tissue["bone"], box)
    marrow = tissue["marrow"] + 40 * scene.fine[box]
    scene.paint(vertebra + 2.5, np.where(level > height / 2 - 4, np.float32(85), marrow), box)
    arch = np.maximum(column(y + 69, x, (14, 17)), level - 0.36 * height)
    transverse = np.maximum(hypot(0.8 * level, y + 62) - 4, x - 40)
    spinous = np.maximum(hypot(x, 0.35 * level) - 4, np.abs(y + 86) - 17)
    scene.paint(np.minimum.reduce([arch, transverse, spinous]), tissue["bone"], box)
    scene.paint(column(y + 69, x, (8, 9.5)), 28, box)


def paint_pelvis(scene: Scene, tissue: Tissue) -> None:
    """Paint iliac wings, sacrum, the muscles on both sides of the wings, and the bladder."""
    rng = scene.rng
    brim = numbers.PELVIS.draw(rng)
    box = scene.box((-FAR, -FAR, -FAR), (brim + 45, FAR, FAR))
    z, y, x = scene.z[box], scene.y[box], scene.x[box]
    ring = hypot(y + 20, x / 1.15) - 98 + 0.25 * np.clip(brim - z, 0, 130)
    top = z - brim - 25 + 0.004 * (y - 20) ** 2
    muscle = np.maximum.reduce([scene.cavity[box] - 6, top + 12, -ring - 16])
    scene.paint(muscle, tissue["muscle"] + 8 * scene.fine[box], box)
    wing = np.maximum.reduce([np.abs(ring) - rng.uniform(4, 7), top, 24 - np.abs(x), y - 55])
    sacrum = np.maximum(column(y + 58, x, (18, 44)), z - brim + 5)
    for bone in (wing, sacrum):
        scene.paint(bone, tissue["bone"], box)
        scene.paint(bone + 2.5, tissue["marrow"] - 60 + 40 * scene.fine[box], box)
    box, bladder = scene.ellipsoid((brim - rng.uniform(45, 75), 15, 0), rng.uniform((20, 22, 25), (38, 40, 48)))
    scene.paint(bladder, 40, box)
    scene.paint(bladder + 3, tissue["urine"], box)


def paint_chest(scene: Scene, tissue: Tissue) -> None:
    """Paint the diaphragm, the bases of the lungs above it with their vessels, and the heart between them."""
    top = numbers.DIAPHRAGM.draw(scene.rng)
    box = scene.box((40, -FAR, -FAR), (FAR, FAR, FAR))
    z, y, x = scene.z[box], scene.y[box], scene.x[box]
    dome = top + 42 * np.exp(-(((np.abs(x) - 70) / 62) ** 2) - ((y - 12) / 75) ** 2)
    dome += 35 * np.clip((y + 15) / 60, -1.3, 0)
    lungs = np.maximum.reduce([scene.cavity[box] + 1, dome - z, 24 - hypot(x, (y + 25) / 1.8)])
    scene.paint(np.maximum(lungs - 4, scene.cavity[box]), tissue["muscle"], box)
    scene.paint(lungs, numbers.GAS_HU + 700 * np.clip(scene.fine[box] - 1.6, 0, 1), box)
    box, heart = scene.ellipsoid((top + 48, 30, -18), (46, 48, 58))
    scene.paint(heart, tissue["muscle"], box)
    scene.paint(heart + 10, tissue["artery"], box)


def paint_organs(scene: Scene, tissue: Tissue) -> None:
    """Paint liver with its veins, spleen, pancreas, gall bladder and stomach."""
    rng = scene.rng
    for name, place, radii in numbers.SOLID:
        size = numbers.ORGAN_SIZE.draw(rng)
        box, distance = scene.ellipsoid(rng.normal(place, 5), np.multiply(radii, size))
        distance = np.maximum(distance + 3 * scene.noise(16, box), scene.cavity[box] + 1.5)
        scene.paint(distance, tissue[name] + 6 * scene.fine[box], box)
        if name == "liver":
            veins = scene.strands(26, 3, box)
            scene.paint(np.maximum(veins, distance + 5), tissue["portal"], box)
    box, gall = scene.ellipsoid(rng.normal((14, 46, 50), 5), (24, 20, 14))
    scene.paint(gall, rng.uniform(0, 25), box)
    box, stomach = scene.ellipsoid(rng.normal((62, 34, -42), 5), rng.uniform((34, 30, 34), (48, 40, 46)))
    paint_hollow(scene, box, stomach, 4.5, tissue)


def paint_hollow(scene: Scene, box: tuple, distance: np.ndarray, wall: float, tissue: Tissue) -> None:
    """Paint a gut's wall of ``wall`` mm, and what it holds: food or fluid, here and there contrast or gas."""
    distance = np.maximum(distance, scene.cavity[box] + 2)
    scene.paint(distance, tissue["bowel"], box)
    kind = scene.noise(45, box)
    content = scene.rng.uniform(5, 50) + 15 * scene.fine[box]
    content = np.where(kind < -1, np.float32(220), content)
    content = np.where(kind > 1.1, np.float32(numbers.GAS_HU), content)
    scene.paint(distance + wall, content, box)


def paint_gut(scene: Scene, tissue: Tissue) -> None:
    """Paint winding small bowel in front, and the colon around it."""
    rng = scene.rng
    box = scene.box((-210, -10, -100), (60, 90, 100))
    loops = scene.strands(17, numbers.BOWEL_RADIUS.draw(rng), box)
    front = np.maximum(4 - scene.y[box], scene.z[box] - 40)
    paint_hollow(scene, box, np.maximum(loops, front), 2.6, tissue)
    places = rng.normal(numbers.COLON, 5)
    for start, end in pairwise(places):
        box, colon = scene.tube(start, end, numbers.COLON_RADIUS.draw(rng))
        paint_hollow(scene, box, colon + 3 * scene.noise(12, box), 2.4, tissue)


def paint_vessels(scene: Scene, tissue: Tissue) -> None:
    """Paint aorta, cava, renal, iliac and portal vessels, and those of the mesentery."""
    vessels = [
        ("artery", (500, -16, -8), (-92, -14, -7), 10),
        ("vein", (120, 4, 20), (-95, -13, 16), 11),
        ("portal", (-55, 2, 8), (10, 6, 10), 6),
        ("portal", (10, 6, 10), (52, 12, 24), 6.5),
        ("portal", (30, 8, 8), (58, -12, -75), 4.5),
    ]
    for side in (-1, 1):
        vessels += [
            ("artery", (-90, -14, 0), (-190, 12, side * 62), 5.5),
            ("vein", (-95, -16, 0), (-195, 6, side * 58), 6.5),
            ("artery", (8, -16, 0), (0, -26, side * 50), 2.8),
            ("vein", (2, -14, 0), (0, -24, side * 50), 4.5),
            ("urine", (-10, -26, side * 48), (-110, -34, side * 34), 2.2),
        ]
    for name, start, end, radius in vessels:
        box, distance = scene.tube(start, end, radius)
        scene.paint(distance, tissue[name], box)
    box = scene.box((-170, 0, -90), (40, 80, 90))
    mesentery = np.maximum(scene.strands(24, 1.8, box), scene.cavity[box] + 3)
    scene.paint(mesentery, tissue["portal"], box)


def modulo(values: np.ndarray, period: float) -> np.ndarray:
    """Return ``values`` modulo ``period``; numpy's ``%`` takes ten times as long."""
    return values - period * np.floor(values / period)

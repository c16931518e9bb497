"""A trunk from the lungs' bases to the pelvis: wall, spine, pelvis and chest; ``kitsnb.simulation.belly`` fills it.

Lengths in mm are those of an adult of ordinary size, in the patient's frame, and vary from case to case. Sources: a
lumbar vertebra with its disc 30-38, 48 across (Gilad and Nissan 1986); HU of bone, muscle and fat by textbooks of CT.
"""

import numpy as np

from kitsnb.simulation.organs import NUMBER
from kitsnb.simulation.scene import Ellipsoid, Scene, column, hypot, modulo, paint_tube

#: HU (mean, SD from case to case) of fat, muscle, cortical bone and marrow.
FAT, MUSCLE, BONE, MARROW = (-104, 6), (56, 6), (330, 60), (190, 45)
#: Half-axes of the trunk across and from front to back, subcutaneous fat and muscles of the wall, all in mm.
ACROSS, DEEP, SUBCUTANEOUS, WALL = (144, 170), (100, 122), (4, 22), (8, 16)
#: How often there is a table, and arms beside the trunk.
TABLE, ARMS = 0.8, 0.2


def paint_trunk(scene: Scene, blood: float) -> None:
    """All around the abdominal cavity; ``blood``: HU of the heart's."""
    scene.fine, scene.fat, scene.muscle = scene.texture(4.5), scene.rng.normal(*FAT), scene.rng.normal(*MUSCLE)
    paint_wall(scene)
    paint_spine(scene)
    paint_pelvis(scene)
    paint_chest(scene, blood)


def shuffled(scene: Scene, box: tuple = ()) -> np.ndarray:
    """The fine texture (SD 1 over 4.5 mm), shifted, so that one organ's is not another's."""
    return np.roll(scene.fine, scene.rng.integers(5, 40, 3), (0, 1, 2))[box]


def paint_wall(scene: Scene) -> None:
    """Table, arms, skin, subcutaneous fat, muscles of the wall in layers with ribs, and the fat of the cavity."""
    rng, (x, y, z) = scene.rng, (scene.x, scene.y, scene.z)
    width, depth, hips = rng.uniform(*ACROSS), rng.uniform(*DEEP), np.clip((-z - 90) / 80, 0, 1)
    # A power above two squares the ellipse off a little, as a trunk is; the distance is that along the radius.
    across, deep = np.abs(x / (width * (1 + 0.1 * hips))), np.abs((y - 8) / (depth * (1 + 0.05 * hips)))
    radius = (across * across * np.sqrt(across) + deep * deep * np.sqrt(deep)) ** 0.4
    outside = (radius - 1) * np.sqrt(x * x + (y - 8) * (y - 8)) / np.maximum(radius, 1e-3)
    back = scene.between((-50, -1e4, -1e4), (50, -60, 1e4))
    outside[back] += 12 * np.exp(-((x[back] / 18) ** 2))  # the furrow over the spine
    if rng.random() < TABLE:
        low = scene.between((-1e4, -1e4, -1e4), (1e4, 20, 1e4))
        table = np.abs(hypot(x[low] / 1.6, y[low] - 300 + depth + rng.uniform(0, 14)) - 300) - 2.5
        scene.paint(table, rng.uniform(-500, 0), low, organ=NUMBER["table"])
    if rng.random() < ARMS:
        for side in (-1, 1):
            ends = [(side * (width + rng.uniform(36, 48)), rng.uniform(-40, 20), end) for end in (-400, 400)]
            for thick, hu, organ in ((34, scene.fat, "fat"), (27, scene.muscle, "muscle"), (9, BONE[0], "bone")):
                paint_tube(scene, ends, thick, hu, organ, inside=False)
    scene.paint(outside, 20.0, organ=NUMBER["fat"])
    scene.paint(outside + 2, scene.fat + 8 * scene.fine)
    wall = rng.uniform(*WALL)
    fascia = outside + rng.uniform(*SUBCUTANEOUS) + 3 * scene.texture(50.0)
    scene.cavity = fascia + wall * (1 + 0.3 * scene.texture(40.0))
    ring = (fascia < 1) & (scene.cavity > -3)
    muscle = scene.muscle + 8 * scene.fine
    layers = np.cos(6 * np.pi * fascia[ring] / wall + 1.5 * scene.fine[ring])  # fat between three muscles
    muscle[ring] -= 28 * np.maximum(layers, 0)
    scene.paint(fascia, muscle, organ=NUMBER["muscle"])
    paint_ribs(scene, ring, wall)
    scene.paint(scene.cavity, scene.fat + 9 * shuffled(scene), organ=NUMBER["fat"])


def paint_ribs(scene: Scene, ring: np.ndarray, wall: float) -> None:
    """Ribs in the wall, the voxels of ``ring``; ``wall``: its thickness in mm."""
    rng, (x, y, z) = scene.rng, (axis[ring] for axis in (scene.x, scene.y, scene.z))
    angle = np.arctan2(np.abs(x), -y)  # 0 at the back; ribs fall towards the front, and end at the costal margin
    rise = z + 45 * angle - rng.uniform(0, 30)
    low = 8 - 25 * np.sin(angle) + 110 * np.clip((angle - 1.6) / 1.2, 0, 1) - z
    rib = np.full(scene.shape, 10, np.float32)
    rib[ring] = np.maximum(hypot(scene.cavity[ring] + wall / 2 - 1, modulo(rise, 32) - 16) - 5, low)
    scene.paint(rib, rng.normal(*BONE), organ=NUMBER["bone"])
    scene.paint(rib + 2.5, rng.normal(*MARROW), organ=NUMBER["marrow"])


def paint_spine(scene: Scene) -> None:
    """Muscles of the back, loins and psoas with fat between their fibres; vertebrae, discs, canal and processes."""
    rng = scene.rng
    box = scene.between((-90, -130, -1e4), (90, 10, 1e4))
    x, y, z = scene.x[box], scene.y[box], scene.z[box]
    septa = rng.uniform(3, 14) * np.maximum(0, shuffled(scene, box) - 0.8)
    grain = scene.muscle + 8 * scene.fine[box]
    for side in (-1, 1):
        for cx, cy, rx, ry in ((22, -82, 20, 19), (50, -74, 27, 22), (64, -55, 21, 12)):
            belly = np.maximum(column(x, y, side * cx, cy, rx, ry), scene.cavity[box] - 22)
            scene.paint(belly + septa, grain, box, organ=NUMBER["muscle"])
        thick, away = 11 + 0.085 * np.clip(60 - z, 0, 190), 33 + 0.14 * np.clip(-30 - z, 0, 140)  # grows downwards, and
        psoas = hypot((x - side * away) * 1.15, y + 40 - 0.1 * np.clip(-60 - z, 0, 200)) - thick  # leaves the spine
        scene.paint(psoas + 0.5 * septa, grain, box, organ=NUMBER["muscle"])
    scene.spine = np.full(scene.shape, 400.0, np.float32)
    period = rng.uniform(30, 38)
    level = modulo(z + rng.uniform(0, period), period) - period / 2
    waist = 2.5 * np.cos(2 * np.pi * level / period)  # a vertebra is narrow at half its height
    scene.spine[box] = spine = np.maximum(column(x, y, 0, -44, 24, 18) + 2 + waist, -58 - y)
    scene.paint(spine, rng.normal(*BONE), box, organ=NUMBER["bone"])
    disc = np.abs(np.abs(level) - period / 2) < rng.uniform(3.5, 5)
    marrow = rng.normal(*MARROW) + 40 * shuffled(scene, box)
    scene.paint(spine + 2.5, np.where(disc, 85.0, marrow), box, organ=NUMBER["marrow"])
    bone = rng.normal(*BONE)
    arch = np.maximum(column(x, y, 0, -69, 17, 14), np.abs(level) - period * 0.36)
    transverse = np.maximum(hypot(level * 0.8, y + 62 + 0.08 * np.abs(x)) - 4, np.abs(x) - rng.uniform(36, 46))
    facet = hypot(hypot(np.abs(x) - 17, y + 74), 0.5 * (np.abs(level) - period / 2)) - 7
    spinous = np.maximum(hypot(x, level * 0.35) - 4, np.abs(y + 86) - 17)
    scene.paint(np.minimum.reduce([arch, transverse, spinous, facet]), bone, box, organ=NUMBER["bone"])
    scene.paint(column(x, y, 0, -69, 9.5, 8), 28.0, box, organ=NUMBER["muscle"])


def paint_pelvis(scene: Scene) -> None:
    """Iliac wings with marrow, sacrum, muscles inside and outside of them, and the bladder."""
    rng, brim = scene.rng, scene.rng.uniform(-150, -115)
    box = scene.between((-1e4, -1e4, -1e4), (1e4, 1e4, brim + 45))
    if any(part.start >= part.stop for part in box):
        return
    x, y, z = scene.x[box], scene.y[box], scene.z[box]
    ring = hypot(x / 1.15, y + 20) - (98 - 0.25 * np.clip(brim - z, 0, 130))
    low = z - brim - 25 + 0.004 * (y - 20) ** 2
    grain = scene.muscle + 8 * scene.fine[box] - 40 * np.maximum(0, shuffled(scene, box) - 1)
    scene.paint(np.maximum.reduce([scene.cavity[box] - 6, low + 12, -ring - 16]), grain, box, organ=NUMBER["muscle"])
    wing = np.maximum.reduce([np.abs(ring) - rng.uniform(4, 7), low, 24 - np.abs(x), y - 55])
    sacrum = np.maximum(column(x, y, 0, -58, 44, 18), z - brim + 5)
    for bone in (wing, sacrum):
        scene.paint(bone, rng.normal(*BONE), box, organ=NUMBER["bone"])
        scene.paint(bone + 2.5, rng.normal(*MARROW) - 60 + 40 * shuffled(scene, box), box, organ=NUMBER["marrow"])
    place, radii = np.array([0, 15, brim - rng.uniform(45, 75)]), rng.uniform((25, 22, 20), (48, 40, 38))
    box, bladder = scene.near(Ellipsoid(place, radii))
    scene.paint(bladder, 40.0, box, organ=NUMBER["bladder"])
    scene.paint(bladder + 3, rng.choice((5.0, 15.0, 150.0), p=(0.5, 0.3, 0.2)), box)


def paint_chest(scene: Scene, blood: float) -> None:
    """Diaphragm, the bases of the lungs above it with their vessels, and the heart between them."""
    rng = scene.rng
    box = scene.between((-1e4, -1e4, 40), (1e4, 1e4, 1e4))
    if any(part.start >= part.stop for part in box):
        return
    x, y, z = scene.x[box], scene.y[box], scene.z[box]
    top = rng.uniform(85, 120)
    dome = top + 42 * np.exp(-(((np.abs(x) - 70) / 62) ** 2) - ((y - 12) / 75) ** 2)
    dome += 35 * np.clip((y + 15) / 60, -1.3, 0)
    lungs = np.maximum.reduce([scene.cavity[box] + 1, dome - z, 24 - hypot(x, (y + 25) / 1.8)])
    scene.paint(np.maximum(lungs - 4, scene.cavity[box]), scene.muscle, box, organ=NUMBER["muscle"])
    vessels = 700 * np.clip(shuffled(scene, box) - 1.6, 0, 1)
    scene.paint(lungs, rng.uniform(-880, -780) + vessels, box, organ=NUMBER["lung"])
    place, radii = np.array([-18, 30, top + rng.uniform(35, 60)]), rng.uniform((50, 42, 38), (66, 54, 55))
    box, heart = scene.near(Ellipsoid(place, radii))
    scene.paint(heart, scene.muscle + 0.4 * max(0.0, blood - 50), box, organ=NUMBER["heart"])
    scene.paint(heart + 10, scene.textured(blood, 8, 9.0, box), box)

"""A trunk from the lungs' bases to the pelvis, painted around the kidneys in the patient's frame; HU follow the phase.

Lengths in mm. They are those of an adult of ordinary size (a vertebra with its disc 30-38, Gilad and Nissan 1986; an aorta
of 16-24 across), varied from case to case; textures and HU were set beside real CT until contact of organs, share of fat and
local SD came to lie in its range.
"""

from collections.abc import Sequence

import numpy as np

from kitsnb.simulation.organs import NUMBER
from kitsnb.simulation.scene import Box, Ellipsoid, Scene, column, rotation
from kitsnb.simulation.tissue import Tissue

#: HU of what the colon holds, SD of their texture, and how often: gas, loose and dense stool, fluid, contrast.
STOOL = ((-850, 40, 0.3), (-60, 60, 0.2), (20, 35, 0.3), (60, 50, 0.14), (250, 80, 0.06))
#: The colon from the caecum to the rectum, (x, y, z).
COLON = ((0.95, 12, -120), (0.98, 8, -40), (0.9, 15, 28), (0.55, 60, 15), (0, 76, -10), (-0.55, 62, 30), (-0.95, 5, 58), (-1, 0, -30),
         (-0.9, 8, -115), (-0.5, 10, -160), (-0.1, -15, -175), (0, -42, -215), (0, -48, -290))


def paint_trunk(scene: Scene, tissue: Tissue, cortex: float) -> None:
    """All but the kidneys and the fat around them; ``cortex``: HU of the kidneys' cortex, which tells the phase."""
    rng = scene.rng
    paint_wall(scene)
    paint_pelvis(scene)
    paint_spine(scene)
    paint_chest(scene, max(40.0, cortex * rng.uniform(0.6, 1.1)))
    paint_gut(scene, tissue)
    paint_organs(scene, tissue)
    paint_vessels(scene, max(38.0, cortex * rng.uniform(0.8, 1.7)), max(38.0, cortex * rng.uniform(0.6, 1.2)))


def paint_wall(scene: Scene) -> None:
    """Table, arms, skin and fat under it, muscles of the wall with ribs, and the fat of the abdominal cavity."""
    rng = scene.rng
    width, depth, fat = rng.uniform(142, 168), rng.uniform(100, 122), rng.normal(-104, 6)
    scene.trunk = box = scene.between((-width - 35, -depth - 45, -1e4), (width + 35, depth + 30, 1e4))
    x, y, z = scene.x[box], scene.y[box], scene.z[box]
    scene.fine, scene.muscle = scene.texture(5.0, box), rng.normal(57, 6)
    hips = np.clip((-z - 90) / 80, 0, 1)
    # A power above two squares the ellipse off a little, as a trunk is; the distance is that along the radius.
    radius = (np.abs(x / (width * (1 + 0.1 * hips))) ** 2.5 + np.abs((y - 8) / (depth * (1 + 0.05 * hips))) ** 2.5) ** 0.4
    outside = (radius - 1) * np.hypot(x, y - 8) / np.maximum(radius, 1e-3)
    if rng.random() < 0.8:
        top = depth + rng.uniform(0, 14)
        table = np.abs(np.hypot(x / 1.6, y - 300 + top) - 300) - 3
        scene.paint(table, rng.uniform(-150, 150), box, organ=NUMBER["table"])
    if rng.random() < 0.25:
        for side in (-1, 1):
            arm, high = side * (width + rng.uniform(38, 50)), rng.uniform(-30, 30)
            tube(scene, [(arm, high, -400), (arm, high, 400)], 36, fat, "fat", inside=False)
            tube(scene, [(arm, high, -400), (arm, high, 400)], 28, scene.muscle, "muscle", inside=False)
            tube(scene, [(arm, high, -400), (arm, high, 400)], 10, rng.normal(320, 60), "bone", inside=False)
    scene.paint(outside, 20.0, box, organ=NUMBER["fat"])
    scene.paint(outside + 2.5, fat, box)
    fascia = outside + rng.uniform(6, 28) + 3 * scene.texture(50.0, box)
    scene.paint(fascia, scene.muscle + 10 * scene.fine, box, organ=NUMBER["muscle"])
    wall = rng.uniform(9, 16)
    scene.cavity = np.full(scene.shape, 400.0, np.float32)
    scene.cavity[box] = cavity = fascia + wall
    rise = z + 45 * np.abs(np.arctan2(x, -y)) - rng.uniform(0, 30)  # ribs fall towards the front
    rib = np.hypot(cavity - wall / 2, (rise % 30) - 15) - 4.5
    scene.paint(np.where(rise > 45, rib, 10.0), rng.normal(330, 50), box, organ=NUMBER["bone"])
    scene.paint(cavity, fat + 9 * other(scene), box, organ=NUMBER["fat"])


def other(scene: Scene) -> np.ndarray:
    """The fine texture of the trunk, shifted, so that one organ's is not another's."""
    return np.roll(scene.fine, scene.rng.integers(5, 40, 3), (0, 1, 2))


def paint_pelvis(scene: Scene) -> None:
    """Iliac wings, muscles inside and outside of them, and the bladder."""
    rng, box = scene.rng, scene.trunk
    x, y, z = scene.x[box], scene.y[box], scene.z[box]
    brim = rng.uniform(-160, -125)
    ring = np.hypot(x / 1.15, y + 20) - (98 - 0.25 * np.clip(brim - z, 0, 130))
    low = z - brim - 25 + 0.004 * (y - 20) ** 2
    scene.paint(np.maximum.reduce([scene.cavity[box] - 6, low + 12, -ring - 16]), scene.muscle + 10 * other(scene), box,
                organ=NUMBER["muscle"])
    wing = np.maximum.reduce([np.abs(ring) - rng.uniform(4, 7), low, 24 - np.abs(x), y - 55])
    scene.paint(wing, rng.normal(300, 50) + 60 * other(scene), box, organ=NUMBER["bone"])
    place, radii = np.array([0, 15, brim - rng.uniform(45, 75)]), rng.uniform((25, 22, 20), (48, 40, 38))
    box, bladder = scene.near(Ellipsoid(place, radii))
    scene.paint(bladder, rng.choice((5.0, 15.0, 150.0), p=(0.5, 0.3, 0.2)), box, organ=NUMBER["bladder"])


def paint_spine(scene: Scene) -> None:
    """Muscles of the back with fat between them, psoas, and vertebrae with discs, canal and processes."""
    rng, box = scene.rng, scene.trunk
    x, y, z = scene.x[box], scene.y[box], scene.z[box]
    septa = 12 * np.maximum(0, other(scene) - 0.9)
    for side in (-1, 1):
        back = np.maximum(column(x, y, side * 33, -72, 30, 24), scene.cavity[box] - 26) + septa
        scene.paint(back, scene.muscle + 8 * scene.fine, box, organ=NUMBER["muscle"])
        thick, away = 9 + 0.11 * np.clip(60 - z, 0, 190), 36 + 0.12 * np.clip(-60 - z, 0, 120)
        psoas = np.hypot(x - side * away, (y + 38) / 1.2) - thick  # grows downwards, and leaves the spine
        scene.paint(psoas + 0.4 * septa, scene.muscle + 8 * scene.fine, box, organ=NUMBER["muscle"])
    scene.spine = np.full(scene.shape, 400.0, np.float32)
    scene.spine[box] = spine = column(x, y, 0, -44, 24, 18)
    period = rng.uniform(30, 38)
    level = (z + rng.uniform(0, period)) % period - period / 2
    trabeculae = rng.normal(190, 45) + 35 * other(scene)
    scene.paint(spine, rng.normal(310, 50), box, organ=NUMBER["bone"])
    scene.paint(spine + 3, np.where(np.abs(level) < 3.5, 85.0, trabeculae), box, organ=NUMBER["marrow"])
    scene.paint(column(x, y, 0, -71, 13, 12), rng.normal(280, 40), box, organ=NUMBER["bone"])
    scene.paint(column(x, y, 0, -70, 9, 8), 25.0, box, organ=NUMBER["muscle"])
    middle = level + period / 4
    transverse = np.maximum(np.hypot(middle * 0.8, y + 62) - 5.5, np.abs(x) - rng.uniform(38, 50))
    spinous = np.maximum(np.hypot(x, middle * 0.4) - 4.5, np.abs(y + 90) - 18)
    scene.paint(np.minimum(transverse, spinous), rng.normal(290, 50), box, organ=NUMBER["bone"])


def paint_chest(scene: Scene, blood: float) -> None:
    """The bases of the lungs above the diaphragm, and the heart between them."""
    rng, box = scene.rng, scene.trunk
    x, y, z = scene.x[box], scene.y[box], scene.z[box]
    top = rng.uniform(95, 125)
    dome = top + 42 * np.exp(-(((np.abs(x) - 70) / 62) ** 2) - ((y - 12) / 75) ** 2) - 35 * np.clip(-(y + 15) / 60, 0, 1.3)
    lungs = np.maximum.reduce([scene.cavity[box] + 2, dome - z, 24 - np.hypot(x, (y + 25) / 1.8)])
    scene.paint(lungs, rng.uniform(-880, -780) + 40 * other(scene), box, organ=NUMBER["lung"])
    place, radii = np.array([-18, 30, top + rng.uniform(35, 60)]), rng.uniform((50, 42, 38), (66, 54, 55))
    box, heart = scene.near(Ellipsoid(place, radii))
    scene.paint(heart, 60.0, box, organ=NUMBER["heart"])
    scene.paint(heart + 9, scene.textured(blood, 8, 9.0, box), box)


def tube(scene: Scene, points: Sequence, radius: float, hu: float, organ: str, *, texture: float = 0.0, wall: float | None = None,
         inside: bool = True) -> None:
    """A tube through ``points`` (x, y, z), with haustra; ``wall``: HU of its wall; ``inside``: it stays in the abdominal cavity."""
    for start, end in zip(np.asarray(points[:-1], float), np.asarray(points[1:], float)):
        box = scene.between(np.minimum(start, end) - radius - 12, np.maximum(start, end) + radius + 12)
        if any(part.start >= part.stop for part in box):
            continue
        way = end - start
        length = max(1e-3, float(np.linalg.norm(way)))
        own = [axis[box] - first for axis, first in zip((scene.x, scene.y, scene.z), start)]
        along = np.clip(sum(o * w for o, w in zip(own, way)) / length**2, 0, 1)
        distance = np.sqrt(sum((o - along * w) ** 2 for o, w in zip(own, way)))
        distance -= radius * (1 + (0.1 * np.sin(0.3 * length * along) if wall else 0))
        distance = np.maximum(distance, scene.cavity[box] + 1) if inside else distance
        if wall:
            scene.paint(distance, wall, box, organ=NUMBER[organ])
        scene.paint(distance + (2.5 if wall else 0), scene.textured(hu, texture, 6.0, box), box,
                    organ=NUMBER["stool" if organ == "colon" else organ])


def paint_gut(scene: Scene, tissue: Tissue) -> None:
    """Loops of small bowel that hang together, and the colon, a stretch of it after the other."""
    rng = scene.rng
    for _ in range(rng.integers(10, 16)):
        loop = [rng.uniform((-85, -12, -190), (85, 72, 40))]
        for _ in range(rng.integers(4, 9)):
            loop.append(np.clip(loop[-1] + rng.normal(0, (26, 18, 22)), (-98, -22, -205), (98, 84, 60)))
        hu, sd = tissue.bowel(rng)
        tube(scene, loop, rng.uniform(9, 15), hu, "small_bowel", texture=max(sd, 8), wall=rng.normal(80, 20))
    reach, back, radius = rng.uniform(88, 112), rng.uniform(-30, 8), rng.uniform(14, 24)
    places = [np.array([x * reach, y + (back if abs(x) > 0.8 else 0), z]) + rng.normal(0, 7, 3) for x, y, z in COLON]
    for first, last in zip(places[:-1], places[1:]):
        hu, sd, _ = STOOL[rng.choice(len(STOOL), p=[share for *_, share in STOOL])]
        tube(scene, [first, last], radius * rng.uniform(0.7, 1.2), hu, "colon", texture=sd, wall=rng.normal(75, 18))


def paint_organs(scene: Scene, tissue: Tissue) -> None:
    """Stomach, spleen, liver with its veins and the gall bladder, pancreas and duodenum."""
    rng = scene.rng
    liver, spleen, (stomach, sd) = tissue.liver(rng), tissue.spleen(rng), tissue.stomach(rng)
    pancreas = liver * rng.uniform(0.75, 1.1)
    organs = (
        ("stomach", (-48, 42, 66), (48, 36, 38), stomach, max(sd, 8.0)), ("spleen", (-92, -28, 70), (32, 44, 50), spleen, 6.0),
        ("liver", (70, 10, 76), (76, 80, 72), liver, 7.0), ("liver", (0, 40, 92), (60, 34, 34), liver, 7.0),
        ("pancreas", (-18, 12, 32), (52, 12, 13), pancreas, 12.0), ("small_bowel", (32, 8, 8), (16, 17, 34), pancreas, 14.0),
        ("gall_bladder", (52, 48, 18), (14, 18, 24), rng.uniform(0, 25), 0.0))
    for name, place, radii, hu, texture in organs:
        shape = Ellipsoid(place + rng.normal(0, 6, 3), radii * tissue.organ_size(rng), rotation(*rng.normal(0, 0.15, 3)))
        box, distance = scene.near(shape)
        distance = np.maximum(scene.textured(distance, tissue.organ_waves, 22.0, box), scene.cavity[box] + 2)
        scene.paint(distance, scene.textured(hu, texture, 9.0, box), box, organ=NUMBER[name])
        if name in ("liver", "spleen"):
            veins = np.maximum(distance + 6, 9 * (1.9 - scene.texture(9.0, box)))
            scene.paint(veins, hu + rng.uniform(-10, 60), box, organ=NUMBER["vessel"])


def paint_vessels(scene: Scene, aorta: float, cava: float) -> None:
    """Aorta, vena cava and what leaves them: iliac, renal, mesenteric and portal vessels, and small ones of the mesentery."""
    rng = scene.rng
    tube(scene, [(-8, -15, 500), (-8, -15, -95)], rng.uniform(8, 12), aorta, "aorta")
    tube(scene, [(16, -14, 130), (16, -14, -95)], rng.uniform(9, 12), cava, "vena_cava")
    for side in (-1, 1):
        tube(scene, [(0, -15, -92), (side * 35, -10, -140), (side * 65, 30, -230)], 6, aorta, "vessel")
        tube(scene, [(6, -18, -95), (side * 38, -18, -142), (side * 66, 22, -230)], 7, cava, "vessel")
        tube(scene, [(0, -14, rng.uniform(-5, 12)), (side * 30, -22, 3), (side * 48, -26, 0)], 3.0, aorta, "vessel")
        tube(scene, [(14, -12, rng.uniform(-5, 8)), (side * 28, -16, 0), (side * 48, -25, -2)], 4.5, cava, "vessel")
    tube(scene, [(10, 2, -40), (14, 8, 20), (45, 18, 60)], 7, max(40.0, 0.9 * cava), "vessel")
    tube(scene, [(-8, -8, 8), (-6, 20, -20), (0, 30, -90)], 4, aorta, "vessel")
    for _ in range(rng.integers(30, 50)):
        start = rng.uniform((-85, -15, -160), (85, 70, 40))
        tube(scene, [start, start + rng.normal(0, 25, 3)], rng.uniform(1.5, 3.5), rng.choice([aorta, cava]), "vessel")

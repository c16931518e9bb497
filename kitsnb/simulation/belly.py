"""What fills the abdomen beside the kidneys: bowel that hangs together, the upper organs, and the tree of vessels.

Places in mm are those of textbook anatomy in the patient's frame (x right, y anterior, z superior; kidneys at x = +-64,
y = -27, z = 0), jittered from case to case; HU come from ``kitsnb.simulation.tissue`` and follow the contrast's phase.
"""

from itertools import pairwise

import numpy as np

from kitsnb.simulation.organs import NUMBER
from kitsnb.simulation.scene import Ellipsoid, Scene, between_points, paint_tube, rotation
from kitsnb.simulation.tissue import Phase, Tissue

#: The colon from the caecum to the rectum.
COLON = np.array((
    (95, -8, -130), (97, -12, -85), (96, -15, -40), (93, -8, -5), (82, 20, 14), (60, 52, 2), (28, 68, -12),
    (-5, 72, -18), (-38, 66, -5), (-66, 48, 22), (-90, 14, 52), (-99, -12, 34), (-99, -20, -5), (-98, -18, -50),
    (-94, -8, -95), (-80, 5, -130), (-45, 15, -158), (-5, 0, -175), (10, -30, -195), (0, -44, -240), (0, -48, -300),
), float)
#: The duodenum from the stomach's outlet round the pancreas' head to the left of the aorta.
DUODENUM = np.array(
    ((8, 34, 42), (34, 26, 40), (42, 10, 18), (40, -2, -16), (24, -4, -32), (-4, -2, -30), (-30, 4, -8)), float)
#: Small bowel: where loops lie (low and high corner), how far apart, and the share of places that they take.
LOOPS, STEP, FULL = ((-84, -6, -200), (84, 76, 44)), 24.0, (0.65, 1.0)
#: What is in the colon, and in stomach and small bowel: HU, SD of its texture (HU), SD from case to case, how often.
STOOL = ((-750, 40, 60, 0.22), (-30, 90, 40, 0.28), (40, 70, 20, 0.36), (15, 8, 8, 0.06), (260, 110, 80, 0.08))
MEAL = ((12, 8, 8, 0.4), (40, 28, 15, 0.38), (-700, 40, 80, 0.08), (220, 40, 70, 0.14))


def paint_belly(scene: Scene, tissue: Tissue, phase: Phase) -> None:
    """All organs of the abdomen but kidneys and the fat around them."""
    paint_small_bowel(scene, phase)
    paint_organs(scene, tissue, phase)
    paint_vessels(scene, tissue, phase)
    paint_colon(scene)


def draw_content(rng: np.random.Generator, kinds: tuple) -> tuple[float, float]:
    """HU of one of ``kinds`` and the SD of its texture."""
    hu, texture, spread, _ = kinds[rng.choice(len(kinds), p=[kind[3] for kind in kinds])]
    return rng.normal(hu, spread), texture


def paint_hollow(
    scene: Scene, stretches: list, wall: float, kinds: tuple, names: tuple[str, str], thick: float, run: int
) -> None:
    """Walls of a gut's ``stretches`` (box, distance), then what they hold, which changes every ``run`` stretches.

    ``names``: the organ that the wall is, and the one that the content is; ``thick``: mm of the wall. Stool holds
    bubbles. Where there is gas, fluid lies below it.
    """
    rng = scene.rng
    for box, distance in stretches:
        scene.paint(distance, wall, box, organ=NUMBER[names[0]])
    for index, (box, distance) in enumerate(stretches):
        if index % run == 0:
            (hu, texture), gas = draw_content(rng, kinds), rng.random() < 0.15
            level = rng.uniform(-4, 9)
        content = scene.textured(hu, texture, 4.0, box)
        if texture > 60:
            content = content - 500 * np.clip(scene.texture(5.0, box) - 1.1, 0, 1.4)
        if gas:
            deepest = distance.argmin() if distance.size else 0
            surface = np.broadcast_to(scene.y[box], distance.shape).flat[deepest] + level if distance.size else 0.0
            content = np.where(scene.y[box] > surface, -850.0, content)
        scene.paint(distance + thick, content, box, organ=NUMBER[names[1]])


def paint_small_bowel(scene: Scene, phase: Phase) -> None:
    """Loops one after the other through jittered places of the abdomen, back and forth, in touch with each other."""
    rng, (low, high) = scene.rng, np.array(LOOPS)
    counts = ((high - low) / STEP).astype(int) + 1
    places, share, radius = [], rng.uniform(*FULL), rng.uniform(9.5, 12.5)
    for k in range(counts[2]):
        for j in range(counts[1]):
            row = [low + STEP * np.array((i, j, k)) for i in range(counts[0])]
            places += row[::-1] if (j + k) % 2 else row
    kept = [place + rng.normal(0, 6, 3) for place in places if place[1] > 14 or abs(place[0]) < 50 and place[2] < -30]
    kept = [place for place in kept if rng.random() < share]
    stretches = []
    for start, end in pairwise(kept):
        if np.linalg.norm(end - start) < 2 * STEP:
            wide = radius * rng.uniform(0.75, 1.2)
            stretches.append(between_points(scene, start, end, wide, folds=0.05))
    paint_hollow(scene, stretches, phase.bowel, MEAL, ("small_bowel", "small_bowel"), 2.6, 7)


def paint_colon(scene: Scene) -> None:
    """From the caecum to the rectum, with haustra."""
    rng, wide = scene.rng, scene.rng.uniform(15, 25)
    places = COLON * (rng.uniform(0.88, 1.12), 1, 1) + rng.normal(0, 5, COLON.shape) + (0, rng.uniform(-14, 10), 0)
    stretches = []
    for start, end in pairwise(places):
        wide = np.clip(wide * rng.uniform(0.82, 1.2), 10, 27)
        stretches.append(between_points(scene, start, end, wide, folds=0.17))
    paint_hollow(scene, stretches, rng.normal(65, 15), STOOL, ("colon", "stool"), 2.4, 3)


def paint_organs(scene: Scene, tissue: Tissue, phase: Phase) -> None:
    """Stomach, spleen, liver with its veins, gall bladder, pancreas, duodenum and adrenals."""
    rng = scene.rng
    gall = rng.uniform(0, 25) if rng.random() < 0.85 else 40.0
    solid = (
        ("pancreas", (14, 12, 14), (16, 13, 22), phase.pancreas, 16),
        ("pancreas", (-22, 14, 34), (44, 9, 11), phase.pancreas, 16),
        ("pancreas", (-58, -2, 48), (22, 9, 11), phase.pancreas, 16),
        ("muscle", (38, -26, 62), (4, 12, 12), phase.pancreas, 0),  # the adrenals
        ("muscle", (-36, -20, 56), (4, 13, 13), phase.pancreas, 0),
        ("spleen", (-96, -26, 68), (30, 44, 54), phase.spleen, 6),
        ("liver", (74, 4, 66), (76, 84, 84), phase.liver, 6), ("liver", (2, 44, 88), (66, 32, 36), phase.liver, 6),
        ("gall_bladder", (50, 46, 14), (14, 20, 24), gall, 0),
    )
    for name, place, radii, hu, texture in solid:
        scale = tissue.organ_size(rng) if min(radii) > 10 else 1.0
        shape = Ellipsoid(place + rng.normal(0, 5, 3), np.multiply(radii, scale), rotation(*rng.normal(0, 0.15, 3)))
        box, distance = scene.near(shape)
        distance = np.maximum(scene.textured(distance, tissue.organ_waves, 16.0, box), scene.cavity[box] + 1.5)
        scene.paint(distance, scene.textured(hu, texture, 6.0, box), box, organ=NUMBER[name])
        if max(radii) > 70 and name == "liver":
            for _ in range(14):
                tip = shape.centre + 0.8 * shape.radii * rng.uniform(-0.9, 0.9, 3)
                ends = [(26, 14, 56), 0.5 * tip + (14, 5, 32), tip]
                paint_tube(scene, ends, rng.uniform(2.5, 4.5), phase.portal, "vessel")
    places = DUODENUM + rng.normal(0, 3, DUODENUM.shape)
    curve = [between_points(scene, start, end, rng.uniform(9, 13), folds=0.08) for start, end in pairwise(places)]
    paint_hollow(scene, curve, phase.bowel, MEAL, ("duodenum", "duodenum"), 3.5, 3)
    size = tissue.organ_size(rng)
    stretches = []
    for place, radii in (((-52, 22, 84), (36, 38, 34)), ((-40, 46, 52), (32, 24, 30)), ((-10, 48, 38), (28, 18, 18))):
        shape = Ellipsoid(np.array(place) + rng.normal(0, 4, 3), np.multiply(radii, size), rotation(z=0.3))
        box, distance = scene.near(shape)
        stretches.append((box, np.maximum(distance, scene.cavity[box] + 3)))
    paint_hollow(scene, stretches, phase.bowel, MEAL, ("stomach", "stomach"), 4.5, 3)


def paint_vessels(scene: Scene, tissue: Tissue, phase: Phase) -> None:
    """Aorta, cava and what leaves them: iliac, renal, mesenteric, splenic and portal vessels, and the mesentery's."""
    rng, artery, vein, portal = scene.rng, phase.aorta, phase.cava, phase.portal
    for side in (-1, 1):  # the diaphragm's crura
        ends = [(side * 15, -24, -20), (side * 14, -14, 40), (side * 20, -14, 110)]
        paint_tube(scene, ends, 6, scene.muscle, "muscle")
    sway = rng.normal(0, 3, 3)
    trees = [
        ([(-8, -16, 500), (-6 + sway[0], -15, 40), (-7 + sway[1], -12, -92)], rng.uniform(8, 12), artery, "aorta"),
        ([(20, 4, 120), (17, -10, 40), (16 + sway[2], -13, -95)], rng.uniform(8.5, 12.5), vein, "vena_cava"),
        ([(8, 2, -55), (10, 6, 10), (24, 12, 52)], 6.5, portal, "vessel"),  # superior mesenteric and portal vein
        ([(8, 8, 30), (-30, 8, 42), (-75, -12, 58)], 4.5, portal, "vessel"),  # splenic vein
        ([(-7, -6, 22), (-5, 8, 2), (0, 14, -60), (12, 24, -120)], 3.8, artery, "vessel"),
        ([(-7, -6, 40), (-6, 8, 42), (30, 14, 52)], 3.0, artery, "vessel"),
    ]
    for side in (-1, 1):
        gate = (side * rng.uniform(46, 54), -26, rng.uniform(-8, 8))
        trees += [
            ([(-6, -14, -90), (side * 34, -14, -138), (side * 62, 16, -190), (side * 72, 50, -260)],
             5.5, artery, "vessel"),
            ([(14, -16, -95), (side * 36, -22, -142), (side * 58, 10, -195), (side * 66, 44, -260)],
             6.5, vein, "vessel"),
            ([(-6, -15, rng.uniform(2, 14)), (side * 26, -24, 6), gate], 2.8, artery, "vessel"),
            ([(15, -12, rng.uniform(-4, 8)), (side * 28, -8 if side < 0 else -16, 2), gate], 4.5, vein, "vessel"),
            ([gate, (side * 38, -32, -60), (side * 34, -34, -110), (side * 26, -12, -190)], 2.2, phase.ureter, "calyx"),
        ]
        if tissue.stents and rng.random() < tissue.stents:  # nothing is drawn for phantoms, which stay as they were
            trees.append((trees[-1][0], 1.3, 1500.0, "stone"))
    for points, radius, hu, name in trees:
        paint_tube(scene, points, radius, hu, name)
    if rng.random() < 0.3:  # plaques
        paint_tube(scene, [(-14, -18, -40), (-15, -16, -60)], 2.5, rng.uniform(400, 900), "bone")
    for _ in range(rng.integers(50, 90)):
        root = np.array((rng.uniform(-10, 20), 14, rng.uniform(-70, 10)))
        tip = rng.uniform((-88, -10, -170), (88, 72, 40))
        near = 0.45 * root + 0.55 * tip + rng.normal(0, 8, 3)
        paint_tube(scene, [near, tip], rng.uniform(1.2, 2.8), rng.choice((artery, portal, portal)), "vessel")

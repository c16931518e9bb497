"""One painter of tissue with two sets of parameters: for phantoms, and for the inside and surroundings of real labels.

Whoever paints hands over a ``Scene``, distances to kidneys and tumours (mm, negative inside), and one of the two sets.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from kitsnb.simulation.scene import Box, Ellipsoid, Scene, column

FLUID = 9.0
#: Cysts a kidney (mean of a Poisson distribution) and their radius in mm; KiTS19 counts them as kidney.
CYSTS, CYST_MM = 0.45, (5.0, 16.0)
#: A parameter from which every case draws.
Draw = Callable[[np.random.Generator], float]


def fixed(value: float) -> Draw:
    return lambda rng: value


def uniform(low: float, high: float) -> Draw:
    return lambda rng: rng.uniform(low, high)


def log_uniform(low: float, high: float) -> Draw:
    return lambda rng: float(np.exp(rng.uniform(np.log(low), np.log(high))))


def normal(mean: float, sd: float, low: float = -np.inf, high: float = np.inf) -> Draw:
    return lambda rng: float(np.clip(rng.normal(mean, sd), low, high))


def one_of(hu: tuple, sd: tuple, shares: tuple | None = None) -> Callable[[np.random.Generator], tuple[float, float]]:
    """HU, and the SD of its texture, of one of several contents; ``sd``: from case to case, ``shares``: how often."""

    def draw(rng: np.random.Generator) -> tuple[float, float]:
        kind = rng.choice(len(hu), p=shares) if shares else rng.integers(len(hu))
        mean = np.array(hu)[kind]
        return (rng.normal(mean, sd[kind]) if sd[kind] else mean), 0.4 * sd[kind]

    return draw


#: Contents of bowel and stomach: fluid, food, gas, contrast, stool.
CONTENTS = one_of((FLUID, 35, -850, 220, -40), (5, 12, 40, 60, 40), (0.3, 0.25, 0.15, 0.12, 0.18))


@dataclass(frozen=True)
class Tissue:
    """What tissue is like. The defaults are the phantoms'."""

    cortex: Draw = normal(170, 40, 100, 280)  # HU, which follow the phase of the contrast
    cortex_texture: float = 0  # HU (SD)
    cortex_mm: Draw = fixed(7)  # thickness
    medulla: Draw = uniform(0.60, 0.85)  # HU as a share of the cortex's
    sinus: Draw = normal(-60, 15)  # HU of its fat
    fat_texture: float = 0  # HU (SD) of the fat around the kidney
    fat_mm: Draw = uniform(2, 14)  # its thickness
    fat_spread: float = 0  # SD of the logarithm of that within a case
    fat_rim: float = -np.inf  # mm of it that always part kidney from muscle; -inf: none do
    tumour: Draw = uniform(0.35, 0.70)  # HU as a share of the cortex's
    tumour_above: Draw = fixed(0)  # HU beyond that share
    tumour_texture: Draw = uniform(3, 12)  # HU (SD)
    necrosis_mm: float = 50  # a tumour's radius over this is the probability of necrosis, 0.85 at most
    necrosis_depth: Draw = uniform(0.35, 0.65)  # where it begins, as a share of the tumour's depth
    bowel: Callable = one_of((FLUID, 25, -850, 220, -60), (0,) * 5, (0.35, 0.25, 0.15, 0.1, 0.15))  # HU of its contents
    bowel_margin: float = -np.inf  # mm from the abdominal wall at least; -inf: it may reach into that
    stomach: Callable = one_of((FLUID, 35, 200), (0,) * 3)
    spleen: Draw = normal(115, 15)  # HU
    liver: Draw = normal(100, 14)  # HU
    organ_size: Draw = fixed(1)  # half-axes as a share of their typical length
    organ_waves: float = 0  # mm (SD) by which their surfaces leave the ellipsoid


#: Source: trial. A small network learns these contrasts from 96 cases in a minute, but not without mistakes.
PHANTOM = Tissue()
#: Source: the foreground that nnU-Net measured on the real CT of KiTS19, 0.5 and 99.5 percentile -79 and 304 HU, mean
#: 101, SD 76.9. All 210 label maps together, with seed 0 at 3.22 x 1.62 x 1.62 mm, come to -84, 305, 103 and 77.9.
HYBRID = Tissue(
    cortex=normal(163, 60, 50, 330), cortex_texture=4, cortex_mm=uniform(5, 9), medulla=uniform(0.33, 0.85),
    sinus=uniform(-105, -30), fat_texture=8, fat_mm=log_uniform(1.5, 18), fat_spread=0.5, fat_rim=0.5,
    tumour=fixed(1), tumour_above=uniform(-115, 5), tumour_texture=uniform(4, 22),
    necrosis_mm=40, necrosis_depth=uniform(0.25, 0.7),
    bowel=CONTENTS, bowel_margin=1, stomach=CONTENTS, spleen=normal(115, 22), liver=normal(90, 20),
    organ_size=uniform((0.8, 0.8, 0.8), (1.15, 1.15, 1.15)), organ_waves=3,
)


def paint_body(scene: Scene) -> None:
    """Skin, subcutaneous fat, abdominal wall with ribs, abdominal fat, back muscles and spine."""
    x, y, z, rng = scene.x, scene.y, scene.z, scene.rng
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
    rise = z + 45 * np.abs(np.arctan2(x, -y)) - rng.uniform(0, 30)  # ribs fall towards the front
    rib = np.hypot(scene.cavity - wall / 2, (rise % 30) - 15) - 4.0
    scene.paint(np.where(rise > 60, rib, 10.0), rng.normal(320, 40))
    scene.paint(scene.cavity, fat)
    for side in (-1, 1):
        scene.paint(column(x, y, side * 32, -72, 26, 20), muscle + rng.normal(0, 3))
        psoas = 10 + 0.09 * np.clip(60 - z, 0, 150)  # grows downwards
        scene.paint(np.hypot(x - side * 36, (y + 40) / 1.2) - psoas, muscle + rng.normal(0, 3))
    scene.spine = column(x, y, 0, -44, 24, 18)
    disc = np.abs(((z + rng.uniform(0, 34)) % 34) - 17) - 3.5
    scene.paint(scene.spine, rng.normal(330, 30))
    scene.paint(scene.spine + 3, np.where(disc < 0, 80.0, rng.normal(170, 25)))
    scene.paint(column(x, y, 0, -84, 5, 20), rng.normal(260, 30))
    scene.paint(column(x, y, 0, -71, 13, 12), rng.normal(280, 30))
    scene.paint(column(x, y, 0, -70, 9, 8), 25.0)


def paint_organs(scene: Scene, tissue: Tissue) -> None:
    """Bowel, stomach, spleen, and liver with gall bladder, inside the abdominal cavity."""
    rng = scene.rng
    for centre, radii in _bowel_loops(rng):
        contents, wall = tissue.bowel(rng), rng.normal(70, 12)
        for inset, hu, sd in ((0, wall, 0), (3.5, *contents)):
            box, distance = scene.near(Ellipsoid(centre, radii - inset))
            distance = np.maximum(distance, scene.cavity[box] + (tissue.bowel_margin + inset))
            scene.paint(distance, scene.textured(hu, sd, 8.0, box), box)
    liver, spleen, jitter = tissue.liver(rng), tissue.spleen(rng), rng.normal(0, 5, (3, 3))
    stomach, sd = tissue.stomach(rng)
    organs = (
        ((-48, 38, 62), (44, 34, 34), stomach, max(sd, 5.0)),
        ((-92, -28, 66), (30, 42, 46), spleen, 5.0),
        ((72, 14, 72), (72, 76, 66), liver, 5.0),
    )
    for (place, radii, hu, sd), moved in zip(organs, jitter, strict=True):
        box, distance = scene.near(Ellipsoid(moved + place, np.multiply(radii, tissue.organ_size(rng))))
        surface = scene.textured(distance, tissue.organ_waves, 25.0, box)
        scene.paint(np.maximum(surface, scene.cavity[box] + 2), scene.textured(hu, sd, 14.0, box), box)
    if rng.random() < 0.7:
        radii = np.multiply((13, 17, 20), tissue.organ_size(rng))
        box, gall_bladder = scene.near(Ellipsoid(np.array([52, 50, 18]), radii))
        scene.paint(gall_bladder, FLUID, box)


def _bowel_loops(rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Centres and half-axes of loops in the front of the abdomen, and of ascending and descending colon."""
    for _ in range(rng.integers(28, 42)):
        yield rng.uniform((-85, 0, -110), (85, 72, 50)), rng.uniform(11, 24, 3)
    for side in (-1, 1):
        centre = np.array([side * 88.0, rng.uniform(0, 20), rng.uniform(-80, -50)])
        yield centre, rng.uniform((15, 15, 35), (22, 22, 60))


def paint_vessels(scene: Scene, aorta: float, vena_cava: float) -> None:
    """The two great vessels, of these HU."""
    scene.paint(column(scene.x, scene.y, -8, -15, 10, 10), aorta)
    scene.paint(column(scene.x, scene.y, 16, -14, 12, 9), vena_cava)


def paint_fat(scene: Scene, tissue: Tissue, box: Box, kidney: np.ndarray) -> None:
    """Fat around ``kidney``. It never leaves the cavity, but for the rim that parts kidney from muscle."""
    thickness = tissue.fat_mm(scene.rng)
    if tissue.fat_spread:
        thickness = np.clip(thickness * np.exp(scene.textured(0, tissue.fat_spread, 25.0, box)), 0.5, 25)
    room = np.minimum(scene.cavity[box], kidney - tissue.fat_rim)
    hu = scene.textured(scene.rng.normal(-100, 8), tissue.fat_texture, 6.0, box)
    scene.paint(np.maximum(kidney - thickness, room), hu, box)


def paint_kidney(
    scene: Scene, tissue: Tissue, box: Box, surface: np.ndarray, sinus: np.ndarray, cortex: float,
    label: int | None = None,
) -> None:
    """Cortex and pyramids of medulla between ``surface`` and ``sinus``, and fat in that, which belongs to no label."""
    parenchyma = np.maximum(surface, -sinus)
    scene.paint(parenchyma, scene.textured(cortex, tissue.cortex_texture, 6.0, box), box, label)
    pyramids = scene.textured(surface + tissue.cortex_mm(scene.rng), 3, 9.0, box)
    scene.paint(np.maximum(pyramids, -sinus + 2), cortex * tissue.medulla(scene.rng), box)
    scene.paint(np.maximum(sinus, surface), tissue.sinus(scene.rng), box)


def paint_tumour(
    scene: Scene, tissue: Tissue, box: Box, distance: np.ndarray, radius: float, depth: float, cortex: float,
    label: int | None = None,
) -> None:
    """Solid tissue with texture, and in larger tumours necrosis. ``radius``, ``depth``: the tumour's, in mm."""
    rng = scene.rng
    solid = max(20.0, cortex * tissue.tumour(rng) + tissue.tumour_above(rng))
    scene.paint(distance, scene.textured(solid, tissue.tumour_texture(rng), 10.0, box), box, label)
    if rng.random() < min(0.85, radius / tissue.necrosis_mm):
        core = scene.textured(distance + depth * tissue.necrosis_depth(rng), 0.1 * depth, 12.0, box)
        scene.paint(core, rng.uniform(12, 40), box)

"""One painter of tissue with two sets of parameters: for phantoms, and for the inside and surroundings of real labels.

Whoever paints hands over a ``Scene``, distances to kidneys and tumours (mm, negative inside), and one of the two sets.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kitsnb.simulation.organs import NUMBER
from kitsnb.simulation.scene import Box, Scene

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


def log_normal(median: float, sd: float, low: float, high: float) -> Draw:
    """``sd``: of the logarithm."""
    return lambda rng: float(np.clip(median * np.exp(rng.normal(0, sd)), low, high))


def normal(mean: float, sd: float, low: float = -np.inf, high: float = np.inf) -> Draw:
    return lambda rng: float(np.clip(rng.normal(mean, sd), low, high))


@dataclass(frozen=True)
class Phase:
    """HU of one case's organs, which follow the time since contrast was given; medulla: share of the cortex's."""

    cortex: float
    medulla: float
    aorta: float
    cava: float
    portal: float
    liver: float
    spleen: float
    pancreas: float
    bowel: float  # its wall
    ureter: float
    enhanced: bool


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
    organ_size: Draw = fixed(1)  # half-axes as a share of their typical length
    organ_waves: float = 0  # mm (SD) by which their surfaces leave the ellipsoid
    bright: float = 0.45  # probability of bright calyces or vessels in the sinus
    unenhanced: float = 0  # share of cases without contrast
    stents: float = 0  # probability of a stent in a ureter


#: Source: trial. A small network learns these contrasts from 96 cases in a minute, but not without mistakes.
PHANTOM = Tissue()
#: Source: the foreground that nnU-Net measured on the real CT of KiTS19, 0.5 and 99.5 percentile -79 and 304 HU, mean
#: 101, SD 76.9. Of all 210 label maps, with seed 0 at 3.22 x 1.62 x 1.62 mm, it came to -83, 311, 99 and 74.0.
#: KiTS19 has no unenhanced CT; what one is given to predict may be, so that a share of the cases is.
HYBRID = Tissue(
    cortex=log_normal(133, 0.41, 80, 295), cortex_texture=4, cortex_mm=uniform(5, 9), medulla=uniform(0.5, 0.95),
    sinus=uniform(-100, -30), fat_texture=8, fat_mm=log_uniform(0.8, 11), fat_spread=0.6, fat_rim=0.5,
    tumour=fixed(1), tumour_above=uniform(-100, 0), tumour_texture=uniform(4, 22),
    necrosis_mm=45, necrosis_depth=uniform(0.3, 0.7),
    organ_size=uniform((0.88, 0.88, 0.88), (1.18, 1.18, 1.18)), organ_waves=3, unenhanced=0.06,
    stents=0.02,
)


def draw_phase(rng: np.random.Generator, tissue: Tissue) -> Phase:
    """HU of a case: before contrast, or at a time between the arteries' phase and the late ones."""
    fatty = rng.uniform(-35, 0) if rng.random() < 0.25 else 0.0  # a liver's fat takes HU away
    if rng.random() < tissue.unenhanced:
        blood = rng.uniform(34, 46)
        liver, spleen, pancreas, bowel = rng.normal((57 + fatty, 48, 38, 38), (5, 4, 5, 5)).tolist()
        medulla = rng.uniform(0.88, 1.0)
        return Phase(rng.uniform(26, 42), medulla, blood, blood, blood, liver, spleen, pancreas, bowel, 10.0, False)
    late, cortex = rng.random(), tissue.cortex(rng)
    above = max(0.0, cortex - 35)
    blood = 40 + above * rng.normal((1.5 - 0.75 * late, 0.45 + 0.3 * late, 0.5 + 0.25 * late), 0.1)
    gain = np.array((0.15 + 0.3 * late, 0.5, 0.42, 0.35)) * rng.uniform(0.8, 1.2, 4)
    organs = np.array((56 + fatty, 48, 40, 40)) + above * gain
    ureter = rng.uniform(150, 500) if late > 0.75 and rng.random() < 0.5 else 10.0
    share = tissue.medulla(rng)
    medulla = share + (1 - share) * late  # in the end it is as bright as the cortex
    return Phase(cortex, medulla, *np.minimum(blood, 420).tolist(), *organs.tolist(), ureter, True)


def paint_fat(scene: Scene, tissue: Tissue, box: Box, kidney: np.ndarray) -> None:
    """Fat around ``kidney``. It never leaves the cavity, but for the rim that parts kidney from muscle."""
    thickness = tissue.fat_mm(scene.rng)
    if tissue.fat_spread:
        thickness = np.clip(thickness * np.exp(scene.textured(0, tissue.fat_spread, 25.0, box)), 0.5, 25)
    room = np.minimum(scene.cavity[box], kidney - tissue.fat_rim)
    hu = scene.textured(scene.rng.normal(-100, 8), tissue.fat_texture, 6.0, box)
    scene.paint(np.maximum(kidney - thickness, room), hu, box, organ=NUMBER["fat"])


def paint_kidney(
    scene: Scene, tissue: Tissue, box: Box, surface: np.ndarray, sinus: np.ndarray, phase: Phase,
    label: int | None = None,
) -> None:
    """Cortex and pyramids of medulla between ``surface`` and ``sinus``, and fat in that, which belongs to no label."""
    parenchyma = np.maximum(surface, -sinus)
    scene.paint(parenchyma, scene.textured(phase.cortex, tissue.cortex_texture, 6.0, box), box, label, NUMBER["kidney"])
    pyramids = scene.textured(surface + tissue.cortex_mm(scene.rng), 3, 9.0, box)
    scene.paint(np.maximum(pyramids, -sinus + 2), phase.cortex * phase.medulla, box)
    scene.paint(np.maximum(sinus, surface), tissue.sinus(scene.rng), box, organ=NUMBER["sinus"])


def paint_tumour(
    scene: Scene, tissue: Tissue, box: Box, distance: np.ndarray, radius: float, depth: float, phase: Phase,
    label: int | None = None,
) -> None:
    """Solid tissue with texture, and in larger tumours necrosis. ``radius``, ``depth``: the tumour's, in mm."""
    rng = scene.rng
    if phase.enhanced:
        solid = max(20.0, phase.cortex * tissue.tumour(rng) + tissue.tumour_above(rng))
        texture = tissue.tumour_texture(rng)
    else:
        solid, texture = phase.cortex + rng.uniform(-14, 10), rng.uniform(2, 6)
    scene.paint(distance, scene.textured(solid, texture, 10.0, box), box, label, NUMBER["tumour"])
    if rng.random() < min(0.85, radius / tissue.necrosis_mm):
        core = scene.textured(distance + depth * tissue.necrosis_depth(rng), 0.1 * depth, 12.0, box)
        scene.paint(core, rng.uniform(12, 40), box)

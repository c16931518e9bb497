"""One painter of tissue with two sets of parameters: for phantoms, and for the inside and surroundings of real labels.

Whoever paints hands over a ``Scene``, distances to kidneys and tumours (mm, negative inside), and one of the two sets.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

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
    stomach: Callable = one_of((FLUID, 35, 200), (0,) * 3)
    spleen: Draw = normal(115, 15)  # HU
    liver: Draw = normal(100, 14)  # HU
    organ_size: Draw = fixed(1)  # half-axes as a share of their typical length
    organ_waves: float = 0  # mm (SD) by which their surfaces leave the ellipsoid
    bright: float = 0.6  # probability of bright calyces or vessels in the sinus


#: Source: trial. A small network learns these contrasts from 96 cases in a minute, but not without mistakes.
PHANTOM = Tissue()
#: Source: the foreground that nnU-Net measured on the real CT of KiTS19, 0.5 and 99.5 percentile -79 and 304 HU, mean
#: 101, SD 76.9. All 210 label maps together, with seed 0 at 3.22 x 1.62 x 1.62 mm, come to -84, 305, 103 and 77.9.
HYBRID = Tissue(
    cortex=normal(176, 62, 50, 330), cortex_texture=4, cortex_mm=uniform(5, 9), medulla=uniform(0.33, 0.85),
    sinus=uniform(-105, -30), fat_texture=8, fat_mm=log_uniform(1.0, 14), fat_spread=0.5, fat_rim=0.5,
    tumour=fixed(1), tumour_above=uniform(-115, 5), tumour_texture=uniform(4, 22),
    necrosis_mm=40, necrosis_depth=uniform(0.25, 0.7),
    bowel=CONTENTS, stomach=CONTENTS, spleen=normal(115, 22), liver=normal(90, 20),
    organ_size=uniform((0.85, 0.85, 0.85), (1.2, 1.2, 1.2)), organ_waves=3,
)
#: The same before contrast, as in a share of the cases. KiTS19 has none, the CT that one is given may be.
UNENHANCED, UNENHANCED_SHARE = replace(
    HYBRID, cortex=uniform(25, 42), medulla=uniform(0.85, 1.0), tumour_above=uniform(-14, 10), tumour_texture=uniform(2, 6),
    spleen=normal(47, 5), liver=normal(56, 8), bright=0,
), 0.12


def paint_fat(scene: Scene, tissue: Tissue, box: Box, kidney: np.ndarray) -> None:
    """Fat around ``kidney``. It never leaves the cavity, but for the rim that parts kidney from muscle."""
    thickness = tissue.fat_mm(scene.rng)
    if tissue.fat_spread:
        thickness = np.clip(thickness * np.exp(scene.textured(0, tissue.fat_spread, 25.0, box)), 0.5, 25)
    room = np.minimum(scene.cavity[box], kidney - tissue.fat_rim)
    hu = scene.textured(scene.rng.normal(-100, 8), tissue.fat_texture, 6.0, box)
    scene.paint(np.maximum(kidney - thickness, room), hu, box, organ=NUMBER["fat"])


def paint_kidney(
    scene: Scene, tissue: Tissue, box: Box, surface: np.ndarray, sinus: np.ndarray, cortex: float,
    label: int | None = None,
) -> None:
    """Cortex and pyramids of medulla between ``surface`` and ``sinus``, and fat in that, which belongs to no label."""
    parenchyma = np.maximum(surface, -sinus)
    scene.paint(parenchyma, scene.textured(cortex, tissue.cortex_texture, 6.0, box), box, label, NUMBER["kidney"])
    pyramids = scene.textured(surface + tissue.cortex_mm(scene.rng), 3, 9.0, box)
    scene.paint(np.maximum(pyramids, -sinus + 2), cortex * tissue.medulla(scene.rng), box)
    scene.paint(np.maximum(sinus, surface), tissue.sinus(scene.rng), box, organ=NUMBER["sinus"])


def paint_tumour(
    scene: Scene, tissue: Tissue, box: Box, distance: np.ndarray, radius: float, depth: float, cortex: float,
    label: int | None = None,
) -> None:
    """Solid tissue with texture, and in larger tumours necrosis. ``radius``, ``depth``: the tumour's, in mm."""
    rng = scene.rng
    solid = max(20.0, cortex * tissue.tumour(rng) + tissue.tumour_above(rng))
    scene.paint(distance, scene.textured(solid, tissue.tumour_texture(rng), 10.0, box), box, label, NUMBER["tumour"])
    if rng.random() < min(0.85, radius / tissue.necrosis_mm):
        core = scene.textured(distance + depth * tissue.necrosis_depth(rng), 0.1 * depth, 12.0, box)
        scene.paint(core, rng.uniform(12, 40), box)

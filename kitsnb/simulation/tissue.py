"""Painters of what a real label map does not hold: the organs around the kidneys, and HU inside kidney and tumour.

Organs are placed in the patient's frame of ``kitsnb.simulation.phantom.Scene``; kidney and tumour follow distances to the surfaces of
the label (mm, negative inside). Every range below was set so that all 210 label maps of KiTS19 together come close to the
foreground that nnU-Net measured on the real CT: 0.5 and 99.5 percentile -79 and 304 HU, mean 101, SD 76.9; here, with seed 0 at
3.22 x 1.62 x 1.62 mm, they are -84 and 307, 102.6 and 77.7.
"""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from kitsnb.simulation.phantom import FLUID, KIDNEY, TUMOUR, Ellipsoid, Scene, bowel_loops, column

#: HU of the cortex, which follows the phase of the contrast: mean, SD, lowest, highest.
CORTEX = (163.0, 60.0, 50.0, 330.0)
#: Thickness of the cortex in mm, and HU of the medulla as a share of the cortex's.
CORTEX_MM, MEDULLA = (5.0, 9.0), (0.33, 0.85)
#: How far inside the label the organ's surface lies, in mm: annotators draw generously, and that is the foreground's fat.
INSET_MM = (0.0, 1.6)
#: Tumour: HU above the cortex's, the lowest HU, SD of its texture.
TUMOUR_ABOVE, TUMOUR_LOWEST, TUMOUR_TEXTURE = (-115.0, 5.0), 20.0, (4.0, 22.0)
#: Necrosis: HU, and its probability: the tumour's radius over the first number (mm), at most the second.
NECROSIS, NECROSIS_CHANCE = (10.0, 45.0), (40.0, 0.85)
#: Fat of the sinus (HU) and the depth below the surface where it begins (mm), so that only plump labels hold any.
SINUS, SINUS_MM = (-105.0, -30.0), (11.0, 17.0)
#: Bright calyces or vessels: probability, HU above the cortex's.
BRIGHT_CHANCE, BRIGHT_ABOVE = 0.6, (80.0, 320.0)
#: Cysts a case (mean of a Poisson distribution) and their radius in mm; KiTS19 counts them as kidney.
CYSTS, CYST_MM = 1.0, (4.0, 14.0)
#: Fat around the kidney: HU, thickness in mm.
FAT, PERIRENAL_MM = (-115.0, -85.0), (0.5, 25.0)
#: Mean and SD in HU.
LIVER, SPLEEN = (90.0, 20.0), (115.0, 22.0)
#: HU of the great vessels as a share of the cortex's.
VESSELS = (0.7, 1.6)
#: Contents of bowel and stomach in HU, their spread, and how often each is seen: fluid, food, gas, contrast, stool.
CONTENTS, CONTENTS_SD, CONTENTS_SHARES = (FLUID, 35.0, -850.0, 220.0, -40.0), (5, 12, 40, 60, 40), (0.3, 0.25, 0.15, 0.12, 0.18)
#: How far beyond kidney and tumour distances are worked out, in mm.
REACH = 28.0


def paint_organs(rng: np.random.Generator, scene: Scene, cortex: float) -> None:
    """Bowel, stomach, spleen, liver with gall bladder, aorta and vena cava, all inside the abdominal cavity."""
    for centre, radii in bowel_loops(rng):
        loop = Ellipsoid(centre, radii, np.eye(3))
        box = scene.near(loop)
        distance = np.maximum(scene.distance(loop, box), scene.cavity[box] + 1)
        scene.paint(distance, rng.normal(70, 15), box)
        hu, spread = _contents(rng)
        scene.paint(distance + rng.uniform(2, 4), hu + spread * scene.texture(rng, 8.0, box), box)
    jitter = rng.normal(0, 6, (3, 3))
    stomach, spread = _contents(rng)
    organs = [
        (jitter[0] + (-48, 38, 62), rng.uniform((36, 26, 26), (50, 40, 42)), stomach, spread),
        (jitter[1] + (-92, -28, 66), rng.uniform((24, 34, 36), (34, 46, 54)), rng.normal(*SPLEEN), 5),
        (jitter[2] + (72, 14, 72), rng.uniform((64, 66, 56), (78, 80, 76)), rng.normal(*LIVER), 6),
    ]
    for number, (centre, radii, hu, spread) in enumerate(organs):
        shape = Ellipsoid(centre, radii, np.eye(3))
        box = scene.near(shape)
        distance = scene.distance(shape, box) + 3 * scene.texture(rng, 25.0, box)
        distance = np.maximum(distance, scene.cavity[box] + 2)
        if number == 0:
            scene.paint(distance - 4, rng.normal(75, 12), box)  # the stomach's wall
        scene.paint(distance, hu + spread * scene.texture(rng, 14.0, box), box)
    if rng.random() < 0.7:
        scene.blob((52, 50, 18), rng.uniform((9, 12, 14), (15, 19, 24)), FLUID)
    scene.paint(column(scene.x, scene.y, -8, -15, 10, 10), cortex * rng.uniform(*VESSELS))
    scene.paint(column(scene.x, scene.y, 16, -14, 12, 9), cortex * rng.uniform(*VESSELS))


def _contents(rng: np.random.Generator) -> tuple[float, float]:
    """HU of what a loop of bowel holds, and the SD of its texture."""
    kind = rng.choice(len(CONTENTS), p=CONTENTS_SHARES)
    return rng.normal(CONTENTS[kind], CONTENTS_SD[kind]), 0.4 * CONTENTS_SD[kind]


def signed_distance(mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Distance in mm (float32) to the surface of ``mask``, negative inside, smoothed over half a voxel.

    The surface lies half-way between voxel centres. The mask goes on beyond the array as it is at its border, so an organ
    that the field of view cuts has no surface there. Needs both kinds of voxel.
    """
    padded = np.pad(mask, 2, mode="edge")
    half = 0.5 * min(spacing)
    inside, outside = (distance_transform_edt(part, spacing).astype(np.float32) for part in (padded, ~padded))
    distance = np.where(padded, half - inside, outside - half)
    return gaussian_filter(distance, 0.5)[2:-2, 2:-2, 2:-2]


def paint_kidneys(rng: np.random.Generator, scene: Scene, labels: np.ndarray, spacing: np.ndarray, cortex: float) -> None:
    """Perirenal fat, kidneys and tumours inside and around ``labels``, of the scene's shape and ``spacing`` mm."""
    inset, fat = rng.uniform(*INSET_MM), rng.uniform(*FAT)
    for box in groups(labels, scene.axes[2], spacing):
        mask = labels[box] > 0
        if mask.all():
            raise ValueError("labels: nothing but kidney and tumour; a label map needs background around them")
        distance = signed_distance(mask, spacing)
        _paint_perirenal_fat(rng, scene, box, distance, fat)
        surface = distance + inset
        _paint_kidney(rng, scene, box, surface, cortex)
        tumour = labels[box] == TUMOUR
        beyond = signed_distance(tumour, spacing) if tumour.any() else np.full(mask.shape, REACH, np.float32)
        _paint_cysts(rng, scene, box, np.maximum(surface, 1 - beyond), labels[box])
        if tumour.any():
            millilitres = tumour.sum() * float(np.prod(spacing)) / 1000
            _paint_tumour(rng, scene, box, np.maximum(beyond, surface), millilitres, cortex)


def groups(labels: np.ndarray, x: np.ndarray, spacing: np.ndarray) -> list[tuple[slice, slice, slice]]:
    """Boxes around the kidneys, ``REACH`` mm wider than these: one a side of the midline (x = 0), or one for both.

    One holds both where foreground crosses the midline, as in a horseshoe kidney. Boxes never overlap.
    """
    columns = (labels > 0).any((0, 1))
    parts = [columns & (x > 0), columns & (x <= 0)]
    if columns[np.abs(x) < 4].any() or not all(part.any() for part in parts):
        parts = [columns]
    found = []
    for part in parts:
        used = np.flatnonzero(part)
        side = labels[:, :, used[0] : used[-1] + 1] > 0
        lines = (side.any((1, 2)), side.any((0, 2)), part)
        box = []
        for line, step in zip(lines, spacing, strict=True):
            places, margin = np.flatnonzero(line), int(np.ceil(REACH / step))
            box.append([max(0, places[0] - margin), min(len(line), places[-1] + 1 + margin)])
        found.append(box)
    if len(found) == 2:
        first, second = sorted((box[2] for box in found), key=lambda limits: limits[0])
        middle = int(np.abs(x).argmin())
        first[1], second[0] = min(first[1], middle), max(second[0], middle)
    return [tuple(slice(*limits) for limits in box) for box in found]


def _paint_perirenal_fat(rng: np.random.Generator, scene: Scene, box: tuple, distance: np.ndarray, hu: float) -> None:
    typical = np.exp(rng.uniform(np.log(1.5), np.log(18)))
    thickness = np.clip(typical * np.exp(0.5 * scene.texture(rng, 25.0, box)), *PERIRENAL_MM)
    # It never leaves the cavity, but for the rim that parts kidney from muscle.
    fat = np.maximum(distance - thickness, np.minimum(scene.cavity[box], distance - PERIRENAL_MM[0]))
    scene.paint(fat, hu + 8 * scene.texture(rng, 6.0, box), box)


def _paint_kidney(rng: np.random.Generator, scene: Scene, box: tuple, surface: np.ndarray, cortex: float) -> None:
    """Cortex, pyramids of medulla, fat of the sinus, and bright calyces or vessels."""
    scene.paint(surface, cortex + 4 * scene.texture(rng, 6.0, box), box)
    wavy = 3.0 * scene.texture(rng, 9.0, box)
    scene.paint(surface + rng.uniform(*CORTEX_MM) + wavy, cortex * rng.uniform(*MEDULLA), box)
    begins = rng.uniform(*SINUS_MM)
    scene.paint(surface + begins + 3.0 * scene.texture(rng, 12.0, box), rng.uniform(*SINUS), box)
    if rng.random() < BRIGHT_CHANCE:
        branches = 5.0 * (scene.texture(rng, 10.0, box) - rng.uniform(0.6, 1.4))
        scene.paint(np.maximum(surface + begins - 4, -branches), cortex + rng.uniform(*BRIGHT_ABOVE), box)


def _paint_cysts(rng: np.random.Generator, scene: Scene, box: tuple, room: np.ndarray, labels: np.ndarray) -> None:
    """Balls of fluid centred on kidney; ``room`` (mm, negative inside) keeps them in the kidney, out of the tumour."""
    count, places = rng.poisson(CYSTS / 2), np.argwhere(labels == KIDNEY)
    for _ in range(count if len(places) else 0):
        place = places[rng.integers(len(places))]
        z, y, x = (axis[part][index] for axis, part, index in zip(scene.axes, box, place, strict=True))
        ball = scene.distance(Ellipsoid(np.array([x, y, z]), np.full(3, rng.uniform(*CYST_MM)), np.eye(3)), box)
        scene.paint(np.maximum(ball, room), FLUID, box)


def _paint_tumour(
    rng: np.random.Generator, scene: Scene, box: tuple, distance: np.ndarray, millilitres: float, cortex: float
) -> None:
    """Solid tissue with texture, and in the middle of larger ones necrosis."""
    solid = max(TUMOUR_LOWEST, cortex + rng.uniform(*TUMOUR_ABOVE))
    scene.paint(distance, solid + rng.uniform(*TUMOUR_TEXTURE) * scene.texture(rng, 10.0, box), box)
    radius = 10 * (3 * millilitres / (4 * np.pi)) ** (1 / 3)
    if rng.random() < min(NECROSIS_CHANCE[1], radius / NECROSIS_CHANCE[0]):
        depth = -float(distance.min())
        core = distance + depth * (rng.uniform(0.25, 0.7) + 0.2 * scene.texture(rng, max(8.0, radius / 2), box))
        scene.paint(core, rng.uniform(*NECROSIS), box)

"""Paint CT around and inside a label map: a body is placed by its kidneys, then fat, kidneys and tumours are painted."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.ndimage import find_objects

from kitsnb.data.nifti import orientation_of, spacing_of
from kitsnb.preprocessing.resampling import reorient
from kitsnb.simulation import numbers
from kitsnb.simulation.body import Tissue, draw_tissue, paint_body, trunk_radius
from kitsnb.simulation.numbers import KIDNEY, TUMOUR
from kitsnb.simulation.scene import Box, Scene, signed_distance

#: How far around kidneys and tumours distances are worked out, in mm.
REACH = 24
#: What is smaller than this is no kidney, in ml; the least gap between two kidneys, in mm.
LEAST_ML, APART = 3, 30
#: Half of what a body may take, front to back and across, in mm of a patient of size 1.
BODY = (135, 180)


def paint(labels: np.ndarray, affine: np.ndarray, seed: int, number: int) -> np.ndarray:
    """Return HU (int16) of a simulated CT around and inside a label map (any three axes), in its shape.

    Depends on the labels, ``seed`` and ``number`` alone. Raises ValueError where there is no kidney, or nothing else.
    """
    check_labels(labels)
    rng = np.random.default_rng((seed, number))
    upright, turned = reorient(labels, affine)
    axes, size = patient_axes(upright, spacing_of(turned), rng)
    body = body_box(upright, axes, size)  # outside is air, where nothing need be painted
    inner = np.ascontiguousarray(upright[body])
    scene = Scene(rng, [axis[part] for axis, part in zip(axes, body, strict=True)], size)
    tissue = draw_tissue(rng)
    paint_body(scene, tissue)
    for box in kidney_boxes(inner, scene):
        paint_kidney(scene, box, inner[box], tissue)
    hu = np.full(upright.shape, numbers.AIR_HU, np.int16)
    hu[body] = scene.scan()
    return np.ascontiguousarray(reorient(hu, turned, orientation_of(affine))[0])


def check_labels(labels: np.ndarray) -> None:
    """Raise ValueError for a label map that nothing can be painted around."""
    if not (labels == KIDNEY).any():
        raise ValueError("holds no kidney (label 1)")
    if labels.all():
        raise ValueError("holds nothing but kidney and tumour; a label map needs background around them")


def patient_axes(
    labels: np.ndarray, spacing: np.ndarray, rng: np.random.Generator
) -> tuple[list[np.ndarray], float]:
    """Return where the voxels of ``labels`` (IPL) lie in the patient's frame, in mm, and the patient's size.

    The size (1: ordinary) is such that the abdominal cavity holds all of kidney and tumour.
    """
    axes = [step * ((n - 1) / 2 - np.arange(n)) for step, n in zip(spacing, labels.shape, strict=True)]
    z, y, x = axes
    kidney = labels == KIDNEY
    z = z - np.average(z, weights=kidney.sum((1, 2)))
    y = y - np.average(y, weights=kidney.sum((0, 2)))
    x = x - midline(labels, x, spacing)
    rows, columns = np.nonzero((labels > 0).any(0))
    needed = trunk_radius((y[rows] + numbers.KIDNEY_Y - 8) / numbers.ROOM_DEPTH, x[columns] / numbers.ROOM_WIDTH)
    size = np.clip(np.quantile(needed, 0.98), *numbers.PATIENT) * rng.uniform(1.0, 1.12)
    return [z, y + numbers.KIDNEY_Y * size, x], size


def midline(labels: np.ndarray, x: np.ndarray, spacing: np.ndarray) -> float:
    """Return x between both kidneys; in the middle of a horseshoe; at the usual distance from a kidney alone.

    A kidney alone says its side by where it lies in the field of view, as that is centred on the patient.
    """
    columns = (labels > 0).sum((0, 1)) * np.prod(spacing) / 1000  # ml
    below = np.cumsum(columns)
    used = np.flatnonzero(columns)
    widest = APART
    middle = None
    for left, right in pairwise(used):
        gap = abs(x[right] - x[left])
        if gap > widest and below[left] > LEAST_ML and below[-1] - below[left] > LEAST_ML:
            widest = gap
            middle = (x[left] + x[right]) / 2
    if middle is not None:
        return middle
    first, last = x[used[[0, -1]]]
    if min(first, -last) > APART:
        return (first + last) / 2
    alone = np.average(x, weights=columns)
    return alone - numbers.KIDNEY_X * (1 if alone >= 0 else -1)


def body_box(labels: np.ndarray, axes: list[np.ndarray], size: float) -> Box:
    """Return the box of voxels that a body may take, and all of kidney and tumour."""
    box = [slice(0, labels.shape[0])]
    for half, axis, part in zip(BODY, axes[1:], bounds(labels > 0)[1:], strict=True):
        within = np.flatnonzero(np.abs(axis) <= half * size)
        box.append(slice(min(part.start, within[0]), max(part.stop, within[-1] + 1)))
    return tuple(box)


def bounds(mask: np.ndarray, margin: Sequence[float] = (0, 0, 0)) -> Box:
    """Return the box around ``mask``, wider by ``margin`` voxels on each side, as far as the array goes."""
    box = []
    for part, more, length in zip(find_objects(mask.astype(np.uint8))[0], margin, mask.shape, strict=True):
        more = int(np.ceil(more))
        box.append(slice(max(0, part.start - more), min(length, part.stop + more)))
    return tuple(box)


def kidney_boxes(labels: np.ndarray, scene: Scene) -> list[Box]:
    """Return a box around what lies on each side of the midline, wider by ``REACH`` mm but not across it."""
    middle = int((scene.axes[2] > 0).sum())
    boxes = []
    for start, stop in ((0, middle), (middle, labels.shape[2])):
        half = labels[:, :, start:stop] > 0
        if half.any():
            z, y, x = bounds(half, REACH / scene.spacing)
            boxes.append((z, y, slice(start + x.start, start + x.stop)))
    return boxes


def paint_kidney(scene: Scene, box: Box, labels: np.ndarray, tissue: Tissue) -> None:
    """Paint fat around what one box holds, then cortex, medulla, sinus with calyces, cysts and tumours inside."""
    rng = scene.rng
    distance = signed_distance(labels > 0, scene.spacing)
    paint_fat(scene, box, distance, tissue)
    surface = distance + numbers.INSET_MM.draw(rng)
    scene.paint(surface, tissue["cortex"] + 4 * scene.fine[box], box)
    sinus = surface + numbers.SINUS_MM.draw(rng) + 3 * scene.noise(12, box)
    pyramids = surface + numbers.CORTEX_MM.draw(rng) + 3 * scene.noise(9, box)
    scene.paint(np.maximum(pyramids, 2 - sinus), tissue["medulla"], box)
    scene.paint(sinus, numbers.SINUS_HU.draw(rng), box)
    if rng.random() < numbers.CALYCES:
        branches = scene.strands(10, rng.uniform(2, 5), box)
        bright = max(numbers.FLUID_HU, tissue["cortex"] + numbers.CALYX_HU.draw(rng))
        scene.paint(np.maximum(sinus - 4, branches), bright, box)
    places = np.argwhere(labels == KIDNEY)
    for _ in range(rng.poisson(numbers.CYSTS) if len(places) else 0):
        place = [axis[part][at] for axis, part, at in zip(scene.axes, box, rng.choice(places), strict=True)]
        radius = numbers.CYST_MM.draw(rng)
        z, y, x = (c[box] - at for c, at in zip((scene.z, scene.y, scene.x), place, strict=True))
        scene.paint(np.maximum(np.sqrt(z * z + y * y + x * x) - radius, surface), numbers.FLUID_HU, box)
    if (labels == TUMOUR).any():
        paint_tumour(scene, box, labels == TUMOUR, tissue)


def paint_fat(scene: Scene, box: Box, distance: np.ndarray, tissue: Tissue) -> None:
    """Paint fat of varying thickness around kidneys and tumours; beyond the cavity only a rim before the muscle."""
    thickness = np.exp(numbers.FAT_LOG_MM.draw(scene.rng) + numbers.FAT_SPREAD * scene.noise(25, box))
    room = np.minimum(scene.cavity[box], distance - 0.5)
    scene.paint(np.maximum(distance - thickness, room), tissue["fat"] + 8 * scene.fine[box], box)


def paint_tumour(scene: Scene, box: Box, tumour: np.ndarray, tissue: Tissue) -> None:
    """Paint solid tissue with texture, and necrosis in larger tumours."""
    rng = scene.rng
    inner = bounds(tumour, (2, 2, 2))
    box = tuple(slice(a.start + b.start, a.start + b.stop) for a, b in zip(box, inner, strict=True))
    distance = signed_distance(tumour[inner], scene.spacing)
    depth = -distance.min()
    texture = numbers.TUMOUR_TEXTURE.draw(rng) * scene.noise(10, box)
    scene.paint(distance, tissue["tumour"] + texture, box)
    radius = (0.24 * tumour.sum() * np.prod(scene.spacing)) ** (1 / 3)
    if rng.random() < min(0.85, radius / numbers.NECROSIS_MM):
        core = distance + depth * (numbers.NECROSIS_DEPTH.draw(rng) + 0.1 * scene.noise(12, box))
        scene.paint(core, numbers.NECROSIS_HU.draw(rng), box)

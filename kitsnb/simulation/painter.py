"""Paint CT around and inside a label map: a body is placed by its kidneys, then fat, kidneys and tumours are painted."""

import numpy as np
from numpy import ndarray

from kitsnb.data.nifti import orientation_of, spacing_of
from kitsnb.preprocessing.resampling import reorient
from kitsnb.simulation import numbers
from kitsnb.simulation.body import draw_tissue, paint_body, trunk_radius
from kitsnb.simulation.scene import Box, Scene, bounds, signed_distance

KIDNEY, TUMOUR = 1, 2
#: How far around kidneys and tumours distances are worked out, in mm.
REACH = 24
#: With less on one side of the field of view, in ml, the patient has the other kidney alone.
LEAST_ML = 10
#: Half of what a body may take (forward, right), in mm of a patient of size 1.
BODY = (135, 180)


def paint(labels: ndarray, affine: ndarray, seed: int, number: int) -> ndarray:
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
    scene.tissue = draw_tissue(rng)
    paint_body(scene)
    for box in kidney_boxes(inner, scene):
        paint_kidney(scene, box, inner[box])
    hu = np.full(upright.shape, numbers.AIR_HU, np.int16)
    hu[body] = scene.scan()
    return np.ascontiguousarray(reorient(hu, turned, orientation_of(affine))[0])


def check_labels(labels: ndarray) -> None:
    """Raise ValueError for a label map that nothing can be painted around."""
    if not (labels == KIDNEY).any():
        raise ValueError("holds no kidney (label 1)")
    if labels.all():
        raise ValueError("holds nothing but kidney and tumour; a label map needs background around them")


def patient_axes(
    labels: ndarray, spacing: ndarray, rng: np.random.Generator
) -> tuple[list[ndarray], float]:
    """Return where the voxels of ``labels`` (IPL) lie in the patient's frame, in mm, and the patient's size.

    The size (1: ordinary) is such that the abdominal cavity holds all of kidney and tumour.
    """
    z, y, x = (step * ((n - 1) / 2 - np.arange(n)) for step, n in zip(spacing, labels.shape, strict=True))
    kidney = labels == KIDNEY
    z = z - np.average(z, weights=kidney.sum((1, 2)))
    y = y - np.average(y, weights=kidney.sum((0, 2)))
    x = x - midline(kidney.sum((0, 1)) * np.prod(spacing) / 1000, x)
    rows, columns = np.nonzero((labels > 0).any(0))
    forward = y[rows] + numbers.PLACE[1] - 8
    needed = trunk_radius(forward / numbers.ROOM[0], x[columns] / numbers.ROOM[1])
    size = np.clip(np.quantile(needed, 0.98), *numbers.PATIENT) * rng.uniform(1, 1.12)
    return [z, y + numbers.PLACE[1] * size, x], size


def midline(ml: ndarray, x: ndarray) -> float:
    """Return x between two kidneys, or at the usual distance from one alone; ``ml`` of kidney lie at each ``x``.

    Sides are those of the field of view, as that is centred on the patient.
    """
    right = (x > 0) & (ml > 0)
    left = (x <= 0) & (ml > 0)
    if min(ml[right].sum(), ml[left].sum()) > LEAST_ML:
        return (x[right].min() + x[left].max()) / 2
    alone = np.average(x, weights=ml)
    return alone - np.copysign(numbers.PLACE[2], alone)


def body_box(labels: ndarray, axes: list[ndarray], size: float) -> Box:
    """Return the box of voxels that a body may take, and all of kidney and tumour."""
    box = [slice(0, labels.shape[0])]
    for half, axis, part in zip(BODY, axes[1:], bounds(labels > 0, (0, 0, 0))[1:], strict=True):
        within = np.flatnonzero(np.abs(axis) <= half * size)
        box.append(slice(min(part.start, within[0]), max(part.stop, within[-1] + 1)))
    return tuple(box)


def kidney_boxes(labels: ndarray, scene: Scene) -> list[Box]:
    """Return a box around what lies on each side of the midline, wider by ``REACH`` mm but not across it."""
    middle = int((scene.axes[2] > 0).sum())
    boxes = []
    for start, stop in ((0, middle), (middle, labels.shape[2])):
        half = labels[:, :, start:stop] > 0
        if half.any():
            z, y, x = bounds(half, REACH / scene.spacing)
            boxes.append((z, y, slice(start + x.start, start + x.stop)))
    return boxes


def paint_kidney(scene: Scene, box: Box, labels: ndarray) -> None:
    """Paint fat around what one box holds, then cortex, pyramids, sinus with calyces, cysts and tumours inside."""
    rng = scene.rng
    distance = signed_distance(labels > 0, scene.spacing)
    thickness = np.exp(numbers.FAT_LOG_MM.draw(rng) + numbers.FAT_SPREAD * scene.noise(25, box))
    room = np.minimum(scene.cavity[box], distance - 0.5)  # between kidney and muscle only a rim of fat
    scene.paint(np.maximum(distance - thickness, room), "fat", box)
    surface = distance + numbers.INSET_MM.draw(rng)
    scene.paint(surface, "cortex", box)
    columns = 5 * (scene.noise(8, box) - numbers.PYRAMIDS)  # of cortex, between the pyramids
    pyramids = surface + numbers.CORTEX_MM.draw(rng) + 2 * scene.fine[box]
    scene.paint(np.maximum(pyramids, columns), "medulla", box)
    sinus = surface + numbers.SINUS_MM.draw(rng) + 3 * scene.noise(12, box)
    scene.paint(sinus, "sinus", box)
    if rng.random() < numbers.CALYCES:
        scene.paint(np.maximum(sinus - 4, scene.strands(10, rng.uniform(2, 5), box)), "calyx", box)
    cysts = 12 * (numbers.CYSTS - scene.noise(15, box))
    scene.paint(np.maximum(surface, cysts), "fluid", box)
    tumour = labels == TUMOUR
    if tumour.any():
        inner = bounds(tumour, (2, 2, 2))
        part = [slice(whole.start + cut.start, whole.start + cut.stop) for whole, cut in zip(box, inner)]
        paint_tumour(scene, tuple(part), tumour[inner])


def paint_tumour(scene: Scene, box: Box, tumour: ndarray) -> None:
    """Paint solid tissue with texture, and necrosis in larger tumours."""
    rng = scene.rng
    distance = signed_distance(tumour, scene.spacing)
    texture = scene.noise(10, box) + 0.8 * scene.fine[box]
    scene.paint(distance, scene.tissue["tumour"] + numbers.TUMOUR_TEXTURE.draw(rng) * texture, box)
    radius = (0.24 * tumour.sum() * np.prod(scene.spacing)) ** (1 / 3)
    if rng.random() < min(0.85, radius / numbers.NECROSIS_MM):
        begins = numbers.NECROSIS_DEPTH.draw(rng) + 0.15 * scene.noise(12, box)
        scene.paint(distance - distance.min() * begins, "necrosis", box)

"""Paint CT around and inside a label map: a body placed by its kidneys, then fat, kidneys and tumours."""

import numpy as np
from numpy import ndarray

from kitsnb.data.geometry import orientation_of, spacing_of
from kitsnb.preprocessing.resampling import reorient
from kitsnb.simulation import body, numbers
from kitsnb.simulation.scene import Scene, both, bounds, centred_axes, either, signed_distance

KIDNEY = 1
TUMOUR = 2


def paint(labels: ndarray, affine: ndarray, seed: int, number: int) -> ndarray:
    """Return HU (int16) of a simulated CT around and inside a label map (any three axes), in its shape.

    Depends on the labels, ``seed`` and ``number`` alone. Raises ValueError where there is no kidney, or nothing else.
    """
    if not (labels == KIDNEY).any() or labels.all():
        raise ValueError("holds no kidney (label 1), or nothing else")
    rng = np.random.default_rng((seed, number))
    upright, turned = reorient(labels, affine)
    axes, size = patient_axes(upright, spacing_of(turned))
    scene = Scene(rng, axes, size)
    scene.tissue = body.draw_tissue(rng)
    body.paint_wall(scene)
    body.paint_spine(scene)
    body.paint_lungs(scene)
    body.paint_gut(scene)
    body.paint_organs(scene)
    paint_kidneys(scene, upright)
    imaging, _ = reorient(scene.scan(), turned, orientation_of(affine))
    return np.ascontiguousarray(imaging)


def patient_axes(labels: ndarray, spacing: ndarray) -> tuple[list[ndarray], float]:
    """Return where voxels of ``labels`` (IPL) lie in the patient's frame (mm), and a size that gives kidneys room."""
    z, y, x = centred_axes(labels.shape, spacing)
    kidney = labels == KIDNEY
    z -= np.average(z, weights=kidney.sum((1, 2)))
    y -= np.average(y, weights=kidney.sum((0, 2)))
    ml = kidney.sum((0, 1)) * np.prod(spacing) / 1000
    x -= midline(ml, x)
    rows, columns = np.nonzero((labels > 0).any(0))
    forward = y[rows] + numbers.PLACE[1] - 8
    depth, width = numbers.ROOM
    needed = body.trunk_radius(forward / depth, x[columns] / width)
    size = float(np.quantile(needed, 0.98).clip(*numbers.PATIENT))
    return [z, y + numbers.PLACE[1] * size, x], size


def midline(ml: ndarray, x: ndarray) -> float:
    """Return x between two kidneys, or at the usual distance from one alone; ``ml`` of kidney lie at each ``x``."""
    right = (x > 0) & (ml > 0)  # of the field of view, which is centred on the patient
    left = (x <= 0) & (ml > 0)
    smaller = min(ml[right].sum(), ml[left].sum())
    if smaller > 10:
        return (x[right].min() + x[left].max()) / 2
    alone = np.average(x, weights=ml)
    return alone - np.copysign(numbers.PLACE[2], alone)


def paint_kidneys(scene: Scene, labels: ndarray) -> None:
    """Paint the fat around kidneys and tumours, then cortex, pyramids, sinus with calyces, cysts and tumours."""
    box = bounds(labels > 0, numbers.FAT_MM[1] / scene.spacing)
    part = scene.cut(box)
    distance = signed_distance(labels[box] > 0, scene.spacing)
    usual = part.draw(numbers.FAT_MM)
    thickness = usual * np.exp(numbers.FAT_SPREAD * part.noise(25))
    room = either(part.cavity, distance - 0.5)  # between kidney and muscle only a rim of fat
    part.paint(both(distance - thickness, room), "fat")
    surface = distance + part.draw(numbers.INSET_MM)
    part.paint(surface, "cortex")
    columns = 7 * (part.noise(7) - numbers.PYRAMIDS)  # of cortex, between the pyramids
    pyramids = surface + part.draw(numbers.CORTEX_MM) + 2 * part.fine
    part.paint(both(pyramids, columns), "medulla")
    sinus = surface + part.draw(numbers.SINUS_MM) + 3 * part.noise(12)
    part.paint(sinus, "sinus")
    calyces = part.strands(12, part.draw(numbers.CALYX_MM))
    part.paint(both(sinus - 4, calyces), "calyx")
    cysts = 12 * (numbers.CYSTS - part.noise(15))
    part.paint(both(surface, cysts), "fluid")
    if (labels == TUMOUR).any():
        paint_tumour(scene, labels == TUMOUR)


def paint_tumour(scene: Scene, tumour: ndarray) -> None:
    """Paint solid tissue with texture, and necrosis in larger tumours."""
    box = bounds(tumour, (2, 2, 2))
    part = scene.cut(box)
    distance = signed_distance(tumour[box], scene.spacing)
    amount = part.draw(numbers.TUMOUR_TEXTURE)
    texture = amount * (part.noise(10) + part.fine)
    part.paint(distance, scene.tissue["tumour"] + texture)
    radius = np.cbrt(0.24 * tumour.sum() * np.prod(scene.spacing))
    if part.rng.random() < radius / numbers.NECROSIS_MM:
        begins = part.draw(numbers.NECROSIS_DEPTH) + 0.15 * part.noise(12)
        part.paint(distance - distance.min() * begins, "necrosis")

"""Paint CT around and inside a label map: a body placed by its kidneys, then fat, kidneys and tumours."""

import numpy as np
from numpy import ndarray

from kitsnb.data.geometry import orientation_of, spacing_of
from kitsnb.preprocessing.resampling import reorient
from kitsnb.simulation import body, numbers
from kitsnb.simulation.scene import Scene, bounds, signed_distance

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
    for part in (body.paint_wall, body.paint_spine, body.paint_lungs, body.paint_gut, body.paint_organs):
        part(scene)
    paint_kidneys(scene, upright)
    return np.ascontiguousarray(reorient(scene.scan(), turned, orientation_of(affine))[0])


def patient_axes(labels: ndarray, spacing: ndarray) -> tuple[list[ndarray], float]:
    """Return where voxels of ``labels`` (IPL) lie in the patient's frame (mm), and a size that gives kidneys room."""
    z, y, x = (step * ((n - 1) / 2 - np.arange(n)) for step, n in zip(spacing, labels.shape, strict=True))
    kidney = labels == KIDNEY
    z = z - np.average(z, weights=kidney.sum((1, 2)))
    y = y - np.average(y, weights=kidney.sum((0, 2)))
    x = x - midline(kidney.sum((0, 1)) * np.prod(spacing) / 1000, x)
    rows, columns = np.nonzero((labels > 0).any(0))
    forward = y[rows] + numbers.PLACE[1] - 8
    needed = body.trunk_radius(forward / numbers.ROOM[0], x[columns] / numbers.ROOM[1])
    size = float(np.clip(np.quantile(needed, 0.98), *numbers.PATIENT))
    return [z, y + numbers.PLACE[1] * size, x], size


def midline(ml: ndarray, x: ndarray) -> float:
    """Return x between two kidneys, or at the usual distance from one alone; ``ml`` of kidney lie at each ``x``."""
    right = (x > 0) & (ml > 0)  # of the field of view, which is centred on the patient
    left = (x <= 0) & (ml > 0)
    if min(ml[right].sum(), ml[left].sum()) > 10:
        return (x[right].min() + x[left].max()) / 2
    alone = np.average(x, weights=ml)
    return alone - np.copysign(numbers.PLACE[2], alone)


def paint_kidneys(scene: Scene, labels: ndarray) -> None:
    """Paint the fat around kidneys and tumours, then cortex, pyramids, sinus with calyces, cysts and tumours."""
    box = bounds(labels > 0, numbers.FAT_MM.high / scene.spacing)
    distance = signed_distance(labels[box] > 0, scene.spacing)
    thickness = scene.rng.uniform(*numbers.FAT_MM) * np.exp(numbers.FAT_SPREAD * scene.noise(25, box))
    room = np.minimum(scene.cavity[box], distance - 0.5)  # between kidney and muscle only a rim of fat
    scene.paint(np.maximum(distance - thickness, room), "fat", box)
    surface = distance + scene.rng.uniform(*numbers.INSET_MM)
    scene.paint(surface, "cortex", box)
    columns = 7 * (scene.noise(7, box) - numbers.PYRAMIDS)  # of cortex, between the pyramids
    pyramids = surface + scene.rng.uniform(*numbers.CORTEX_MM) + 2 * scene.fine[box]
    scene.paint(np.maximum(pyramids, columns), "medulla", box)
    sinus = surface + scene.rng.uniform(*numbers.SINUS_MM) + 3 * scene.noise(12, box)
    scene.paint(sinus, "sinus", box)
    calyces = scene.strands(12, scene.rng.uniform(*numbers.CALYX_MM), box)
    scene.paint(np.maximum(sinus - 4, calyces), "calyx", box)
    cysts = 12 * (numbers.CYSTS - scene.noise(15, box))
    scene.paint(np.maximum(surface, cysts), "fluid", box)
    if (labels == TUMOUR).any():
        paint_tumour(scene, labels == TUMOUR)


def paint_tumour(scene: Scene, tumour: ndarray) -> None:
    """Paint solid tissue with texture, and necrosis in larger tumours."""
    box = bounds(tumour, (2, 2, 2))
    distance = signed_distance(tumour[box], scene.spacing)
    texture = scene.rng.uniform(*numbers.TUMOUR_TEXTURE) * (scene.noise(10, box) + scene.fine[box])
    scene.paint(distance, scene.tissue["tumour"] + texture, box)
    radius = np.cbrt(0.24 * tumour.sum() * np.prod(scene.spacing))
    if scene.rng.random() < radius / numbers.NECROSIS_MM:
        begins = scene.rng.uniform(*numbers.NECROSIS_DEPTH) + 0.15 * scene.noise(12, box)
        scene.paint(distance - distance.min() * begins, "necrosis", box)

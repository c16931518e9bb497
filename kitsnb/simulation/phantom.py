"""Phantoms: a procedural label map of two kidneys and a tumour, which the painter paints like a real one."""

from typing import NamedTuple

import numpy as np

from kitsnb.preprocessing.resampling import reorient
from kitsnb.simulation import numbers
from kitsnb.simulation.painter import KIDNEY, TUMOUR, paint
from kitsnb.simulation.scene import Scene, centred_axes, ellipsoid


class Simulated(NamedTuple):
    """A simulated case: HU (int16) and labels (uint8) of one shape, and their affine (voxel index to mm)."""

    imaging: np.ndarray
    segmentation: np.ndarray
    affine: np.ndarray


def simulate_case(seed: int, number: int) -> Simulated:
    """Simulate case ``number`` of the data set of ``seed``; it depends on nothing else."""
    rng = np.random.default_rng((seed, number, 1))  # the painter draws from (seed, number)
    labels, affine = draw_labels(rng)
    wanted = str(rng.choice(["IPL"] * 10 + ["LPS", "RAS"]))  # the last two, so that code which relies on an axis fails
    imaging, _ = reorient(paint(labels, affine, seed, number), affine, wanted)
    labels, affine = reorient(labels, affine, wanted)
    return Simulated(np.ascontiguousarray(imaging), np.ascontiguousarray(labels), affine)


def draw_labels(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a label map (uint8, axes IPL) and its affine."""
    size = rng.uniform(*numbers.PHANTOM)
    pixel = rng.uniform(*numbers.PIXEL_MM)
    spacing = np.array([rng.uniform(*numbers.SLICE_MM), pixel, pixel])
    field = size * rng.uniform(0.95, 1.06, 3) * numbers.FIELD_MM
    shape = np.round(field / spacing).astype(int)
    scene = Scene(rng, centred_axes(shape, spacing), size)
    labels = np.zeros(shape, np.uint8)
    ill = rng.choice((-1, 1))
    for side in (-1, 1):
        draw_kidney(scene, labels, side, side == ill)
    affine = np.diag([0.0, 0.0, 0.0, 1.0])
    affine[[2, 1, 0], [0, 1, 2]] = -spacing
    affine[:3, 3] = rng.uniform(-250, 250, 3).round(1)
    return labels, affine


def draw_kidney(scene: Scene, labels: np.ndarray, side: int, ill: bool) -> None:
    """Draw the right kidney (``side`` 1) or the left one (-1) into ``labels``; where it is ``ill``, with a tumour."""
    up, forward, right = scene.rng.normal(numbers.PLACE, (6, 4, 4))
    z, y, x = scene.places
    z = z - up + 6 * side  # the right one lies lower
    y = y - forward + 0.15 * z  # upper poles lean backwards
    x = side * x - right + 0.2 * z  # and towards the spine
    radii = np.array([scene.draw(half) for half in numbers.KIDNEY_RADII])
    kidney = ellipsoid(z, y, x, radii)
    hilum = ellipsoid(z, y - 5, x + 17, radii * (0.42, 0.42, 0.62))  # opens towards the spine
    labels[(kidney < 0) & (hilum > 0)] = KIDNEY
    if ill:
        radius = scene.draw(numbers.TUMOUR_MM)
        way = scene.rng.normal(0, (0.5, 1, 1))
        way[2] = abs(way[2]) + 0.5  # away from the spine
        depth = scene.rng.uniform(-0.1, 0.6) * radius
        z0, y0, x0 = way / np.linalg.norm(way) * (radii - depth)
        halves = radius * scene.rng.uniform(0.88, 1.12, 3)
        tumour = ellipsoid(z - z0, y - y0, x - x0, halves)
        tumour += 0.07 * radius * scene.noise(max(radius, 18) / 1.5)  # lobes
        labels[tumour < 0] = TUMOUR

"""Hybrid cases: real label maps of KiTS19 with simulated CT around and inside them, in KiTS19's folder format.

For those who have the labels (65 MB) but not the CT (about 28 GB): kidneys and tumours keep their real shapes, and no
voxel of the image is a patient's. A label map is brought to a working spacing in its whole field of view, and a body
is painted by ``trunk``, ``belly`` and ``tissue``, in a patient's frame that is placed by the kidneys themselves.
"""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import find_objects

from kitsnb.data.cases import Case, discover, for_each_case
from kitsnb.data.checks import Accept, read_case
from kitsnb.data.nifti import CaseError, orientation_of, spacing_of, write_nifti
from kitsnb.files import RECEIPT, code_of, file_state, read_receipt, write_receipt
from kitsnb.preprocessing.resampling import grid_size, reorient, resize, resized_affine
from kitsnb.simulation import belly, organs, scene, tissue, trunk
from kitsnb.simulation.organs import NUMBER
from kitsnb.simulation.scene import KIDNEY, TUMOUR, Box, Ellipsoid, Scene, scan, signed_distance

#: The paper's working spacing in mm (slice, height, width), on which the ranges of HU were set.
SPACING = (3.22, 1.62, 1.62)
#: The scanner's point spread: least and greatest sigma in mm (slice, height, width), by slice thickness and kernel.
POINT_SPREAD = ((1.3, 0.6, 0.6), (2.4, 1.2, 1.2))
#: Noise: lowest and highest SD in HU, and its correlation (sigma in mm).
NOISE, NOISE_MM = (6.0, 15.0), (1.6, 1.0, 1.0)
#: How often there are streaks, and their SD in HU.
STREAKED, STREAKS = 0.15, (4.0, 10.0)
#: How often a kidney holds a stone, its radius in mm and its HU.
STONES, STONE_MM, STONE_HU = 0.04, (2.0, 6.0), (300.0, 1200.0)
#: Width in mm of a painted surface; the point spread softens it further.
SOFTNESS = 0.5
#: How far inside the label the organ's surface lies, in mm: annotators draw generously, hence the foreground's fat.
INSET_MM = (0.0, 0.8)
#: Depth below the surface, in mm, where the sinus begins, so that only plump labels hold any.
SINUS_MM = (11.0, 17.0)
#: HU of bright calyces or vessels above the cortex's.
BRIGHT_ABOVE = (100.0, 420.0)
#: Half of the body's extent with table and arms, front to back and across, in mm of a patient of size 1.
BODY = (150.0, 215.0)
#: How far beyond kidney and tumour distances are worked out, in mm.
REACH = 28.0
#: Where the phantom's kidneys lie in the patient's frame, in mm: x of the right one, y of both.
KIDNEY_X, KIDNEY_Y = 64.0, -27.0
#: Half-axes in mm, across and front to back, of the room that the phantom's body gives to kidneys at least.
ROOM = (118.0, 74.0)
#: Size of the patient over the phantom's: the least and the most.
SIZE = (0.9, 1.45)
#: What is smaller than this is no kidney, in ml; the gap between two kidneys in mm, at least.
LEAST_ML, APART = 3.0, 30.0


def simulate_imaging(
    segmentation: np.ndarray, affine: np.ndarray, seed: int, number: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """HU (int16) and organs (uint8) of a simulated CT around a label map [any three axes], in its shape.

    Depends on the labels, ``seed`` and the case's ``number`` alone. Raises ValueError where there is neither kidney nor
    tumour, or nothing else.
    """
    labels, upright = reorient(segmentation, affine)
    labels = np.ascontiguousarray(labels)
    rng, spacing = np.random.default_rng((seed, number)), spacing_of(upright)
    axes, size = patient_axes(labels, spacing)
    size *= rng.uniform(1.0, 1.12)
    body = _body(labels, axes, size)  # what lies outside is air: nothing is painted there, which saves half of the time
    painted = Scene(rng, tuple(axis[part] / size for axis, part in zip(axes, body, strict=True)), SOFTNESS)
    phase = tissue.draw_phase(rng, tissue.HYBRID)
    trunk.paint_trunk(painted, phase.aorta)
    belly.paint_belly(painted, tissue.HYBRID, phase)
    inset = rng.uniform(*INSET_MM)
    for box in groups(labels[body], painted.axes[2], spacing):
        _paint_group(painted, box, labels[body][box], spacing, inset, phase)
    imaging, organs = np.full(labels.shape, -1000, np.int16), np.zeros(labels.shape, np.uint8)
    streaks = STREAKS if rng.random() < STREAKED else None
    imaging[body] = scan(painted, rng.uniform(*POINT_SPREAD) / spacing, NOISE_MM / spacing, NOISE, streaks)
    organs[body] = painted.organs
    turned = (reorient(part, upright, orientation_of(affine))[0] for part in (imaging, organs))
    return tuple(np.ascontiguousarray(part) for part in turned)


def _body(labels: np.ndarray, axes: tuple[np.ndarray, ...], size: float) -> Box:
    """Box of voxels that a body of this ``size`` with its table and arms may take, and all of kidney and tumour."""
    corners = ((-1e4, 1e4), (-BODY[0] * size, BODY[0] * size), (-BODY[1] * size, BODY[1] * size))
    foreground = find_objects((labels > 0).view(np.uint8))[0]
    box = []
    for axis, (low, high), part in zip(axes, corners, foreground, strict=True):
        within = np.flatnonzero((axis >= low) & (axis <= high))
        box.append(slice(min(part.start, within[0]), max(part.stop, within[-1] + 1)))
    return tuple(box)


def _paint_group(
    scene: Scene, box: Box, labels: np.ndarray, spacing: np.ndarray, inset: float, phase: tissue.Phase
) -> None:
    """Kidney and tumour of one box, of these ``labels``, and the fat around; the surface lies ``inset`` mm inside."""
    _check(labels)
    rng, tumour = scene.rng, labels == TUMOUR
    distance = signed_distance(labels > 0, spacing)
    tissue.paint_fat(scene, tissue.HYBRID, box, distance)
    surface, begins = distance + inset, rng.uniform(*SINUS_MM)
    tissue.paint_kidney(scene, tissue.HYBRID, box, surface, scene.textured(surface + begins, 3.0, 12.0, box), phase)
    if rng.random() < tissue.HYBRID.bright:
        branches = 5.0 * (scene.texture(10.0, box) - rng.uniform(0.6, 1.4))
        bright = phase.cortex + rng.uniform(*BRIGHT_ABOVE) if phase.enhanced else tissue.FLUID
        scene.paint(np.maximum(surface + begins - 4, -branches), bright, box, organ=NUMBER["calyx"])
    beyond = signed_distance(tumour, spacing) if tumour.any() else np.full(labels.shape, REACH, np.float32)
    places = np.argwhere(labels == KIDNEY)
    for _ in range(rng.poisson(tissue.CYSTS) if len(places) else 0):
        inside = np.maximum.reduce([_ball(scene, box, places, tissue.CYST_MM), surface, 1 - beyond])
        scene.paint(inside, tissue.FLUID, box, organ=NUMBER["cyst"])  # in the kidney, out of the tumour
    if len(places) and rng.random() < STONES:
        stone = np.maximum(_ball(scene, box, places, STONE_MM), surface + 3)
        scene.paint(stone, rng.uniform(*STONE_HU), box, organ=NUMBER["stone"])
    if tumour.any():
        radius = (3 * tumour.sum() * np.prod(spacing) / (4 * np.pi)) ** (1 / 3)
        inside = np.maximum(beyond, surface)
        tissue.paint_tumour(scene, tissue.HYBRID, box, inside, radius, -float(inside.min()), phase)


def _ball(scene: Scene, box: Box, places: np.ndarray, radii: tuple[float, float]) -> np.ndarray:
    """Distance to a ball at one of ``places`` (voxels of ``box``), its radius between the two of ``radii`` (mm)."""
    place = places[scene.rng.integers(len(places))]
    centre = np.array([axis[part][index] for axis, part, index in zip(scene.axes, box, place, strict=True)])
    return scene.distance(Ellipsoid(centre[::-1], np.full(3, scene.rng.uniform(*radii))), box)


def _check(labels: np.ndarray) -> None:
    if not labels.any():
        raise ValueError("holds neither kidney nor tumour")
    if labels.all():
        raise ValueError("holds nothing but kidney and tumour; a label map needs background around them")


def patient_axes(labels: np.ndarray, spacing: np.ndarray) -> tuple[tuple[np.ndarray, ...], float]:
    """Where the voxels of ``labels`` (axes IPL) lie in the patient's frame, in mm (z, y, x), and the patient's size.

    The midline lies between the kidneys; where there is one, beside it; kidneys are at the phantom's height and depth.
    The size (1: the phantom's) is such that the abdominal cavity holds all of kidney and tumour.
    """
    _check(labels)
    axes = [step * ((n - 1) / 2 - np.arange(n)) for step, n in zip(spacing, labels.shape, strict=True)]
    kidney = labels == KIDNEY if (labels == KIDNEY).any() else labels > 0
    z, y, x = (np.average(axis, weights=kidney.sum(others))
               for axis, others in zip(axes, ((1, 2), (0, 2), (0, 1)), strict=True))
    axes[0], axes[2] = axes[0] - z, axes[2] - _midline(labels, axes[2], spacing, x)
    shadow = np.argwhere((labels > 0).any(0))
    depth, width = axes[1][shadow[:, 0]] - y + KIDNEY_Y, axes[2][shadow[:, 1]]
    needed = (np.abs(width / ROOM[0]) ** 2.5 + np.abs((depth - 8) / ROOM[1]) ** 2.5) ** 0.4  # as in paint_body
    size = float(np.clip(np.quantile(needed, 0.98), *SIZE))
    axes[1] = axes[1] - y + KIDNEY_Y * size
    return tuple(axes), size


def _midline(labels: np.ndarray, x: np.ndarray, spacing: np.ndarray, middle: float) -> float:
    """x between both kidneys' inner borders; in the middle of a horseshoe; at the usual distance from a kidney alone.

    A kidney alone, whose centre is ``middle``, says its side by where it lies in the field of view, as that is centred
    on the patient.
    """
    millilitres = (labels > 0).sum((0, 1)) * np.prod(spacing) / 1000
    enough = (np.cumsum(millilitres) > LEAST_ML) & (np.cumsum(millilitres[::-1])[::-1] > LEAST_ML)
    used = np.flatnonzero(millilitres)
    gaps = [(right - left, x[[left, right]].mean()) for left, right in pairwise(used) if enough[left] and enough[right]]
    if gaps and max(gaps)[0] * spacing[2] > APART:
        return float(max(gaps)[1])
    first, last = x[used[[0, -1]]]
    if min(first, -last) > APART:
        return float(first + last) / 2
    return float(middle - np.sign(middle or 1) * KIDNEY_X)


def groups(labels: np.ndarray, x: np.ndarray, spacing: np.ndarray) -> list[Box]:
    """Boxes around the kidneys, ``REACH`` mm wider than these: one a side of the midline (x = 0), or one for both.

    One holds both where foreground crosses the midline, as in a horseshoe kidney. Boxes never overlap.
    """
    foreground, right = labels > 0, x > 0
    if foreground.any((0, 1))[np.abs(x) < 4].any():
        right[:] = True
    boxes = [box for box in find_objects(foreground * np.where(right, 1, 2).astype(np.uint8)) if box]
    middle = right.sum() if len(boxes) == 2 else 0
    found = []
    for box in boxes:
        wide = _wider(box, REACH / spacing, labels.shape)
        limits = (0, middle) if box[2].start < middle else (middle, len(x))
        found.append((*wide[:2], slice(max(wide[2].start, limits[0]), min(wide[2].stop, limits[1]))))
    return found


def _wider(box: Box, margin: np.ndarray, shape: Sequence[int]) -> Box:
    """``box`` with so many voxels more on each side, as far as the volume goes."""
    more = np.ceil(margin).astype(int)
    return tuple(slice(max(0, s.start - m), min(n, s.stop + m)) for s, m, n in zip(box, more, shape, strict=True))


def labels_on_grid(
    segmentation: np.ndarray, affine: np.ndarray, spacing: Sequence[float] = SPACING,
    margin: Sequence[float] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """``segmentation`` at about ``spacing`` mm (uint8, axes IPL), and the affine that belongs to it.

    ``margin``: so many mm around its kidneys (slice, height, width) instead of the whole field of view.

    Each class is interpolated linearly and the likeliest taken, which keeps small shapes better than the nearest voxel.
    Columns stay centred, so that the side of a kidney alone is known.
    """
    _check(segmentation)
    labels, affine = reorient(segmentation, affine)
    if margin:
        depth, height, width = find_objects((labels > 0).view(np.uint8))[0]
        first = min(width.start, labels.shape[2] - width.stop)
        box = (depth, height, slice(first, labels.shape[2] - first))
        box = _wider(box, np.array(margin) / spacing_of(affine), labels.shape)
        labels = labels[box]
        affine = affine @ np.block([[np.eye(3), np.array([[part.start] for part in box])], [np.zeros((1, 3)), 1]])
    size = grid_size(labels.shape, spacing_of(affine), spacing)
    one_hot = torch.from_numpy(np.stack([labels == label for label in (TUMOUR, KIDNEY)]).astype(np.uint8))
    tumour, kidney = resize(one_hot, size).numpy()
    other = 1 - kidney - tumour
    result = np.where((tumour >= kidney) & (tumour >= other), 2, np.where(kidney >= other, 1, 0)).astype(np.uint8)
    return result, resized_affine(affine, labels.shape, size)


def write_hybrid(
    source: str | Path, target: str | Path, spacing: Sequence[float] = SPACING, seed: int = 0,
    workers: int | None = None, accept: Accept | None = None, margin: Sequence[float] | None = None,
) -> tuple[list[Case], dict[str, str]]:
    """Write a case for every label map below ``source`` to ``target``: simulated imaging of ``spacing`` mm, and organs.

    In the field of view of its file, or ``margin`` mm around kidneys and tumours (slice, height, width).

    Returns the cases that are there, and by name why the others were refused. One that is there, whole, from the same
    label file (size, time of change), arguments and code, is kept. ``workers`` threads work at a time (None: one a
    core). Equal arguments give equal bytes, whatever ``workers`` is. Raises ValueError for a bad spacing or seed, and
    for ``source`` as ``target``; FileNotFoundError where ``source`` holds no case.
    """
    source, target, accept = Path(source), Path(target), accept or Accept()
    if len(spacing) != 3 or min(spacing) <= 0 or seed < 0:
        reason = f"spacing {list(spacing)}, seed {seed}"
        raise ValueError(f"{reason}: give three positive numbers of mm, and a seed of at least 0")
    if target.resolve() == source.resolve():
        raise ValueError(f"{target}: would overwrite the real labels; give another folder")
    modules = (sys.modules[__name__], sys.modules[resize.__module__], belly, organs, scene, tissue, trunk)
    settings = {"spacing": spacing, "seed": seed, "margin": margin, "accept": asdict(accept), "code": code_of(*modules)}

    def write(case: Case) -> None:
        made_from = {"label": file_state(case.segmentation), **settings}
        written = Case(target / case.name)
        if read_receipt(written.folder, made_from) is None:
            shutil.rmtree(written.folder, ignore_errors=True)
            labels, imaging, organs, affine = _simulate_case(case, spacing, seed, accept, margin)
            for path, array in ((written.imaging, imaging), (written.segmentation, labels), (written.organs, organs)):
                write_nifti(path, array, affine)
            write_receipt(written.folder, made_from)

    done, refused = for_each_case(write, discover(source), workers, "simulating CT")
    for found in target.glob(f"case_*/{RECEIPT}"):  # what was written here and is no longer wanted
        if found.parent.name not in done:
            shutil.rmtree(found.parent)
    return [Case(target / name) for name in done], refused


def _simulate_case(
    case: Case, spacing: Sequence[float], seed: int, accept: Accept, margin: Sequence[float] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels, imaging, organs and affine of ``case`` on the grid of ``spacing`` mm."""
    _, labels, affine = read_case(case, imaging=False, accept=accept)
    try:
        labels, affine = labels_on_grid(labels, affine, spacing, margin)
        return labels, *simulate_imaging(labels, affine, seed, case.number), affine
    except ValueError as error:
        advice = "check the file, or leave the case out"
        raise CaseError(case.name, case.segmentation.name, str(error), advice, "no_kidney") from error

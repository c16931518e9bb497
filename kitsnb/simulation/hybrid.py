"""Hybrid cases: real label maps of KiTS19 with simulated CT around and inside them, in KiTS19's folder format.

For those who have the labels (65 MB) but not the CT (about 28 GB): kidneys and tumours keep their real shapes, and no voxel of
the image is a patient's. A label map is cropped to the kidneys' surroundings, brought to a working spacing, and painted by
``kitsnb.simulation.tissue`` in a patient's frame (mm; x right, y anterior, z superior) that is placed by the kidneys themselves.
"""

import hashlib
import json
import multiprocessing
import os
import shutil
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.ndimage import label as components

from kitsnb.data.cases import Case, discover
from kitsnb.data.checks import Accept, read_case
from kitsnb.data.nifti import CaseError, orientation_of, spacing_of, write_nifti
from kitsnb.files import write_json
from kitsnb.preprocessing import resampling
from kitsnb.preprocessing.resampling import grid_size, reorient, resize, resized_affine
from kitsnb.simulation import phantom, tissue
from kitsnb.simulation.phantom import KIDNEY, Scene, paint_body

#: The paper's working spacing in mm (slice, height, width), on which the ranges of HU were set.
SPACING = (3.22, 1.62, 1.62)
#: Field of view beyond kidneys and tumours, in mm (slice, height, width), as far as the file goes.
MARGIN = (45.0, 60.0, 55.0)
#: The scanner's point spread: sigma in mm (slice, height, width).
POINT_SPREAD = (2.6, 1.3, 1.3)
#: Noise: lowest and highest SD in HU, and its correlation (sigma in mm).
NOISE, NOISE_MM = (15.0, 34.0), (1.6, 1.0, 1.0)
#: Width in mm of a painted surface; the point spread softens it further.
SOFTNESS = 0.5
#: Where the phantom's kidneys lie in the patient's frame, in mm: x of the right one, y of both.
KIDNEY_X, KIDNEY_Y = 64.0, -27.0
#: Half-axes in mm, across and front to back, of the room that the phantom's body gives to kidneys at least.
ROOM = (118.0, 74.0)
#: Size of the patient over the phantom's: the least and the most.
SIZE = (0.9, 1.45)
#: What is smaller than this is no kidney, in ml; parts whose centres are closer than this are on one side, in mm.
LEAST_ML, SIDES_APART = 3.0, 60.0
STAMP = ".hybrid.json"


@dataclass(frozen=True)
class Written:
    """The cases that are there, and by name why the others were refused."""

    cases: list[Case]
    refused: dict[str, str]


def simulate_imaging(segmentation: np.ndarray, affine: np.ndarray, seed: int, number: int = 0) -> np.ndarray:
    """HU (int16, of the shape of ``segmentation``) of a simulated CT around a label map [any three axes].

    Depends on the labels, ``seed`` and the case's ``number`` alone. Raises ValueError where there is neither kidney nor
    tumour, or nothing else.
    """
    labels, upright = reorient(segmentation, affine)
    labels = np.ascontiguousarray(labels)
    if not labels.any():
        raise ValueError("holds neither kidney nor tumour")
    rng, spacing = np.random.default_rng((seed, number)), spacing_of(upright)
    axes, size = patient_axes(labels, spacing)
    size *= rng.uniform(1.0, 1.12)
    mean, spread, low, high = tissue.CORTEX
    cortex = float(np.clip(rng.normal(mean, spread), low, high))
    scene = Scene(rng, tuple(axis / size for axis in axes), SOFTNESS)
    paint_body(rng, scene)
    tissue.paint_organs(rng, scene, cortex)
    tissue.paint_kidneys(rng, scene, labels, spacing, cortex)
    noise = gaussian_filter(rng.standard_normal(labels.shape, dtype=np.float32), NOISE_MM / spacing)
    scanned = gaussian_filter(scene.hu, POINT_SPREAD / spacing) + noise * (rng.uniform(*NOISE) / noise.std())
    imaging = np.clip(np.rint(scanned), -1024, 3071).astype(np.int16)
    return np.ascontiguousarray(reorient(imaging, upright, orientation_of(affine))[0])


def patient_axes(labels: np.ndarray, spacing: np.ndarray) -> tuple[tuple[np.ndarray, ...], float]:
    """Coordinates in mm (z, y, x) of the voxels of ``labels`` (axes IPL) in the patient's frame, and the patient's size.

    The midline lies between the kidneys; where there is one, beside it; kidneys are at the phantom's height and depth. The
    size (1: the phantom's) is such that the abdominal cavity holds all of kidney and tumour.
    """
    axes = [step * ((n - 1) / 2 - np.arange(n)) for step, n in zip(spacing, labels.shape, strict=True)]
    kidney = labels == KIDNEY if (labels == KIDNEY).any() else labels > 0
    z, y = (np.average(axis, weights=kidney.sum(others)) for axis, others in zip(axes, ((1, 2), (0, 2))))
    axes[0], axes[2] = axes[0] - z, axes[2] - _midline(labels, kidney, axes[2], spacing)
    shadow = np.argwhere((labels > 0).any(0))
    depth, width = axes[1][shadow[:, 0]] - y + KIDNEY_Y, axes[2][shadow[:, 1]]
    needed = (np.abs(width / ROOM[0]) ** 2.5 + np.abs((depth - 8) / ROOM[1]) ** 2.5) ** 0.4  # the phantom's trunk: y = 8
    size = float(np.clip(np.quantile(needed, 0.98), *SIZE))
    axes[1] = axes[1] - y + KIDNEY_Y * size
    return tuple(axes), size


def _midline(labels: np.ndarray, kidney: np.ndarray, x: np.ndarray, spacing: np.ndarray) -> float:
    """x between both kidneys' inner borders; in the middle of a horseshoe; at the usual distance from a kidney alone.

    A kidney alone says its side by where it lies in the field of view, since that is centred on the patient.
    """
    parts, count = components((labels[:, ::2, ::2] > 0))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:] * np.prod(spacing) * 4 / 1000
    places = {n: np.flatnonzero((parts == n + 1).any((0, 1))) * 2 for n in np.flatnonzero(sizes >= LEAST_ML)}
    largest = sorted(places, key=lambda n: -sizes[n])
    middles = {n: x[places[n]].mean() for n in largest}
    for other in largest[1:]:
        if abs(middles[other] - middles[largest[0]]) > SIDES_APART:
            right, left = sorted((largest[0], other), key=lambda n: -middles[n])
            return float(x[places[right]].min() + x[places[left]].max()) / 2
    columns = x[(labels > 0).any((0, 1))]
    if columns.max() > SIDES_APART / 2 and columns.min() < -SIDES_APART / 2:
        return float(columns.max() + columns.min()) / 2
    middle = np.average(x, weights=kidney.sum((0, 1)))
    return float(middle - np.sign(middle or 1) * KIDNEY_X)


def labels_on_grid(
    segmentation: np.ndarray, affine: np.ndarray, spacing: Sequence[float] = SPACING
) -> tuple[np.ndarray, np.ndarray]:
    """``segmentation`` (axes IPL) around its kidneys at about ``spacing`` mm (uint8), and the affine that belongs to it.

    Each class is interpolated linearly and the likeliest taken, which keeps small shapes better than the nearest voxel does.
    Columns stay centred, so that the side of a kidney alone is known.
    """
    labels, affine = reorient(segmentation, affine)
    box = []
    for axis, (step, margin) in enumerate(zip(spacing_of(affine), MARGIN, strict=True)):
        used = np.flatnonzero((labels > 0).any(tuple(other for other in range(3) if other != axis)))
        first, last, wider = used[0], used[-1] + 1, int(np.ceil(margin / step))
        if axis == 2:
            first = min(first, labels.shape[2] - last)
            last = labels.shape[2] - first
        box.append(slice(max(0, first - wider), min(labels.shape[axis], last + wider)))
    labels = labels[tuple(box)]
    affine = affine @ np.block([[np.eye(3), np.array([[part.start] for part in box])], [np.zeros((1, 3)), 1]])
    size = grid_size(labels.shape, spacing_of(affine), spacing)
    kidney, tumour = resize(torch.from_numpy(np.stack([labels == 1, labels == 2]).astype(np.uint8)), size).numpy()
    other = 1 - kidney - tumour
    result = np.where((tumour >= kidney) & (tumour >= other), 2, np.where(kidney >= other, 1, 0)).astype(np.uint8)
    return result, resized_affine(affine, labels.shape, size)


def write_hybrid(
    source: str | Path, target: str | Path, spacing: Sequence[float] = SPACING, seed: int = 0,
    workers: int | None = None, accept: Accept | None = None,
) -> Written:
    """Write a case for every label map below ``source`` to ``target``, with simulated imaging of ``spacing`` mm.

    A case that cannot be used is refused by name, and the others go on. One that is there, whole, from the same label file
    (size, time of change), arguments and code, is kept. ``workers`` processes work at a time (None: one a core). Equal
    arguments give equal bytes, whatever ``workers`` is. Raises ValueError for a bad spacing or seed, and for ``source`` as
    ``target``; FileNotFoundError where ``source`` holds no case.
    """
    source, target, accept = Path(source), Path(target), accept or Accept()
    if len(spacing) != 3 or min(spacing) <= 0 or seed < 0:
        raise ValueError(f"spacing {list(spacing)}, seed {seed}: give three positive numbers of mm, and a seed of at least 0")
    if target.resolve() == source.resolve():
        raise ValueError(f"{target}: would overwrite the real labels; give another folder")
    cases = discover(source)
    marks = {case.name: _mark(case, spacing, seed, accept) for case in cases}
    waiting = [case for case in cases if not _finished(target / case.name, marks[case.name])]
    refused = {}
    # New processes, not forks: the kernel that calls this has threads, and a fork would copy their locks.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers or os.cpu_count() or 1, len(waiting) or 1), mp_context=context) as pool:
        jobs = {pool.submit(_write_case, case, target / case.name, tuple(spacing), seed, accept, marks[case.name]): case.name
                for case in waiting}
        for job in as_completed(jobs):
            try:
                job.result()
            except CaseError as error:
                warnings.warn(f"refused: {error}", stacklevel=2)
                refused[jobs[job]] = f"{error.file}: {error.reason}; {error.advice}"
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    wanted = {case.name for case in cases} - set(refused)
    for found in (*target.glob("case_*"), *target.glob(".case_*")):  # what was written here and is no longer wanted
        if found.name not in wanted and ((found / STAMP).exists() or found.name.startswith(".")):
            shutil.rmtree(found)
    return Written([Case(target / name) for name in sorted(wanted)], dict(sorted(refused.items())))


def _write_case(case: Case, folder: Path, spacing: Sequence[float], seed: int, accept: Accept, mark: dict | None) -> None:
    """Write one case as ``folder``, which appears only when it is whole."""
    torch.set_num_threads(1)  # a case has a process
    partial = folder.with_name(f".{folder.name}")
    for old in (partial, folder):
        shutil.rmtree(old, ignore_errors=True)
    _, native, native_affine = read_case(case, imaging=False, accept=accept)
    try:
        if not native.any():
            raise ValueError("holds neither kidney nor tumour")
        labels, affine = labels_on_grid(native, native_affine, spacing)
        imaging = simulate_imaging(labels, affine, seed, case.number)
    except ValueError as error:
        advice = "check the file, or leave the case out"
        raise CaseError(case.name, case.segmentation.name, str(error), advice, "no_kidney") from error
    write_nifti(Case(partial).imaging, imaging, affine)
    write_nifti(Case(partial).segmentation, labels, affine)
    write_json(partial / STAMP, {"mark": mark, "outputs": _sizes(partial)})
    partial.rename(folder)


def _mark(case: Case, spacing: Sequence[float], seed: int, accept: Accept) -> dict | None:
    """What a case depends on, as JSON holds it; None where its label is missing."""
    try:
        label = [case.segmentation.stat().st_size, case.segmentation.stat().st_mtime_ns]
    except OSError:
        return None
    sources = [Path(file).read_bytes() for file in (__file__, tissue.__file__, phantom.__file__, resampling.__file__)]
    code = hashlib.sha256(b"".join(sources)).hexdigest()
    settings = {"spacing": list(spacing), "seed": seed, "accept": asdict(accept)}
    return json.loads(json.dumps({"folder": str(case.folder), "label": label, "settings": settings, "code": code}))


def _finished(folder: Path, mark: dict | None) -> bool:
    """Is the case in ``folder`` whole, and was it made from ``mark``?"""
    try:
        stamp = json.loads((folder / STAMP).read_text())
        return mark is not None and stamp["mark"] == mark and stamp["outputs"] == _sizes(folder)
    except (OSError, ValueError, KeyError):
        return False


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in (Case(folder).imaging, Case(folder).segmentation)}

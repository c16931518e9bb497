"""From native geometry to the working grid, one case or a folder of them.

Axes to (slice, height, width) by the affine, clip, optional resize in-plane, resample, z-score.
"""

import errno
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kitsnb.data import checks, nifti
from kitsnb.data.cases import Case, for_each_case
from kitsnb.data.checks import Accept, read_case
from kitsnb.data.nifti import CaseError, orientation_of, read_header, spacing_of
from kitsnb.files import write_json
from kitsnb.metric import score
from kitsnb.metric.score import kits19_score
from kitsnb.preprocessing import arrays, resampling
from kitsnb.preprocessing.arrays import BYTES_A_VOXEL, write_array
from kitsnb.preprocessing.resampling import reorient, resize, resize_labels, to_native, working_grid
from kitsnb.preprocessing.settings import Preprocessing
from kitsnb.receipts import code_of, read_receipt, write_receipt

#: Threads that prepare cases, at most; each holds one case.
MOST_WORKERS = 4
#: Values this close, relative to the largest, differ by rounding only.
SAME = 1e-5
#: The modules that decide what a prepared case is.
CODE = (sys.modules[__name__], arrays, checks, nifti, resampling, score)


def to_grid(
    array: np.ndarray, affine: np.ndarray, settings: Preprocessing, labels: bool = False
) -> tuple[Tensor, np.ndarray]:
    """Resample ``array`` (3D, any orientation) to the working grid: [D, H, W], and the affine that belongs to it.

    Imaging (HU, any dtype; integers as a file stores them need least memory) is clipped and comes back as float32, not
    yet z-scored; ``labels`` go by the nearest voxel and keep their dtype.
    """
    size, grid_affine = working_grid(array.shape, affine, settings.spacing)
    upright, _ = reorient(array, affine)
    sizes = [size]
    if settings.resize_in_plane:
        sizes = [(len(upright), *settings.resize_in_plane), size]
    for step in sizes:
        volume = resize_labels(upright, step) if labels else resize(upright, step, settings.clip)
        upright = volume.numpy()
    return volume.contiguous(), grid_affine


def z_score(imaging: Tensor, settings: Preprocessing) -> tuple[Tensor, tuple[float, float]]:
    """Normalize ``imaging`` (HU), in place, by its own mean and SD, or those of the settings; return both in HU too.

    Raises ValueError where all voxels are the same.
    """
    low = float(imaging.min())
    high = float(imaging.max())
    if not high - low > SAME * max(abs(low), abs(high)):
        raise ValueError(f"all voxels are {low:g} HU after clipping to {list(settings.clip)}")
    mean, sd = settings.z_score_by or (float(imaging.mean()), float(imaging.std()))
    return imaging.sub_(mean).div_(sd), (mean, sd)


def prepare_imaging(
    array: np.ndarray, affine: np.ndarray, settings: Preprocessing, case: str, file: str
) -> tuple[Tensor, tuple[float, float]]:
    """Bring a CT to the working grid, z-scored: [D, H, W], and mean and SD in HU. Raises CaseError as ``z_score``."""
    volume, _ = to_grid(array, affine, settings)
    try:
        return z_score(volume, settings)
    except ValueError as error:
        advice = "check that the values are Hounsfield units"
        raise CaseError(case, file, str(error), advice, "air") from error


def grid_ceiling(native: np.ndarray, affine: np.ndarray, prepared: Tensor) -> dict[str, float]:
    """Return the score of a perfect network on this grid: its own labels ``prepared`` [D, H, W], brought back."""
    one_hot = torch.stack([prepared == label for label in range(3)]).float()
    return kits19_score(to_native(one_hot, native.shape, affine), native)


def preprocess_cases(cases: Iterable[Case], folder: Path, settings: Preprocessing, workers: int | None = None,
                     accept: Accept | None = None) -> dict:
    """Write every case on the working grid below ``folder`` (see ``arrays``), and ``report.json``.

    A case that cannot be used is refused by name, with the reason, and the others go on. A case that is there, whole,
    from the same files, settings and code, is kept, wherever the folders were moved. ``workers`` threads work at a time
    (None: one per core, at most ``MOST_WORKERS``). Returns the report and, as "kept", the names of the cases that were
    kept. Raises OSError before any work where ``folder`` cannot be written to or has too little room.
    """
    cases = list(cases)
    accept = accept or Accept()
    made_from = {"settings": settings.as_json(), "accept": asdict(accept), "code": code_of(*CODE)}
    receipts = {case.name: read_receipt(folder / case.name, made_from, _inputs(case)) for case in cases}
    rows = {name: receipt["row"] for name, receipt in receipts.items() if receipt}
    kept = list(rows)
    waiting = [case for case in cases if case.name not in rows]
    _check_folder(folder, waiting, settings)

    def write(case: Case) -> dict:
        return _write_case(case, folder / case.name, settings, accept, made_from)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # what new threads start with: a case has a thread
    try:
        workers = workers or min(MOST_WORKERS, os.cpu_count() or 1)
        done, refused = for_each_case(write, waiting, workers, "to the working grid")
    finally:
        torch.set_num_threads(threads)
    rows |= done
    _remove_others(folder, rows)
    report = {
        "settings": settings.as_json(),
        "spacing": settings.spacing,
        "cases": len(rows),
        "refused": dict(sorted(refused.items())),
        "rows": dict(sorted(rows.items())),  # the same whether made now or kept
        "ceiling": _mean_ceiling(rows),
    }
    write_json(folder / "report.json", report)
    return {**report, "kept": kept}


def _inputs(case: Case) -> dict[str, Path]:
    return {path.name: path for path in (case.imaging, case.segmentation) if path.is_file()}


def _remove_others(folder: Path, rows: dict) -> None:
    """Remove cases that are not in ``rows``, and what a killed run left."""
    for found in (*folder.glob("case_*"), *folder.glob(".case_*")):
        if found.name not in rows:
            shutil.rmtree(found)


def _mean_ceiling(rows: dict) -> dict[str, float]:
    """Return the mean of each score over the cases that have it."""
    ceilings = pd.DataFrame([row["ceiling"] for row in rows.values()])
    return ceilings.drop(columns="composite", errors="ignore").astype(float).mean().to_dict()


def _check_folder(folder: Path, cases: list[Case], settings: Preprocessing) -> None:
    """Raise OSError where ``cases`` cannot be written below ``folder``, as far as can be told before."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        reason = f"cannot be written to ({error.strerror}); give another build folder"
        raise OSError(error.errno, reason, str(folder)) from error
    needed = 0
    for case in cases:
        with suppress(CaseError):  # it will be refused, with the reason
            shape, affine, _ = read_header(case.imaging)
            size, _ = working_grid(shape, affine, settings.spacing)
            needed += BYTES_A_VOXEL * math.prod(size)
    free = shutil.disk_usage(folder).free
    if needed > free:
        reason = f"{len(cases)} cases need about {needed / 1e9:.1f} GB here, {free / 1e9:.1f} GB are free"
        raise OSError(errno.ENOSPC, f"{reason}; make room or give another build folder", str(folder))


def _write_case(case: Case, folder: Path, settings: Preprocessing, accept: Accept, made_from: dict) -> dict:
    """Write one case as ``folder``, which appears only when it is whole, and return its row of the report."""
    partial = folder.with_name(f".{folder.name}")
    for old in (partial, folder):
        shutil.rmtree(old, ignore_errors=True)
    inputs = _inputs(case)
    imaging, segmentation, affine = read_case(case, accept=accept)
    volume, hu_scale = prepare_imaging(imaging, affine, settings, case.name, case.imaging.name)
    del imaging  # makes room for the workers beside this one
    labels, _ = to_grid(segmentation, affine, settings, labels=True)
    row = {
        "orientation": orientation_of(affine),
        "native_shape": list(segmentation.shape),
        "native_spacing": spacing_of(affine).round(4).tolist(),
        "shape": list(volume.shape),
        "hu_scale": list(hu_scale),
        "ceiling": grid_ceiling(segmentation, affine, labels),
    }
    write_array(partial, "imaging", volume.numpy())
    write_array(partial, "segmentation", labels.numpy())
    write_receipt(partial, made_from, inputs, row=row)
    partial.rename(folder)
    return row

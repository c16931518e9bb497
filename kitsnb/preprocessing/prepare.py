"""To the working grid: axes by the affine, clip, optional resize in-plane, resample, z-score."""

import shutil
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kitsnb.data import checks, geometry, nifti
from kitsnb.data.cases import Case, case_name, for_each_case
from kitsnb.data.checks import Accept, read_case
from kitsnb.data.geometry import orientation_of, spacing_of
from kitsnb.data.nifti import CaseError
from kitsnb.files import write_json
from kitsnb.metric.score import kits19_score
from kitsnb.preprocessing import arrays, resampling
from kitsnb.preprocessing.arrays import write_array
from kitsnb.preprocessing.resampling import grid_size, reorient, resize, resize_labels, resized_affine, to_native
from kitsnb.preprocessing.settings import Preprocessing
from kitsnb.receipts import code_of, read_receipt, states_of, write_receipt

#: A volume whose HU have a smaller SD is of one value.
FLAT = 0.01
#: What the modules compute that decide what a prepared case is, as they were imported.
CODE = code_of(sys.modules[__name__], arrays, checks, geometry, nifti, resampling)


def to_grid(array: np.ndarray, affine: np.ndarray, settings: Preprocessing,
            labels: bool = False) -> tuple[Tensor, np.ndarray]:
    """Resample ``array`` (3D, any orientation) to the working grid: [D, H, W], and the affine that belongs to it.

    Imaging (HU) is clipped and comes back as float32, not yet z-scored. ``labels`` (uint8) go by the nearest voxel in
    one step: from 512 pixels to 256 two would be equally near, and all labels move by half a pixel.
    """
    upright, native_affine = reorient(array, affine)
    native = upright.shape
    size = grid_size(native, spacing_of(native_affine), settings.spacing)
    steps = [size]
    if settings.resize_in_plane and not labels:
        steps.insert(0, (native[0], *settings.resize_in_plane))
    for step in steps:
        volume = resize_labels(upright, step) if labels else resize(upright, step, settings.clip)
        upright = volume.numpy()
    return volume.contiguous(), resized_affine(native_affine, native, size)


def z_score(imaging: Tensor, settings: Preprocessing,
            file: Path = Path("volume")) -> tuple[Tensor, tuple[float, float]]:
    """Normalize ``imaging`` (HU) in place by its own or the settings' mean and SD; return these in HU too.

    Raises CaseError, which names the CT's ``file``, where all voxels are the same.
    """
    mean = float(imaging.mean())
    sd = float(imaging.std())
    if sd < FLAT:
        reason = f"all voxels are {mean:.0f} HU after clipping to {list(settings.clip)}"
        raise CaseError(case_name(file), file.name, reason, "check that the values are Hounsfield units")
    if settings.z_score_by:
        mean, sd = settings.z_score_by
    return imaging.sub_(mean).div_(sd), (mean, sd)


def grid_ceiling(native: np.ndarray, affine: np.ndarray, prepared: Tensor) -> dict[str, float]:
    """Return the score of the grid's own labels ``prepared`` [D, H, W], brought back; soft ones may score more."""
    one_hot = torch.stack([prepared == label for label in range(3)]).float()
    return kits19_score(to_native(one_hot, native.shape, affine), native)


def preprocess_cases(cases: Iterable[Case], folder: Path, settings: Preprocessing, workers: int | None = None,
                     accept: Accept = Accept()) -> dict:
    """Write every case on the working grid below ``folder``, and ``report.json``, which is returned.

    A case that cannot be used is refused by name, with the reason, and the others go on. A case that is there, whole,
    from the same files, settings and code, is kept. Raises OSError where ``folder`` cannot be written.
    """
    made_from = {"settings": settings.as_json(), "accept": asdict(accept), "code": CODE}

    def write(case: Case) -> dict:
        receipt = read_receipt(folder / case.name, made_from, _inputs(case))
        return receipt["row"] if receipt else _write_case(case, folder / case.name, settings, accept, made_from)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # what new threads start with: a case has a thread
    try:
        rows, refused = for_each_case(write, cases, workers, "to the working grid")
    finally:
        torch.set_num_threads(threads)
    for found in (*folder.glob("case_*"), *folder.glob(".case_*")):  # of another choice, or half-written
        if found.name not in rows:
            shutil.rmtree(found)
    report = {
        "settings": settings.as_json(),
        "cases": len(rows),
        "refused": refused,
        "rows": dict(sorted(rows.items())),
    }
    write_json(folder / "report.json", report)
    return report


def _inputs(case: Case) -> dict[str, Path]:
    return {"imaging": case.imaging, "segmentation": case.segmentation}


def _write_case(case: Case, folder: Path, settings: Preprocessing, accept: Accept, made_from: dict) -> dict:
    """Write one case as ``folder``, which appears only when it is whole, and return its row of the report."""
    partial = folder.with_name(f".{folder.name}")
    for old in (partial, folder):
        shutil.rmtree(old, ignore_errors=True)
    read = states_of(_inputs(case))  # as they are before they are read
    imaging, segmentation, affine = read_case(case, accept=accept)
    volume, _ = to_grid(imaging, affine, settings)
    del imaging  # makes room for the workers beside this one
    z_score(volume, settings, case.imaging)
    labels, _ = to_grid(segmentation, affine, settings, labels=True)
    row = {
        "orientation": orientation_of(affine),
        "native_shape": list(segmentation.shape),
        "native_spacing": spacing_of(affine).round(4).tolist(),
        "shape": list(volume.shape),
    }
    write_array(partial, "imaging", volume.numpy())
    write_array(partial, "segmentation", labels.numpy())
    write_receipt(partial, made_from, read, row=row)
    partial.rename(folder)
    return row

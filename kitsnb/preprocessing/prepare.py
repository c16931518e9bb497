"""From native geometry to the working grid, one case or a folder of them.

Axes to (slice, height, width) by the affine, clip, optional resize in-plane, resample, z-score. Everything is a
function on a ``torchio.Subject``, so any torchio transform can be put between.
"""

import errno
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torchio as tio
from torch import Tensor

from kitsnb.data import checks, nifti
from kitsnb.data.cases import Case, for_each_case
from kitsnb.data.checks import Accept, read_case
from kitsnb.data.nifti import CaseError, orientation_of, read_header, read_nifti, spacing_of
from kitsnb.files import code_of, file_state, plain, read_receipt, write_json, write_receipt
from kitsnb.metric import score
from kitsnb.metric.score import kits19_score
from kitsnb.preprocessing import arrays, resampling
from kitsnb.preprocessing.arrays import BYTES_A_VOXEL, ORGANS, write_array
from kitsnb.preprocessing.resampling import grid_size, reorient, resize, resized_affine, to_native, working_shape
from kitsnb.preprocessing.settings import Preprocessing

#: Threads that prepare cases, at most; each holds one case.
MOST_WORKERS = 4
#: What torch computes with; other dtypes become float32.
TORCH_DTYPES = (np.uint8, np.int8, np.int16, np.int32, np.float32, np.float64)
#: Values this close, relative to the largest, differ by rounding only.
SAME = 1e-5
#: The modules that decide what a prepared case is.
CODE = (sys.modules[__name__], arrays, checks, nifti, resampling, score)


def load_subject(case: Case, accept: Accept | None = None) -> tio.Subject:
    """``case`` as ``imaging`` (as stored; float32 where torch has no such dtype) and ``segmentation`` (uint8).

    Each of shape [1, *axes as stored*] and in the file's order in memory, which a reader of torchio would change; also
    ``organs`` where the case has them. CaseError as ``read_case`` raises it.
    """
    imaging, segmentation, affine = read_case(case, accept=accept)
    arrays = {"imaging": imaging, "segmentation": segmentation}
    if case.organs.is_file():
        arrays[ORGANS] = read_nifti(case.organs, case.name)[0]
    kinds = {"imaging": tio.ScalarImage}
    return tio.Subject(name=case.name, **{name: kinds.get(name, tio.LabelMap)(tensor=_tensor(array), affine=affine)
                                          for name, array in arrays.items()})


def subject_of(case: Case, accept: Accept | None = None) -> tio.Subject:
    """``load_subject`` as torchio's users know it: nothing is read, or refused, before an image is looked at.

    So a ``tio.SubjectsDataset`` of all cases costs nothing until it is asked for one.
    """
    read: dict[str, tio.Image] = {}

    def reader(name: str) -> Callable:
        def of_file(_) -> tuple[Tensor, np.ndarray]:
            if name not in read:  # all are read at once, since they are checked against each other
                read.update(load_subject(case, accept).get_images_dict(intensity_only=False))
            image = read.pop(name)
            return image.data, image.affine
        return of_file

    files = {"imaging": case.imaging, "segmentation": case.segmentation}
    files |= {ORGANS: case.organs} if case.organs.is_file() else {}
    return tio.Subject(name=case.name, **{
        name: (tio.ScalarImage if name == "imaging" else tio.LabelMap)(path, reader=reader(name), verify_path=False)
        for name, path in files.items()})


def _tensor(array: np.ndarray) -> Tensor:
    """[1, *shape], the same memory where torch can have it."""
    array = array if array.dtype in TORCH_DTYPES else array.astype(np.float32)
    return torch.from_numpy(array.copy("K") if min(array.strides) < 0 else array)[None]  # torch has no flipped views


def to_grid(
    array: np.ndarray, affine: np.ndarray, settings: Preprocessing, labels: bool = False
) -> tuple[Tensor, np.ndarray]:
    """``array`` (3D, any orientation) on the working grid, [1, D, H, W], and the affine that belongs to it.

    Imaging (HU, any dtype; integers as a file stores them need least memory) is clipped and comes back as float32, not
    yet z-scored; ``labels`` go by the nearest voxel and keep their dtype.
    """
    array, affine = reorient(array, affine)
    sizes = [(len(array), *settings.resize_in_plane)] if settings.resize_in_plane else []
    between = resized_affine(affine, array.shape, sizes[0]) if sizes else affine
    sizes.append(grid_size(sizes[0] if sizes else array.shape, spacing_of(between), settings.spacing))
    changed = {"labels": True} if labels else {"interpolation": settings.interpolation, "clip": settings.clip}
    return resize(_tensor(array), *sizes, **changed), resized_affine(affine, array.shape, sizes[-1])


def z_score(imaging: Tensor, settings: Preprocessing) -> tuple[Tensor, tuple[float, float]]:
    """``imaging`` (HU) by its own mean and SD, or those of the settings, changed in place; and these two, in HU.

    Raises ValueError where all voxels are the same.
    """
    low, high = (float(end(imaging.numpy())) for end in (np.min, np.max))  # torch's are slow in any other order of axes
    if not high - low > SAME * max(abs(low), abs(high)):
        raise ValueError(f"all voxels are {low:g} HU after clipping to {list(settings.clip)}")
    mean, sd = settings.z_score_by or (float(imaging.mean()), None)
    imaging.sub_(mean)
    sd = sd or float(imaging.std())
    return imaging.div_(sd), (mean, sd)


def preprocess(subject: tio.Subject, settings: Preprocessing) -> tio.Subject:
    """The subject on the working grid: ``imaging`` float32 z-scored after clipping, and its labels, if it has any.

    Its ``hu_scale`` holds mean and SD of the z-score in HU. Raises CaseError where all voxels of ``imaging`` are the
    same after clipping.
    """
    images = {}
    for name, image in subject.get_images_dict(intensity_only=False).items():
        kind = tio.LabelMap if isinstance(image, tio.LabelMap) else tio.ScalarImage
        volume, affine = to_grid(image.numpy()[0], image.affine, settings, labels=kind is tio.LabelMap)
        images[name] = kind(tensor=volume, affine=affine)
    prepared = tio.Subject(**images, name=subject["name"])
    try:
        imaging, prepared["hu_scale"] = z_score(prepared["imaging"].data, settings)
        prepared["imaging"].set_data(imaging)
    except ValueError as error:
        advice = "check that the values are Hounsfield units"
        raise CaseError(subject["name"], "imaging.nii.gz", str(error), advice, "air") from error
    return prepared


def one_hot(labels: Tensor, classes: int = 3) -> Tensor:
    """[1, D, H, W] labels as float [classes, D, H, W]."""
    return torch.stack([(labels[0] == label).float() for label in range(classes)])


def grid_ceiling(native: np.ndarray, affine: np.ndarray, prepared: tio.Subject) -> dict[str, float]:
    """Best score that a perfect network could reach on this grid: the working grid's own labels, brought back."""
    return kits19_score(to_native(one_hot(prepared["segmentation"].data), native.shape, affine), native)


def preprocess_cases(cases: Iterable[Case], folder: Path, settings: Preprocessing, workers: int | None = None,
                     accept: Accept | None = None) -> dict:
    """Write every case on the working grid below ``folder`` (see ``arrays``), and ``report.json``.

    A case that cannot be used is refused by name, with the reason, and the others go on. A case that is there, whole,
    from the same files (size, time of change), settings and code, is kept. ``workers`` threads work at a time (None:
    one a core, at most ``MOST_WORKERS``). Returns the report and, as "kept", the names of the cases that were kept.
    Raises OSError before any work where ``folder`` cannot be written to or has too little room.
    """
    cases, accept = list(cases), accept or Accept()
    made_from = {case.name: _made_from(case, settings, accept) for case in cases}
    receipts = {name: read_receipt(folder / name, made) for name, made in made_from.items()}
    rows = {name: receipt["row"] for name, receipt in receipts.items() if receipt}
    kept, waiting = list(rows), [case for case in cases if case.name not in rows]
    _check_folder(folder, waiting, settings)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # what new threads start with: a case has a thread
    try:
        done, refused = for_each_case(
            lambda case: _write_case(case, folder / case.name, settings, accept, made_from[case.name]),
            waiting, workers or min(MOST_WORKERS, os.cpu_count() or 1), "to the working grid")
    finally:
        torch.set_num_threads(threads)
    rows |= done
    for found in (*folder.glob("case_*"), *folder.glob(".case_*")):  # of other cases, and what a killed run left
        if found.name not in rows:
            shutil.rmtree(found)
    report = _report(cases, settings, rows, refused)
    write_json(folder / "report.json", report)
    return {**report, "kept": kept}


def _report(cases: list[Case], settings: Preprocessing, rows: dict, refused: dict) -> dict:
    """What ``report.json`` says: the same whether cases were made now or kept, in whichever order they were done."""
    rows, refused = ({case.name: found[case.name] for case in cases if case.name in found} for found in (rows, refused))
    return {
        "settings": settings.as_json(),
        "spacing": list(settings.spacing),
        "source": str(cases[0].folder.parent) if cases else None,
        "cases": len(rows),
        "refused": refused,
        "rows": rows,
        "ceiling": {score: float(np.nanmean([row["ceiling"][score] for row in rows.values()]))
                    for score in ("kidney_and_tumour", "kidney", "tumour")} if rows else {},
    }


def _check_folder(folder: Path, cases: list[Case], settings: Preprocessing) -> None:
    """Raise OSError where ``cases`` cannot be written below ``folder``, as far as can be told before."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(b"x")
    except OSError as error:
        reason = f"cannot be written to ({error.strerror}); give another build folder"
        raise OSError(error.errno, reason, str(folder)) from error
    needed, free = sum(_bytes_needed(case, settings) for case in cases), shutil.disk_usage(folder).free
    if needed > free:
        reason = f"{len(cases)} cases need about {needed / 1e9:.1f} GB here, {free / 1e9:.1f} GB are free"
        raise OSError(errno.ENOSPC, f"{reason}; make room or give another build folder", str(folder))


def _bytes_needed(case: Case, settings: Preprocessing) -> int:
    try:
        header = read_header(case.imaging)
    except CaseError:
        return 0  # it will be refused, with the reason
    return BYTES_A_VOXEL * math.prod(working_shape(header.shape, header.affine, settings.spacing))


def _made_from(case: Case, settings: Preprocessing, accept: Accept) -> dict:
    """What a case on the working grid depends on: its files (size, time of change), settings, the code's meaning."""
    inputs = [file_state(path) for path in (case.imaging, case.segmentation, case.organs)]
    return plain({"folder": str(case.folder), "inputs": inputs, "settings": settings.as_json(),
                  "accept": asdict(accept), "code": code_of(*CODE)})


def _write_case(case: Case, folder: Path, settings: Preprocessing, accept: Accept, made_from: dict) -> dict:
    """Write one case as ``folder``, which appears only when it is whole, and return its row."""
    partial = folder.with_name(f".{folder.name}")
    for old in (partial, folder):
        shutil.rmtree(old, ignore_errors=True)
    subject = load_subject(case, accept)
    segmentation, affine = subject["segmentation"].numpy()[0], subject["segmentation"].affine
    prepared = preprocess(subject, settings)
    del subject  # gives room to the workers beside this one
    row = {
        "orientation": orientation_of(affine),
        "native_shape": list(segmentation.shape),
        "native_spacing": spacing_of(affine).round(4).tolist(),
        "shape": list(prepared["imaging"].spatial_shape),
        "hu_scale": list(prepared["hu_scale"]),
        "ceiling": grid_ceiling(segmentation, affine, prepared),
    }
    for name, image in prepared.get_images_dict(intensity_only=False).items():
        write_array(partial, name, image.numpy()[0])
    write_receipt(partial, made_from, row=row)
    partial.rename(folder)
    return row

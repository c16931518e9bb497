"""Labels for new CT: ``python -m kitsnb predict IMAGING --run RUN --output FILE``.

Any orientation goes in, and labels come out in the geometry of the file.
"""

import itertools
import resource
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kitsnb.data.cases import Case, discover
from kitsnb.data.checks import check_geometry, check_hu, read_volume
from kitsnb.data.nifti import CaseError, Finding, Header, read_header, read_nifti, spacing_of, voxel_ml, write_nifti
from kitsnb.inference.sliding_window import largest_components, predict_probabilities
from kitsnb.inference.trained import Trained, load_run
from kitsnb.messages import duration
from kitsnb.preprocessing.prepare import Preprocessing, to_grid, z_score
from kitsnb.preprocessing.resampling import SLAB, grid_size, reorient, to_native

CLASSES = 3
#: Seconds a million native voxels to read, resample and write them, as measured on one core.
SECONDS_A_MEGAVOXEL = 0.025


@dataclass(frozen=True)
class Job:
    """One CT to predict: its name in messages, its file, and the file that gets the labels."""

    name: str
    imaging: Path
    output: Path


def find_jobs(imaging: Path, output: Path) -> list[Job]:
    """What to predict: one file, the cases of a folder in KiTS19's format, or else the ``.nii.gz`` files of a folder.

    For a folder, ``output`` is a folder, too, and names are those of KiTS19's submissions: ``prediction_00210.nii.gz`` from
    ``case_00210``. Raises FileNotFoundError where there is nothing, CaseError where ``output`` is no place for it.
    """
    if imaging.is_dir():
        found = _folder(imaging)
        if output.suffix == ".gz" or output.is_file():
            raise CaseError(imaging.name, output.name, "is a file, but many predictions need a folder", "give one as --output")
        jobs = [Job(name, path, output / f"prediction_{name.removeprefix('case_')}.nii.gz") for name, path in found.items()]
    elif not imaging.is_file():
        raise FileNotFoundError(f"{imaging}: no such file or folder; give a CT (.nii.gz) or a folder of them")
    elif not output.name.endswith(".nii.gz"):
        raise CaseError(imaging.name, output.name, "is no name for labels", "give a file that ends in .nii.gz as --output")
    else:
        jobs = [Job(imaging.name.removesuffix(".nii.gz"), imaging, output)]
    for job in jobs:
        if job.output.resolve() == job.imaging.resolve():
            raise CaseError(job.name, job.output.name, "--output would replace it", "give another place")
        if imaging.is_dir() and job.output.resolve().parent == job.imaging.resolve().parent:
            raise CaseError(job.name, job.output.name, "would be a CT itself the next time", "give another folder as --output")
    return jobs


def _folder(folder: Path) -> dict[str, Path]:
    """Names and imaging of a folder's cases."""
    if (folder / "imaging.nii.gz").is_file():
        case = Case(folder.resolve())
        return {case.name: folder / "imaging.nii.gz"}
    files = sorted(path for path in folder.glob("*.nii.gz") if not path.name.startswith("."))
    if files and not any(folder.glob("case_?????/")):
        return {path.name.removesuffix(".nii.gz"): path for path in files}
    return {case.name: case.imaging for case in discover(folder)}


def working_shape(shape: Sequence[int], affine: np.ndarray, settings: Preprocessing) -> tuple[int, int, int]:
    """Size of the working grid (slice, height, width) for a CT of this geometry."""
    along, own = _along_grid(shape, affine)
    return grid_size(along, spacing_of(own), settings.spacing)


def _along_grid(shape: Sequence[int], affine: np.ndarray) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine of a CT once its axes run along those of the working grid."""
    view, own = reorient(np.broadcast_to(np.zeros(1, np.uint8), shape), affine)
    return view.shape, own


def predict_file(trained: Trained, job: Job, keep: int | None = None) -> dict[str, float]:
    """Write the labels (uint8, the CT's affine) of one CT; returns ``kidney_ml`` and ``tumour_ml``.

    ``keep`` drops all but so many pieces of the foreground. Raises CaseError where the CT cannot be used.
    """
    array, affine = _read(job)
    shape = array.shape
    try:
        grid = z_score(to_grid(array, affine, trained.preprocessing)[0][0], trained.preprocessing)
    except ValueError as error:
        raise CaseError(job.name, job.imaging.name, str(error), "check that the values are Hounsfield units") from error
    del array  # a large CT is as large as all that follows
    labels = to_native(predict_probabilities(trained.network, grid, trained.window, CLASSES), shape, affine)
    if keep is not None:
        labels = largest_components(labels, keep)
    write_nifti(job.output, labels, affine, like=read_header(job.imaging))
    return {f"{name}_ml": voxel_ml(affine) * np.count_nonzero(labels == label) for label, name in ((1, "kidney"), (2, "tumour"))}


def _header(job: Job) -> Header:
    """Geometry of a job's CT. Raises CaseError where it is impossible."""
    header = read_header(job.imaging, job.name)
    check_geometry(job.name, job.imaging, header.shape, header.affine)
    return header


def _read(job: Job) -> tuple[np.ndarray, np.ndarray]:
    """Voxels and affine of a CT whose geometry and values make sense; warns of what is odd."""
    notes: list[Finding] = []
    _header(job)  # before all voxels are read
    array, affine = read_volume(job.name, job.imaging, notes)
    check_hu(job.name, job.imaging, array, notes)
    for found in notes:
        warnings.warn(f"{job.name}: {found.message}", stacklevel=2)
    return array, affine


def is_done(job: Job) -> bool:
    """Whether a whole prediction in the CT's geometry is there already."""
    if not job.output.is_file():
        return False
    try:
        header, (labels, affine) = _header(job), read_nifti(job.output)
    except CaseError:
        return False
    return labels.shape == header.shape and np.allclose(affine, header.affine, atol=1e-4)


def forecast(trained: Trained, headers: Sequence[Header]) -> tuple[float, float]:
    """Seconds for CTs of these geometries, and the most bytes that the process will hold.

    One patch and the way back of one slab of the largest CT are timed, and multiplied.
    """
    tile = torch.zeros(*trained.window.patch_size)
    predict_probabilities(trained.network, tile, trained.window, CLASSES)  # the first one warms up
    patch = _seconds(lambda: predict_probabilities(trained.network, tile, trained.window, CLASSES))
    grids = [working_shape(header.shape, header.affine, trained.preprocessing) for header in headers]
    voxels = [float(np.prod(header.shape)) for header in headers]
    largest = int(np.argmax(voxels))
    (_, height, width), affine = _along_grid(headers[largest].shape, headers[largest].affine)
    few = torch.rand(CLASSES, 2, *grids[largest][1:])
    back = _seconds(lambda: to_native(few, (SLAB, height, width), affine)) / (SLAB * height * width)
    seconds = sum(patch * len(list(itertools.product(*trained.window.starts(grid)))) for grid in grids)
    seconds += sum((back + SECONDS_A_MEGAVOXEL / 1e6) * n for n in voxels)
    now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    # First the CT, twice while it is unpacked; later the probabilities, and the labels twice while their axes are turned.
    reading = max(2 * n * header.dtype.itemsize for n, header in zip(voxels, headers))
    writing = max(4 * CLASSES * np.prod(grid) + 2 * n for n, grid in zip(voxels, grids))
    return seconds, now + max(reading, writing)


def _seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def predict_all(trained: Trained, jobs: Sequence[Job], console: Console, *, keep: int | None = None, force: bool = False) -> dict:
    """Predict every job; what is there already stays, unless ``force``. Returns the refused ones: name and CaseError.

    Says before the first one how long all will take and the memory it needs. A bad case does not stop the others.
    """
    waiting = [job for job in jobs if force or not is_done(job)]
    if len(waiting) < len(jobs):
        console.print(f"{len(jobs) - len(waiting)} of {len(jobs)} are predicted already; --force predicts them anew")
    headers, refused = {}, {}
    for job in waiting:
        try:
            headers[job] = _header(job)
        except CaseError as error:
            refused[job.name] = error
    if headers:
        seconds, held = forecast(trained, list(headers.values()))
        device = next(trained.network.parameters()).device
        console.print(f"{len(headers)} to predict on {device}: about {duration(seconds)}, {held / 1e9:.1f} GB of memory")
    for job in headers:
        started = time.perf_counter()
        try:
            found = predict_file(trained, job, keep)
        except CaseError as error:
            refused[job.name] = error
            console.print(f"{job.name}: refused", markup=False)
        else:
            volumes = ", ".join(f"{key.removesuffix('_ml')} {value:.0f} ml" for key, value in found.items())
            console.print(f"{job.name}: {volumes}; {time.perf_counter() - started:.1f} s, {job.output}", markup=False)
    return refused


def main(imaging: Path, run: Path, output: Path, *, keep: int | None = None, force: bool = False) -> int:
    """The command; returns its exit status: 1 where a case was refused. Raises what ``load_run`` and ``find_jobs`` raise."""
    console = Console(soft_wrap=True)
    jobs, trained = find_jobs(imaging, output), load_run(run)
    if trained.simulated:
        console.print("[bold yellow]The network was trained on simulated CT: what it says about a patient means nothing.[/]")
    elif trained.simulated is None:
        console.print("[yellow]Was the network trained on simulated CT? Its run.json does not say.[/]")
    refused = predict_all(trained, jobs, console, keep=keep, force=force)
    if refused:
        table = Table("case", "file", "refused", "what to do")
        for name, error in refused.items():
            table.add_row(*map(escape, (name, error.file, error.reason, error.advice)))
        console.print(table)
    return 1 if refused else 0

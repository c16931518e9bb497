"""Labels for new CT: ``kitsnb predict IMAGING --run RUN --output OUTPUT``.

Any orientation goes in, and labels come out in the geometry of the file, named so that ``kitsnb score`` finds them.
"""

import re
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import style
from scipy import ndimage

from kitsnb.data.cases import Case, case_name, is_nifti
from kitsnb.data.checks import check_hu
from kitsnb.data.nifti import CaseError, read_header, read_nifti, spacing_of, voxel_ml, write_nifti
from kitsnb.drawing import three_views
from kitsnb.files import replaced
from kitsnb.inference.sliding_window import predict_probabilities
from kitsnb.inference.trained import Trained, load_run
from kitsnb.messages import console
from kitsnb.preprocessing.prepare import prepare_imaging
from kitsnb.preprocessing.resampling import reorient, to_native

_FOLDER = re.compile(r"case_\d{5}")


@dataclass(frozen=True)
class Job:
    """One CT to predict: its name in messages, its file, and the file that gets the labels."""

    name: str
    imaging: Path
    output: Path

    @property
    def picture(self) -> Path:
        return self.output.with_name(self.output.name.removesuffix(".nii.gz") + ".png")


def find_jobs(imaging: Path, output: Path) -> tuple[list[Job], list[str]]:
    """Return what to predict, and the names of what else lies in the folder.

    ``imaging`` is a CT, a case in KiTS19's format, or a folder of both. In a folder ``output``, labels are called
    ``prediction_00210.nii.gz`` for ``case_00210``, as KiTS19's submissions are, and else as their CT.
    Raises FileNotFoundError where there is no CT, CaseError where ``output`` is no place for labels.
    """
    if imaging.is_file() and output.name.endswith(".nii.gz"):
        return [Job(case_name(imaging), imaging, output)], []
    if output.is_file() or is_nifti(output):
        advice = "give a file that ends in .nii.gz for one CT, a folder for many, as --output"
        raise CaseError(imaging.name, output.name, "is no place for these labels", advice)
    if output.resolve() in (imaging.resolve(), imaging.resolve().parent):
        reason = "holds the CT, and labels would be CT the next time"
        raise CaseError(imaging.name, output.name, reason, "give another --output")
    alone = imaging.is_file() or Case(imaging).imaging.is_file()
    jobs, others = [], []
    for path in [imaging.resolve()] if alone else sorted(imaging.glob("[!.]*")):
        if path.is_dir() and (_FOLDER.fullmatch(path.name) or Case(path).imaging.is_file()):
            name, file = path.name, Case(path).imaging
        elif path.is_file() and is_nifti(path):
            name, file = case_name(path), path
        else:
            others.append(path.name)
            continue
        labels = name.replace("case_", "prediction_") if _FOLDER.fullmatch(name) else name
        jobs.append(Job(name, file, output / f"{labels}.nii.gz"))
    if not jobs:
        raise FileNotFoundError(f"{imaging}: holds no CT (.nii.gz, .nii) and no case_XXXXX; give one that does")
    return jobs, others


def check_output(job: Job, force: bool, picture: bool) -> None:
    """Raise CaseError where what is written for ``job`` would replace the CT, or without ``force`` anything."""
    for file in (job.output, job.picture) if picture else (job.output,):
        if file.exists() and job.imaging.exists() and file.samefile(job.imaging):
            raise CaseError(job.name, file.name, "is the CT itself", "give another --output")
        if file.exists() and not force:
            raise CaseError(job.name, file.name, f"{file} is there already", "replace it with --force, or move it away")


def keep_largest(labels: np.ndarray, count: int) -> np.ndarray:
    """Return ``labels`` with the ``count`` largest pieces alone.

    Kidney and tumour count as one foreground, and voxels that touch by a corner as one piece.
    """
    pieces, _ = ndimage.label(labels > 0, np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0  # the background
    kept = np.zeros(len(sizes), np.uint8)
    kept[np.argsort(sizes)[-count:]] = 1
    return labels * kept[pieces]


def predict_file(trained: Trained, job: Job, keep_components: int | None = None, picture: bool = False) -> list[str]:
    """Write the labels (uint8, in the geometry that the CT's header has) of one CT, and a picture of them.

    Returns what is to be said: ml of kidney and of tumour, then what is odd about the CT. Raises CaseError where it
    cannot be used.
    """
    notes: list[str] = []
    _, _, header = read_header(job.imaging, job.name)
    imaging, affine = read_nifti(job.imaging, job.name, notes)
    check_hu(job.name, job.imaging, imaging, notes)
    settings = trained.record.settings
    volume, _ = prepare_imaging(imaging, affine, settings.preprocessing, job.name, job.imaging.name)
    overlap = settings.prediction.overlap
    probabilities = predict_probabilities(trained.network, volume, settings.training.patch_size, overlap)
    labels = to_native(probabilities, imaging.shape, affine)
    if keep_components:
        labels = keep_largest(labels, keep_components)
    write_nifti(job.output, labels, affine, like=header)
    if picture:
        draw(job, imaging, labels, affine, is_simulated(trained, job.imaging))
    _, kidney, tumour = np.bincount(labels.ravel(), minlength=3) * voxel_ml(affine)
    return [f"kidney {kidney:.1f} ml, tumour {tumour:.1f} ml", *notes]


def draw(job: Job, imaging: np.ndarray, labels: np.ndarray, affine: np.ndarray, simulated: bool) -> None:
    """Write the picture of a prediction: three planes through the largest sections."""
    imaging, upright = reorient(imaging, affine)
    labels, _ = reorient(labels, affine)
    with style.context("default"), replaced(job.picture) as partial:  # whatever the reader's matplotlibrc says
        figure = three_views(imaging, {"prediction": labels}, spacing_of(upright), job.name, simulated)
        figure.savefig(partial, dpi=150)


def is_simulated(trained: Trained, imaging: Path) -> bool:
    """Return whether ``imaging`` is known to be simulated: one of the cases that the run's build made for itself."""
    data = trained.folder.parent.parent / "data"
    return trained.record.simulated and data in imaging.resolve().parents


def main(imaging: Path, run: Path, output: Path, keep_components: int | None = None, force: bool = False,
         picture: bool = True) -> int:
    """Predict one CT or a folder of them; return the exit status: 1 where one was refused, and the others went on.

    Raises what ``load_run`` and ``find_jobs`` raise, and ValueError where no component is to be kept.
    """
    if keep_components is not None and keep_components < 1:
        raise ValueError(f"--keep-components must be at least 1, not {keep_components}")
    screen = console()
    jobs, others = find_jobs(imaging, output)
    trained = load_run(run)
    screen.print(trained.record.summary)
    screen.print("For research, not for patients.", style="bold yellow")
    if others:
        screen.print(f"skipped, as no CT: {', '.join(others)}", style="yellow")
    uses = Counter(job.output for job in jobs)
    status = 0
    for job in jobs:
        started = time.perf_counter()
        try:
            if uses[job.output] > 1:
                reason = f"{uses[job.output]} CT have this name, and all their labels would be {job.output.name}"
                raise CaseError(job.name, job.imaging.name, reason, "rename it, or predict it by itself")
            check_output(job, force, picture)
            found, *notes = predict_file(trained, job, keep_components, picture)
        except CaseError as error:
            screen.print(f"refused: {error}", style="red")
            status = 1
        else:
            screen.print(f"{job.name}: {found}; {time.perf_counter() - started:.1f} s, {job.output}")
            for note in notes:
                screen.print(f"{job.name}: {note}", style="yellow")
    return status

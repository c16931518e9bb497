"""Labels for new CT: ``python -m kitsnb predict IMAGING --run RUN --output FILE``.

Any orientation goes in, and labels come out in the geometry of the file. A receipt beside each file of labels says
which CT, run and options it came from: by that it is up to date, or made anew, or not ours to replace.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from kitsnb.data.cases import Case, discover, stem
from kitsnb.data.checks import check_hu
from kitsnb.data.nifti import CaseError, Finding, Header, read_header, read_nifti, spacing_of, write_nifti
from kitsnb.drawing import three_views
from kitsnb.files import digest, plain, process_peak, read_json, read_receipt, receipt_of, replaced, write_receipt
from kitsnb.inference.findings import Piece, chosen, description, doubts, find_body, find_pieces, kept_only
from kitsnb.inference.sliding_window import CLASSES, locate, predict_probabilities
from kitsnb.inference.trained import Trained, load_run
from kitsnb.messages import console, duration
from kitsnb.preprocessing.prepare import to_grid, z_score
from kitsnb.preprocessing.resampling import reorient, to_native, working_shape

#: Seconds a million native voxels to read, resample, label and write them, as measured on one core.
SECONDS_A_MEGAVOXEL = 0.025
ENDS = (".nii", ".nii.gz")


@dataclass(frozen=True)
class Job:
    """One CT to predict: its name in messages, its file, and the file that gets the labels."""

    name: str
    imaging: Path
    output: Path


def find_jobs(imaging: Path, output: Path) -> tuple[list[Job], list[str]]:
    """What to predict, and the names of what else lies in the folder.

    That is a file, or of a folder the cases in KiTS19's format, or else all NIfTI files. For a folder, ``output`` is a
    folder, too, and names are those of KiTS19's submissions: ``prediction_00210.nii.gz`` from ``case_00210``.
    Raises FileNotFoundError where there is nothing, CaseError where ``output`` is no place for it.
    """
    if not imaging.exists():
        raise FileNotFoundError(f"{imaging}: no such file or folder; give a CT (.nii.gz) or a folder of them")
    if not imaging.is_dir():
        if not output.name.endswith(".nii.gz"):
            advice = "give a file that ends in .nii.gz as --output"
            raise CaseError(imaging.name, output.name, "is no name for labels", advice)
        return [Job(stem(imaging), imaging, output)], []
    if output.name.endswith(ENDS) or output.is_file():
        reason = "is a file, and many predictions need a folder"
        raise CaseError(imaging.name, output.name, reason, "give one as --output")
    if output.resolve() == imaging.resolve():
        reason = "holds the CT, and labels would be CT the next time"
        raise CaseError(imaging.name, output.name, reason, "give another --output")
    alone = Case(imaging.resolve())
    visible = sorted(path for path in imaging.iterdir() if not path.name.startswith("."))
    found = {stem(path): path for path in visible if path.name.endswith(ENDS) and path.is_file()}
    if alone.imaging.is_file():
        found, visible = {alone.name: alone.imaging}, []
    elif not found or any(imaging.glob("case_?????/")):
        found = {case.name: case.imaging for case in discover(imaging)}
    used = {place for path in found.values() for place in (path, path.parent)}
    jobs = [Job(name, path, output / f"prediction_{name.removeprefix('case_')}.nii.gz") for name, path in found.items()]
    return jobs, [path.name for path in visible if path not in used]


@dataclass(frozen=True)
class Options:
    """``located``: label in the box of the kidneys alone. ``keep``: so many pieces at most."""

    located: bool = False
    keep: int | None = None


def made_from(trained: Trained, job: Job, options: Options) -> dict:
    """What the labels of ``job`` depend on."""
    run = [trained.checkpoint, trained.preprocessing.as_json(), trained.window.as_json()]
    return plain({"CT": digest(job.imaging), "run": run, "--locate": options.located,
                  "--keep-components": options.keep})


def why_predict(trained: Trained, job: Job, options: Options, force: bool) -> str | None:
    """Why the labels of ``job`` are to be made; None where they are up to date.

    Raises CaseError for a file that is not ours to replace: no receipt says that it was predicted, or it has changed.
    """
    if not job.output.exists():
        return "is not there yet"
    before, reason = read_json(receipt_of(job.output)).get("made_from"), "was changed after it was predicted"
    if before is None:
        reason = "is there already, and no receipt says that it is a prediction"
    elif read_receipt(job.output, before):
        other = [name for name, value in made_from(trained, job, options).items() if before.get(name) != value]
        return f"came from another {' and '.join(other)}" if other else "is wanted anew" if force else None
    else:
        try:
            read_nifti(job.output)
        except CaseError:
            return "is damaged"
    raise CaseError(job.name, job.output.name, reason, "give another --output, or move it away")


def predict_file(trained: Trained, job: Job, options: Options = Options()) -> tuple[list[Piece], list[str]]:
    """Write the labels (uint8, in the geometry that the CT's header has) of one CT.

    Returns their pieces, and what is to be said of the CT and of them. CaseError where the CT cannot be used.
    """
    found: list[Finding] = []
    header = read_header(job.imaging, job.name)  # before all voxels are read
    array, affine = read_nifti(job.imaging, job.name, found)
    check_hu(job.name, job.imaging, array, found)
    grid, grid_affine = to_grid(array, affine, trained.preprocessing)
    body = find_body(grid[0].numpy(), grid_affine)
    try:
        grid, _ = z_score(grid[0], trained.preprocessing)
    except ValueError as error:
        raise CaseError(job.name, job.imaging.name, str(error), "check that the values are Hounsfield units") from error
    said = [finding.message for finding in found]
    box = locate(trained.network, grid, grid_affine, trained.window) if options.located else None
    if options.located and box is None:
        said.append("no kidney was located, so the whole scan was labelled")
    labels = to_native(predict_probabilities(trained.network, grid, trained.window, box), header.shape, affine)
    pieces, numbers = find_pieces(labels, array, affine, body)
    if options.keep is not None and pieces:
        kept = chosen(pieces, options.keep)
        labels = kept_only(labels, numbers, kept)
        dropped = [piece for piece in pieces if piece not in kept]
        away = sum(piece.ml for piece in dropped if piece.away)
        said.append(f"--keep-components removed {sum(piece.ml for piece in dropped):.1f} ml in {len(dropped)} pieces, "
                    f"{away:.1f} ml of it where no kidney lies")
        pieces = kept
    write_nifti(job.output, labels, affine, like=header)
    return pieces, said + doubts(pieces)


def forecast(trained: Trained, headers: Sequence[Header]) -> tuple[float, float]:
    """Seconds for CTs of these geometries, by one patch that is timed, and the most bytes of memory."""
    tile = torch.zeros(*trained.window.patch_size)
    predict_probabilities(trained.network, tile, trained.window)  # the first one warms up
    started = time.perf_counter()
    predict_probabilities(trained.network, tile, trained.window)
    patch = time.perf_counter() - started
    spacing = trained.preprocessing.spacing
    grids = [working_shape(header.shape, header.affine, spacing) for header in headers]
    voxels = [float(np.prod(header.shape)) for header in headers]
    patches = sum(math.prod(map(len, trained.window.starts(grid))) for grid in grids)
    # First the CT, twice while it is unpacked; later it, probabilities, and labels twice while their axes are turned.
    reading = max(2 * n * header.dtype.itemsize for n, header in zip(voxels, headers))
    writing = max(4 * CLASSES * np.prod(grid) + (2 + header.dtype.itemsize) * n for n, grid,
                  header in zip(voxels, grids, headers))
    return patch * patches + SECONDS_A_MEGAVOXEL * sum(voxels) / 1e6, process_peak() + max(reading, writing)


def predict_all(
    trained: Trained, jobs: Sequence[Job], screen: Console, options: Options = Options(), *,
    force: bool = False, pictures: bool = False,
) -> dict[str, CaseError]:
    """Predict what is not up to date, or with ``force`` all. Returns why others were refused, by name.

    Says before the first one how long all will take and the memory it needs. A bad case does not stop the others.
    """
    waiting: dict[Job, Header] = {}
    refused: dict[str, CaseError] = {}
    for job in jobs:
        try:
            header = read_header(job.imaging, job.name)
            why = why_predict(trained, job, options, force)
        except CaseError as error:
            refused[job.name] = error
            continue
        if why:
            waiting[job] = header
        if why and job.output.exists():
            screen.print(f"{job.output} {why}: predicted again")
    if ready := len(jobs) - len(waiting) - len(refused):
        screen.print(f"{ready} of {len(jobs)} are predicted already; --force predicts them anew")
    if waiting:
        seconds, held = forecast(trained, list(waiting.values()))
        device = next(trained.network.parameters()).device
        time_needed = f"{'at most' if options.located else 'about'} {duration(seconds)}"
        screen.print(f"{len(waiting)} to predict on {device}: {time_needed}, {held / 1e9:.1f} GB of memory")
    for job in waiting:
        try:
            _predict(trained, job, screen, options, pictures)
        except CaseError as error:
            refused[job.name] = error
            screen.print(f"{job.name}: refused", style="red")
    return refused


def _predict(trained: Trained, job: Job, screen: Console, options: Options, pictures: bool) -> None:
    """Labels, receipt and picture of one CT, and what was found."""
    started, made = time.perf_counter(), made_from(trained, job, options)
    pieces, said = predict_file(trained, job, options)
    ours, picture = read_json(receipt_of(job.output)).get("picture"), job.output.with_name(f"{stem(job.output)}.png")
    write_receipt(job.output, made, picture=ours)
    screen.print(f"{job.name}: {description(pieces)}; {time.perf_counter() - started:.1f} s, {job.output}")
    for line in said:
        screen.print(f"{job.name}: {line}", style="yellow")
    if pictures and picture.exists() and digest(picture) != ours:
        screen.print(f"{picture} is none of ours, and was left as it is", style="yellow")
    elif pictures:
        draw(job, picture)
        write_receipt(job.output, made, picture=digest(picture))


def draw(job: Job, picture: Path) -> None:
    """The picture of what was predicted: three planes through the largest sections."""
    labels, affine = read_nifti(job.output)
    (imaging, upright), (labels, _) = reorient(read_nifti(job.imaging)[0], affine), reorient(labels, affine)
    with replaced(picture) as partial:
        three_views(imaging, {"prediction": labels}, spacing_of(upright), job.name).savefig(partial, dpi=150)


def main(imaging: Path, run: Path, output: Path, options: Options, *, force: bool = False,
         pictures: bool = False) -> int:
    """The command, as ``predict_all``; returns its exit status: 1 where a case was refused.

    Raises what ``load_run`` and ``find_jobs`` raise.
    """
    screen = console()
    (jobs, skipped), trained = find_jobs(imaging, output), load_run(run)
    if skipped:
        screen.print(f"skipped, as no CT: {', '.join(skipped)}")
    if trained.simulated:
        warning = "The network was trained on simulated CT: what it says about a patient means nothing."
        screen.print(warning, style="bold yellow")
    elif trained.simulated is None:
        screen.print("Was the network trained on simulated CT? Its run.json does not say.", style="yellow")
    refused = predict_all(trained, jobs, screen, options, force=force, pictures=pictures)
    for error in refused.values():
        screen.print(f"refused: {error}", style="red")
    return 1 if refused else 0

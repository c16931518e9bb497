"""A paper on loss functions for kidney and kidney-tumour segmentation (KiTS19) that you can run.

New here? `run quick` makes the whole paper on simulated CT, in minutes and without data; `show build/quick` then shows
its cases. With KiTS19's data the order is `download`, `check`, `estimate kits19`, `run kits19`.

Each command explains itself, with an example: `python -m kitsnb run --help`.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from kitsnb.files import plain
from kitsnb.messages import console, nearest

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  rich_markup_mode="markdown")
#: Groups of the menu, in its order.
PAPER, DATA, LOOK, NEW = "Make the paper", "Data", "Look", "New CT"
ProfileName = Annotated[Path, typer.Argument(metavar="PROFILE", help="quick, hybrid, kits19, labels, or your own file")]
Parameters = Annotated[list[str], typer.Option("--parameter", "-p", help="set one, as training.epochs=30; repeatable")]
AtATime = Annotated[int | None, typer.Option(min=1, help="trainings at a time; else one a GPU, or one a core")]
Address = Annotated[str | None, typer.Option(help="folder on another server, instead of the official one")]
LabelMap = Annotated[list[str], typer.Option(help="take label OLD as NEW, as in 3=1 for cysts; repeatable")]
BuildFolder = Annotated[str | None, typer.Option("--build", help="folder of all outputs, instead of build/PROFILE")]
LabelsOnly = Annotated[bool, typer.Option("--labels-only", help="do without the imaging, some 28 GB")]


@app.command(rich_help_panel=PAPER)
def run(
    profile: ProfileName,
    parameter: Parameters = [],  # noqa: B006
    why: Annotated[bool, typer.Option("--why", help="say what would run and why; run nothing")] = False,
    runs_at_a_time: AtATime = None,
    launch: Annotated[str | None, typer.Option(help="starts each training elsewhere, as 'srun --gpus 1'")] = None,
    only: Annotated[str | None, typer.Option(help="one stage alone, such as results")] = None,
    force: Annotated[bool, typer.Option("--force", help="also what is up to date; keeps finished trainings")] = False,
    build: BuildFolder = None,
):
    """Bring all notebooks and the paper of a profile up to date.

    What is up to date is not run again, and what was interrupted goes on. The paper is build/PROFILE/paper.pdf.

    Example: `python -m kitsnb run quick -p training.epochs=30`
    """
    from kitsnb.workflow.profile import STAGES
    from kitsnb.workflow.run import run_profile

    if only is not None and only not in STAGES:
        sys.exit(f"--only {only}: {nearest(only, STAGES)}")
    checked = _load(profile, parameter, build)
    sys.exit(run_profile(checked, runs_at_a_time=runs_at_a_time, launch=launch, only=only, force=force, dry=why))


@app.command(rich_help_panel=PAPER)
def publish(profile: ProfileName, parameter: Parameters = [], build: BuildFolder = None):  # noqa: B006
    """Keep the finished runs of a profile in the repository, as data: paper/published/PROFILE.

    Example: `python -m kitsnb publish hybrid`
    """
    from kitsnb.workflow.publish import publish as write

    with plainly():
        print(write(_load(profile, parameter, build)))


@app.command(rich_help_panel=PAPER)
def watch(
    profile: ProfileName,
    parameter: Parameters = [],  # noqa: B006
    once: Annotated[bool, typer.Option("--once", help="print the table and end, for logs")] = False,
    build: BuildFolder = None,
):
    """Show the training runs of a profile, live, from any terminal.

    Example: `python -m kitsnb watch quick`
    """
    from kitsnb.workflow.progress import watch as show

    show(_load(profile, parameter, build), once=once)


@app.command(rich_help_panel=PAPER)
def estimate(
    profile: ProfileName,
    parameter: Parameters = [],  # noqa: B006
    runs_at_a_time: AtATime = None,
    tflops: Annotated[float | None, typer.Option(min=0.001, help="sustained rate, instead of the assumed one")] = None,
    measure: Annotated[bool, typer.Option(help="time a few steps on this machine, some 12 seconds")] = True,
):
    """Say what a profile will cost in time and memory; needs no data.

    Example: `python -m kitsnb estimate kits19 --runs-at-a-time 4`
    """
    from kitsnb.workflow import cost

    checked = _load(profile, parameter, None, data_free=True)
    with plainly(), console().status("timing steps on this machine"):
        said = cost.estimate(checked, workers=runs_at_a_time, tflops=tflops, seconds=cost.LONG if measure else 0)
    print(said)


@app.command(rich_help_panel=DATA)
def download(
    to: Annotated[Path, typer.Option(help="folder for case_00000, case_00001, ... and kits.json")],
    cases: Annotated[str | None, typer.Option(help="numbers and ranges, as in 0-9,15; without it all 210")] = None,
    labels_only: LabelsOnly = False,
    labels_address: Address = None,
    imaging_address: Address = None,
):
    """Download KiTS19 from its official sources, or go on with it.

    Exit status 1 when a file failed; the same command tries again.

    Example: `python -m kitsnb download --to kits19 --cases 0-9`
    """
    from kitsnb.data import download as source

    with plainly():
        numbers = None if cases is None else source.parse_cases(cases)
        failures = source.download(to, numbers, labels_only, labels_address or source.LABELS_ADDRESS,
                                   imaging_address or source.IMAGING_ADDRESS)
    sys.exit(1 if failures else 0)


@app.command(rich_help_panel=DATA)
def check(
    folder: Annotated[Path, typer.Argument(help="folder that holds case_00000, case_00001, ...")],
    labels_only: LabelsOnly = False,
    label_map: LabelMap = [],  # noqa: B006
    accept_affine: Annotated[bool, typer.Option("--accept-affine", help="imaging's counts where they differ")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="a list for programs instead of a table")] = False,
    workers: Annotated[int, typer.Option(min=1, help="cases at a time")] = 2,
):
    """Read every case of a folder from end to end, and say which cannot be used and why.

    Exit status 1 when one cannot be used, 2 when none is there.

    Example: `python -m kitsnb check kits19`
    """
    from kitsnb.data.cases import discover, skipped
    from kitsnb.data.checks import Accept, check_cases

    with plainly(status=2):
        accept = Accept(parse_label_map(label_map), accept_affine)
        reports = check_cases(discover(folder), not labels_only, accept, workers)
    if as_json:
        print(json.dumps([asdict(report) for report in reports], indent=1))
    else:
        from rich.table import Table

        table = Table("case", "status", "reasons")
        for report in reports:
            table.add_row(report.case, report.status, "\n".join(found.message for found in report.reasons))
        console().print(table)
        if others := skipped(folder):
            console().print(f"skipped, as no case: {', '.join(others)}")
    sys.exit(1 if any(report.status == "refused" for report in reports) else 0)


def parse_label_map(pairs: list[str]) -> dict[int, int]:
    """{3: 1} of ["3=1"]. ValueError for anything else."""
    try:
        return {int(old): int(new) for old, new in (pair.split("=") for pair in pairs)}
    except ValueError:
        raise ValueError(f"--label-map {' '.join(pairs)}: must read OLD=NEW, as in 3=1") from None


@app.command(rich_help_panel=NEW)
def predict(
    imaging: Annotated[Path, typer.Argument(help="a CT (.nii.gz, .nii), or a folder of case_XXXXX or of such files")],
    run: Annotated[Path, typer.Option(help="folder of a training run, such as build/quick/runs/dice-seed0")],
    output: Annotated[Path, typer.Option(help="file for the labels; a folder for those of a folder")],
    keep_components: Annotated[int | None, typer.Option(min=1, help="the largest pieces alone (2)")] = None,
    force: Annotated[bool, typer.Option("--force", help="replace what is there")] = False,
    picture: Annotated[bool, typer.Option(help="draw three planes of each prediction, as PNG beside it")] = True,
):
    """Label kidneys and tumours in new CT with the network of a run.

    Exit status 1 when a CT cannot be used.

    Example: `python -m kitsnb predict ct.nii.gz --run build/quick/runs/dice-seed0 --output labels.nii.gz`
    """
    from kitsnb.inference.predict import main

    with plainly():
        sys.exit(main(imaging, run, output, keep_components, force, picture))


@app.command(rich_help_panel=NEW)
def score(
    predictions: Annotated[Path, typer.Argument(help="folder of label files, such as prediction_00210.nii.gz")],
    references: Annotated[Path, typer.Argument(help="folder of case_XXXXX, or of label files named alike")],
    label_map: LabelMap = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="for programs, with distances and volumes")] = False,
):
    """Score a folder of label files against another, as the challenge does.

    Exit status 1 when a case has no score, 2 when none has.

    Example: `python -m kitsnb score predictions kits19`
    """
    from kitsnb.data.checks import Accept
    from kitsnb.inference.score import score_folder, score_table

    with plainly(status=2):
        found = score_folder(predictions, references, Accept(parse_label_map(label_map)))
    if as_json:
        print(json.dumps(plain(found), indent=1))
    else:
        console().print(score_table(found))
        for name, reason in found["refused"].items():
            console().print(f"{name}: {reason}")
    sys.exit(0 if not found["refused"] else 1 if found["cases"] else 2)


@app.command(rich_help_panel=LOOK)
def show(
    ct: Annotated[Path, typer.Argument(metavar="CASE",
                                       help="a CT (.nii.gz, .nii), a case, a folder of cases, or a build")],
    label: Annotated[Path | None, typer.Option(help="labels of that CT; a case brings its own")] = None,
    prediction: Annotated[Path | None,
                          typer.Option(help="labels by a network: a file, a folder of them, or a run")] = None,
    label_map: LabelMap = [],  # noqa: B006
    output: Annotated[Path | None, typer.Option(help="keep the page in this folder")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="of this machine; 0: any that is free")] = 0,
    opened: Annotated[bool, typer.Option("--open/--no-open", help="open a browser on it")] = True,
):
    """Look at CT in the browser, in three planes and 3D with the labels over it.

    The page is served by this machine until Ctrl-C; --output keeps it.

    Example: `python -m kitsnb show build/quick --prediction build/quick/runs/dice-seed0`
    """
    from kitsnb.data.checks import Accept
    from kitsnb.viewing.show import show as serve

    with plainly():
        serve(ct, label, prediction, Accept(parse_label_map(label_map)), output=output, port=port, opened=opened)


@app.command(rich_help_panel=LOOK)
def site(
    profile: ProfileName,
    address: Annotated[str, typer.Option(help="where it will lie, as https://my.org/paper, for previews")] = "",
    build: BuildFolder = None,
):
    """Write a finished build as a page to share: story, table, figures, notebooks, paper, a viewer of cases.

    It is build/PROFILE/site, static files for any web server, which ask no other address for anything.

    Example: `python -m kitsnb site quick`
    """
    from kitsnb.viewing.site import write_site

    with plainly():
        page = write_site(_load(profile, [], build, data_free=True).build, address)
        size = sum(file.stat().st_size for file in page.parent.rglob("*") if file.is_file()) / 1e6
        console().print(f"{page} ({size:.0f} MB). To look at it: python -m http.server -d {page.parent}")


def _load(profile: Path, parameters: list[str], build: str | None, data_free: bool = False):
    """The checked profile; else the process ends with everything that is wrong with it."""
    from kitsnb.workflow.profile import load

    with plainly():
        return load(profile, parameters, build=build, data_free=data_free)


@contextmanager
def plainly(status: int = 1) -> Iterator[None]:
    """What is wrong with what was given, or with its files, ends the process in plain words, with ``status``."""
    try:
        yield
    except (OSError, ValueError) as error:
        file = getattr(error, "filename", None)
        print(f"{file}: {error.strerror}" if file else error, file=sys.stderr)
        sys.exit(status)


if __name__ == "__main__":
    app()

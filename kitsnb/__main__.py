"""A paper on loss functions for kidney and kidney-tumour segmentation (KiTS19) that you can run.

* `run quick`: the whole paper on simulated CT, in minutes; `run quick --why` says what that would do
* `download`, `check`, `estimate kits19`, `run kits19`: the same on the real data, after a look at what it costs
* `predict`: labels for new CT, by a network that was trained; `score`: a folder of labels against another
* `show`: CT in the browser, with the labels that there are
* `show`: a CT in the browser, with the labels that there are

Each command explains its options with `--help`.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  rich_markup_mode="markdown")
ProfileName = Annotated[Path, typer.Argument(metavar="PROFILE", help="quick, hybrid, kits19, labels, or your own file")]
Parameters = Annotated[list[str], typer.Option("--parameter", "-p", help="set one, as training.epochs=30; repeatable")]
AtATime = Annotated[int | None, typer.Option(min=1, help="trainings at a time; else one a GPU, or one a core")]
Address = Annotated[str | None, typer.Option(help="folder on another server, instead of the official one")]
LabelMap = Annotated[list[str], typer.Option(help="take label OLD as NEW, as in 3=1 for cysts; repeatable")]
BuildFolder = Annotated[str | None, typer.Option("--build", help="folder of all outputs, instead of build/PROFILE")]
LabelsOnly = Annotated[bool, typer.Option("--labels-only", help="do without the imaging, some 28 GB")]


@app.command()
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
    """Bring all notebooks and the paper of a profile up to date."""
    from kitsnb.messages import nearest
    from kitsnb.workflow.profile import STAGES
    from kitsnb.workflow.run import run_profile

    if only is not None and only not in STAGES:
        sys.exit(f"--only {only}: {nearest(only, STAGES)}")
    checked = _load(profile, parameter, build)
    sys.exit(run_profile(checked, runs_at_a_time=runs_at_a_time, launch=launch, only=only, force=force, dry=why))


@app.command()
def watch(
    profile: ProfileName,
    parameter: Parameters = [],  # noqa: B006
    once: Annotated[bool, typer.Option("--once", help="print the table and end, for logs")] = False,
    build: BuildFolder = None,
):
    """Show the training runs of a profile, live, from any terminal."""
    from kitsnb.workflow.progress import watch as show

    show(_load(profile, parameter, build), once=once)


@app.command()
def estimate(
    profile: ProfileName,
    parameter: Parameters = [],  # noqa: B006
    runs_at_a_time: AtATime = None,
    tflops: Annotated[float | None, typer.Option(min=0.001, help="sustained rate, instead of the assumed one")] = None,
    measure: Annotated[bool, typer.Option(help="time a few steps on this machine, some 12 seconds")] = True,
):
    """Say what a profile will cost in time and memory; needs no data."""
    from kitsnb.messages import console
    from kitsnb.workflow import cost

    checked = _load(profile, parameter, None, data_free=True)
    try:
        with console().status("timing steps on this machine"):
            said = cost.estimate(checked, workers=runs_at_a_time, tflops=tflops, seconds=cost.LONG if measure else 0)
        print(said)
    except ValueError as error:
        sys.exit(str(error))


@app.command()
def download(
    to: Annotated[Path, typer.Option(help="folder for case_00000, case_00001, ... and kits.json")],
    cases: Annotated[str | None, typer.Option(help="numbers and ranges, as in 0-9,15; without it all 210")] = None,
    labels_only: LabelsOnly = False,
    labels_address: Address = None,
    imaging_address: Address = None,
):
    """Download KiTS19 from its official sources, or go on with it; exit status 1 when a file failed."""
    from kitsnb.data import download as source

    try:
        numbers = None if cases is None else source.parse_cases(cases)
        failures = source.download(to, numbers, labels_only, labels_address or source.LABELS_ADDRESS,
                                   imaging_address or source.IMAGING_ADDRESS)
    except ValueError as error:
        sys.exit(f"--cases {cases}: {error}")
    sys.exit(1 if failures else 0)


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="folder that holds case_00000, case_00001, ...")],
    labels_only: LabelsOnly = False,
    label_map: LabelMap = [],  # noqa: B006
    accept_affine: Annotated[bool, typer.Option("--accept-affine", help="imaging's counts where they differ")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="a list for programs instead of a table")] = False,
    workers: Annotated[int, typer.Option(min=1, help="cases at a time")] = 2,
):
    """Read every case of a folder from end to end; exit status 1 when one cannot be used, 2 when none is there."""
    from kitsnb.data.cases import discover, skipped
    from kitsnb.data.checks import Accept, check_cases

    try:
        accept = Accept(parse_label_map(label_map), accept_affine)
        reports = check_cases(discover(folder), not labels_only, accept, workers)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    if as_json:
        print(json.dumps([asdict(report) for report in reports], indent=1))
    else:
        from rich.table import Table

        from kitsnb.messages import console

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


@app.command()
def predict(
    imaging: Annotated[Path, typer.Argument(help="a CT (.nii.gz, .nii), or a folder of case_XXXXX or of such files")],
    run: Annotated[Path, typer.Option(help="folder of a training run, such as build/quick/runs/dice-seed0")],
    output: Annotated[Path, typer.Option(help="file for the labels; a folder for those of a folder")],
    locate: Annotated[bool, typer.Option("--locate", help="find the kidneys first, label around them only")] = False,
    keep_components: Annotated[int | None, typer.Option(min=1, help="the largest pieces where kidneys lie (2)")] = None,
    force: Annotated[bool, typer.Option("--force", help="also what is up to date")] = False,
    picture: Annotated[bool, typer.Option(help="draw three planes of each prediction, as PNG beside it")] = True,
):
    """Label kidneys and tumours in new CT with the network of a run; exit status 1 when one cannot be used."""
    from kitsnb.data.nifti import CaseError
    from kitsnb.inference.predict import Options, main

    try:
        status = main(imaging, run, output, Options(locate, keep_components), force=force, pictures=picture)
    except (CaseError, FileNotFoundError) as error:
        sys.exit(str(error))
    sys.exit(status)


@app.command()
def score(
    predictions: Annotated[Path, typer.Argument(help="folder of label files, such as prediction_00210.nii.gz")],
    references: Annotated[Path, typer.Argument(help="folder of case_XXXXX, or of label files named alike")],
    label_map: LabelMap = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="for programs, with distances and volumes")] = False,
):
    """Score predictions as the challenge does; exit status 1 when a case has no score, 2 when none has."""
    from kitsnb.data.checks import Accept
    from kitsnb.files import plain
    from kitsnb.inference.score import score_folder, score_table
    from kitsnb.messages import console

    try:
        found = score_folder(predictions, references, Accept(parse_label_map(label_map)))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    if as_json:
        print(json.dumps(plain(found), indent=1))
    else:
        console().print(score_table(found))
        for name, reason in found["refused"].items():
            console().print(f"{name}: {reason}")
    sys.exit(0 if not found["refused"] else 1 if found["cases"] else 2)


@app.command()
def show(
    ct: Annotated[Path, typer.Argument(metavar="CASE", help="a CT (.nii.gz, .nii), a folder case_XXXXX or one of them, or a build")],
    label: Annotated[Path | None, typer.Option(help="labels of that CT; a case of a folder has its own")] = None,
    prediction: Annotated[Path | None, typer.Option(help="labels by a network; of a folder the folder, or a run's")] = None,
    label_map: LabelMap = [],  # noqa: B006
    output: Annotated[Path | None, typer.Option(help="keep the page in this folder")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="of this machine; 0: any that is free")] = 0,
    opened: Annotated[bool, typer.Option("--open/--no-open", help="open a browser on it")] = True,
):
    """Look at a CT in the browser, in planes and 3D with the labels over it, until Ctrl-C."""
    from kitsnb.data.checks import Accept
    from kitsnb.viewing.show import show as serve

    try:
        serve(ct, label, prediction, Accept(parse_label_map(label_map)), output=output, port=port, opened=opened)
    except (OSError, ValueError) as error:
        sys.exit(str(error))


@app.command()
def show(
    ct: Annotated[Path, typer.Argument(metavar="CASE", help="a CT (.nii.gz, .nii), a case, a folder of cases, or a build")],
    label: Annotated[Path | None, typer.Option(help="labels of that CT; a case brings its own")] = None,
    prediction: Annotated[Path | None, typer.Option(help="labels by a network: a file, a folder of them, or a run")] = None,
    label_map: LabelMap = [],  # noqa: B006
    output: Annotated[Path | None, typer.Option(help="keep the page in this folder")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="of this machine; 0: any that is free")] = 0,
    opened: Annotated[bool, typer.Option("--open/--no-open", help="open a browser on it")] = True,
):
    """Look at CT in the browser, in three planes and 3D with the labels over it, until Ctrl-C."""
    from kitsnb.data.checks import Accept
    from kitsnb.viewing.show import show as serve

    try:
        serve(ct, label, prediction, Accept(parse_label_map(label_map)), output=output, port=port, opened=opened)
    except (OSError, ValueError) as error:
        sys.exit(str(error))


def _load(profile: Path, parameters: list[str], build: str | None, data_free: bool = False):
    """The checked profile; else the process ends with everything that is wrong with it."""
    from kitsnb.workflow.profile import ProfileError, load

    try:
        return load(profile, parameters, build=build, data_free=data_free)
    except ProfileError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    app()

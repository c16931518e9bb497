"""The command line: ``python -m kitsnb run PROFILE`` and ``python -m kitsnb check FOLDER``."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    profile: Annotated[Path, typer.Argument(help="a file such as notebooks/profiles/quick.yml")],
    parameter: Annotated[list[str], typer.Option("--parameter", "-p", help="stage.name=value, value in YAML")] = [],  # noqa: B006
    why: Annotated[bool, typer.Option("--why", help="say what would run and why; run nothing")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="training runs at a time")] = None,
    only: Annotated[str | None, typer.Option(help="one stage alone")] = None,
    force: Annotated[bool, typer.Option("--force", help="run also what is up to date")] = False,
    build: Annotated[str | None, typer.Option(help="folder of all outputs, instead of build/PROFILE")] = None,
):
    """Bring all notebooks and the paper of a profile up to date."""
    from kitsnb.parameters import nearest
    from kitsnb.profiles import STAGES, ProfileError, load
    from kitsnb.runner import run_profile

    if only is not None and only not in STAGES:
        sys.exit(f"--only {only}: {nearest(only, STAGES)}")
    try:
        checked = load(profile, parameter, build=build)
    except ProfileError as error:
        sys.exit(str(error))
    sys.exit(run_profile(checked, workers=workers, only=only, force=force, dry=why))


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="folder that holds case_00000, case_00001, ...")],
    labels_only: Annotated[bool, typer.Option("--labels-only", help="the imaging is not there")] = False,
):
    """Read every case of a folder from end to end; exit status 1 when one cannot be used."""
    from kitsnb.cases import check_cases, discover

    try:
        cases = discover(folder)
    except FileNotFoundError as error:
        sys.exit(str(error))
    _, refused = check_cases(cases, imaging=not labels_only)
    table = Table("case", "status", "reason")
    for case in cases:
        table.add_row(case.name, "refused" if case.name in refused else "ok", refused.get(case.name, ""))
    Console(soft_wrap=True).print(table)
    sys.exit(1 if refused else 0)


@app.command()
def predict(
    imaging: Annotated[Path, typer.Argument(help="a CT (.nii.gz), or a folder of case_XXXXX or of .nii.gz files")],
    run: Annotated[Path, typer.Option(help="folder of a training run, such as build/quick/runs/dice-seed0")],
    output: Annotated[Path, typer.Option(help="file for the labels; for a folder, the folder for prediction_XXXXX.nii.gz")],
    keep_components: Annotated[int | None, typer.Option(min=1, help="keep only the largest so many pieces (kidneys: 2)")] = None,
    force: Annotated[bool, typer.Option("--force", help="predict also what is there already")] = False,
):
    """Label kidneys and tumours in new CT with the network of a run; exit status 1 when one cannot be used."""
    from kitsnb.cases import CaseError
    from kitsnb.predict import main

    try:
        status = main(imaging, run, output, keep=keep_components, force=force)
    except (CaseError, FileNotFoundError) as error:
        sys.exit(str(error))
    sys.exit(status)


if __name__ == "__main__":
    app()

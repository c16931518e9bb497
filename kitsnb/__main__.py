"""The command line: ``python -m kitsnb run PROFILE`` and ``python -m kitsnb check FOLDER``."""

import json
import sys
from dataclasses import asdict
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
    label_map: Annotated[list[str], typer.Option(help="take label OLD as NEW, as in 3=1 for cysts; can be repeated")] = [],  # noqa: B006
    accept_affine: Annotated[bool, typer.Option("--accept-affine", help="imaging's affine counts where the two differ")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="a list for programs instead of a table")] = False,
    workers: Annotated[int, typer.Option(min=1, help="cases at a time")] = 2,
):
    """Read every case of a folder from end to end; exit status 1 when one cannot be used, 2 when nothing could be checked."""
    from kitsnb.cases import discover
    from kitsnb.checks import Accept, check_cases

    try:
        cases = discover(folder)
        accept = Accept(parse_label_map(label_map), accept_affine)
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    reports = check_cases(cases, not labels_only, accept, workers)
    if as_json:
        print(json.dumps([asdict(report) for report in reports], indent=1))
    else:
        table = Table("case", "status", "reasons")
        for report in reports:
            table.add_row(report.case, report.status, "\n".join(found.message for found in report.reasons))
        Console(soft_wrap=True).print(table)
    sys.exit(1 if any(report.status == "refused" for report in reports) else 0)


def parse_label_map(pairs: list[str]) -> dict[int, int]:
    """{3: 1} of ["3=1"]. ValueError for anything else."""
    try:
        return {int(old): int(new) for old, new in (pair.split("=") for pair in pairs)}
    except ValueError:
        raise ValueError(f"--label-map {' '.join(pairs)}: must read OLD=NEW, as in 3=1") from None


if __name__ == "__main__":
    app()

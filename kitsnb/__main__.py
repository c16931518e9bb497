"""A paper on loss functions for kidney and kidney-tumour segmentation (KiTS19) that you can run.

New here? `run quick` makes the whole paper on simulated CT, in minutes and without data; `show build/quick` shows its
cases. With KiTS19's data: `download`, `check`, `run kits19`. Each command explains itself: `kitsnb run --help`.
"""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from kitsnb.files import InUse, plain
from kitsnb.messages import console

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  rich_markup_mode="markdown")
ProfileName = Annotated[str, typer.Argument(metavar="PROFILE", help="quick, hybrid, kits19, labels, or a file")]
Parameters = Annotated[list[str], typer.Option("--parameter", "-p", help="set one, as training.epochs=30; repeatable")]
AtATime = Annotated[int | None, typer.Option(min=1, envvar="RUNS_AT_A_TIME",
                                             help="else one per GPU, or per core; one behind LAUNCH")]
Launch = Annotated[str | None, typer.Option(envvar="LAUNCH", help="starts each training, as 'srun --gpus 1'")]
LabelMap = Annotated[list[str], typer.Option(help="take label OLD as NEW in all files, as 3=1 for cysts; repeatable")]
BuildFolder = Annotated[str | None, typer.Option("--build", help="folder of all outputs, instead of build/PROFILE")]
LabelsOnly = Annotated[bool, typer.Option("--labels-only", help="do without the imaging, some 28 GB")]


@app.command()
def run(
    profile: ProfileName,
    parameter: Parameters = [],  # noqa: B006
    why: Annotated[bool, typer.Option("--why", help="say what would run and why; run nothing")] = False,
    runs_at_a_time: AtATime = None,
    launch: Launch = None,
    build: BuildFolder = None,
):
    """Bring all notebooks and the paper of a profile, build/PROFILE/paper.pdf, up to date; go on with what was begun.

    Example: `kitsnb run quick -p training.epochs=30`
    """
    from kitsnb.workflow.run import run_profile

    for number in (signal.SIGTERM, signal.SIGHUP):  # end as on Ctrl-C, but for SIGHUP under nohup
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    with plainly():
        checked, changes = _load(profile, parameter, build)
        done = run_profile(checked, changes, runs_at_a_time=runs_at_a_time, launch=launch, dry=why)
    sys.exit(0 if done else 1)


@app.command()
def publish(profile: ProfileName, parameter: Parameters = [], build: BuildFolder = None):  # noqa: B006
    """Keep the finished runs of a profile in the repository, as data: paper/published/PROFILE.

    Example: `kitsnb publish hybrid`
    """
    from kitsnb.workflow.publish import publish as write

    with plainly():
        checked, _ = _load(profile, parameter, build)
        print(write(checked))


@app.command()
def article(name: Annotated[str | None, typer.Argument(help="a published study; without it all of them")] = None):
    """Make paper/published/NAME/paper.pdf of a published study from its data in the repository; nothing is trained.

    Example: `kitsnb article hybrid`
    """
    from kitsnb.study.paper import write_article
    from kitsnb.study.published import papers

    with plainly():
        for one in [name] if name else papers():
            print(write_article(one))


@app.command()
def download(
    to: Annotated[Path, typer.Option(help="folder for case_00000, case_00001, ... and kits.json")],
    cases: Annotated[str, typer.Option(help="numbers and ranges, as in 0-9,15")] = "0-209",
    labels_only: LabelsOnly = False,
):
    """Download KiTS19 from its official sources, or go on with it. HF_ENDPOINT names a mirror of Hugging Face.

    Exit status 1 when a file failed; the same command tries again. Example: `kitsnb download --to kits19 --cases 0-9`
    """
    from kitsnb.data import download as source

    with plainly():
        failures = source.download(to.expanduser(), source.parse_cases(cases), labels_only)
    sys.exit(1 if failures else 0)


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="folder that holds case_00000, case_00001, ...")],
    labels_only: LabelsOnly = False,
    label_map: LabelMap = [],  # noqa: B006
    accept_affine: Annotated[bool, typer.Option("--accept-affine", help="take imaging's where the two differ")] = False,
):
    """Read every case of a folder from end to end, and say which cannot be used and why.

    Exit status 1 when one cannot be used, 2 when none is there. Example: `kitsnb check kits19`
    """
    from kitsnb.data.cases import discover
    from kitsnb.data.checks import Accept, check_cases

    with plainly(status=2):
        accept = Accept.parse(label_map, accept_affine)
        reports = check_cases(discover(folder), not labels_only, accept)
    for report in reports:
        console().print(report.case, report.status, "; ".join(report.reasons))
    sys.exit(1 if any(report.status == "refused" for report in reports) else 0)


@app.command()
def predict(
    imaging: Annotated[Path, typer.Argument(help="a CT (.nii.gz, .nii), or a folder of case_XXXXX or of such files")],
    run: Annotated[Path, typer.Option(help="folder of a training run, such as build/quick/runs/dice-seed0")],
    output: Annotated[Path, typer.Option(help="file for the labels; a folder for those of a folder")],
    keep_components: Annotated[int | None, typer.Option(min=1, help="so many largest pieces alone, such as 2")] = None,
    force: Annotated[bool, typer.Option("--force", help="write over what is there")] = False,
):
    """Label kidneys and tumours in new CT with the network of a run. For research, not for patients.

    Example: `kitsnb predict ct.nii.gz --run build/quick/runs/dice-seed0 --output out.nii.gz`
    """
    from kitsnb.inference.predict import main

    with plainly():
        sys.exit(main(imaging, run, output, keep_components, force))


@app.command()
def score(
    predictions: Annotated[Path, typer.Argument(help="folder of label files, such as prediction_00210.nii.gz")],
    references: Annotated[Path, typer.Argument(help="folder of case_XXXXX, or of label files named alike")],
    label_map: LabelMap = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="for programs, with all that was found")] = False,
):
    """Score a folder of label files against another, as the challenge does.

    Exit status 1 when a case has no score, 2 when none has. Example: `kitsnb score predictions kits19`
    """
    from kitsnb.data.checks import Accept
    from kitsnb.inference.score import score_folder, score_table

    with plainly(status=2):
        found = score_folder(predictions, references, Accept.parse(label_map))
    if as_json:
        print(json.dumps(plain(found), indent=1))
    else:
        console().print(score_table(found))
        for name, reason in found["refused"].items():
            console().print(f"{name}: {reason}")
    if not found["cases"]:
        sys.exit(2)
    sys.exit(1 if found["refused"] else 0)


@app.command()
def show(
    ct: Annotated[Path, typer.Argument(metavar="CASE", help="a CT, a case, a folder of cases, or a build")],
    prediction: Annotated[Path | None, typer.Option(help="labels by a network: a file, a folder, or a run")] = None,
    label_map: LabelMap = [],  # noqa: B006
    port: Annotated[int, typer.Option(min=0, max=65535, help="of this machine; 0: any that is free")] = 0,
):
    """Look at CT in the browser, with the labels over it, until Ctrl-C.

    Example: `kitsnb show build/quick --prediction build/quick/runs/dice-seed0`
    """
    from kitsnb.data.checks import Accept
    from kitsnb.viewing.show import show as serve

    with plainly():
        serve(ct, prediction, Accept.parse(label_map), port)


@app.command()
def site(profile: ProfileName, build: BuildFolder = None):
    """Write a finished build as a page to share, build/PROFILE/site: findings, table, cases, notebooks, paper.

    These are static files for any web server, which ask no other address for anything. Example: `kitsnb site quick`
    """
    from kitsnb.viewing.site import write_site

    with plainly():
        checked, _ = _load(profile, [], build, data_free=True)
        page = write_site(checked.build)
    print(f"{page}. To look at it: python -m http.server --bind 127.0.0.1 -d {page.parent}")


def _load(profile: str, parameters: list[str], build: str | None, data_free: bool = False):
    """Return the checked profile and the changes."""
    from kitsnb.workflow.profile import load
    from kitsnb.workflow.profile_files import parse_changes

    changes = parse_changes(parameters)
    return load(profile, changes, build=build, data_free=data_free), changes


@contextmanager
def plainly(status: int = 1) -> Iterator[None]:
    """End the process in plain words, with ``status``, for what is wrong with what was given, or with its files."""
    try:
        yield
    except (OSError, ValueError, InUse) as error:
        file = getattr(error, "filename", None)
        print(f"{file}: {error.strerror}" if file and error.strerror else error, file=sys.stderr)
        sys.exit(status)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    app()

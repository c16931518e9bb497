"""Runs a profile: one job after the other, training runs beside each other, and only what is out of date."""

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

from rich.table import Table

from kitsnb import messages
from kitsnb.data.checks import missing_cases
from kitsnb.files import ROOT, Build, locked, read_json, short, write_json
from kitsnb.messages import several
from kitsnb.workflow.execution import CURRENT, DONE, Execution, refuse, why_not_beside
from kitsnb.workflow.jobs import build_jobs, wanted_numbers
from kitsnb.workflow.launch import LaunchError, interruptible, read_launch
from kitsnb.workflow.profile import Profile
from kitsnb.workflow.profile_files import find

#: Exit statuses: all well (also where cases were refused, which is said); a job failed; Ctrl-C.
OK = 0
BAD = 1
INTERRUPTED = 130


def lacking(profile: Profile) -> list[str]:
    """List what the data lack that ``profile`` asks for, and why its rows cannot be paired."""
    found = []
    if profile.data.source != "phantom":
        try:
            found += missing_cases(profile.data)
        except OSError as error:
            found.append(str(error))
    return found + (why_not_beside(profile) if profile.beside else [])


@contextmanager
def alone(build: Build) -> Iterator[None]:
    """Hold ``build`` for this process. Raises LaunchError where another has it, or it cannot be written."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(build.folder, patience=0))
        except RuntimeError as error:
            raise LaunchError(str(error)) from None
        except OSError as error:
            raise LaunchError(f"{build.folder} cannot be written: {error.strerror or error}; free it, or give another "
                              "(--build)") from error
        yield


def delete_build(profile: str) -> Path:
    """Delete ``build/PROFILE`` and return it. Raises ValueError where that is no profile's build."""
    folder = ROOT / "build" / find(profile).stem
    if folder == ROOT / "build" or not (folder / "profile.json").is_file():
        raise ValueError(f"nothing is deleted: {profile!r} has no build ({folder} holds no profile.json)")
    shutil.rmtree(folder)
    return folder


def run_profile(profile: Profile, changes: dict | None = None, *, runs_at_a_time: int | None = None,
                launch: str | None = None, dry: bool = False) -> int:
    """Bring all that ``profile`` makes up to date (``dry``: say what would run); return the exit status."""
    out = messages.console()
    try:
        execution = Execution(profile, changes or {}, read_launch(launch), runs_at_a_time, dry)
        with nullcontext() if dry else alone(profile.build), interruptible():
            found = lacking(profile)
            if not dry:
                refuse(found)
                write_json(profile.build.profile, profile.model_dump(mode="json"))
            for line in found:
                out.print(line, style="red")
            return run_jobs(execution)
    except LaunchError as error:
        out.print(str(error), style="red")
        return BAD
    except KeyboardInterrupt:
        out.print("interrupted: the same command goes on, unfinished runs from their last checkpoint", style="yellow")
        return INTERRUPTED


def run_jobs(execution: Execution) -> int:
    """Run the jobs that are due; return the exit status."""
    began = time.monotonic()
    jobs = build_jobs(execution.profile, execution.changes)
    training = [job for job in jobs if job.stage == "training"]
    for note in left_out(execution.profile):
        execution.console.print(note)
    for job in jobs:
        if job.stage != "training":
            execution.run_alone(job)
        elif job is training[0]:
            execution.run_training(training)
    return OK if execution.dry else report(execution, time.monotonic() - began)


def left_out(profile: Profile) -> list[str]:
    """Say which cases lie in the folder of the data but are not in the split."""
    folder = Path(profile.data.folder or profile.build.data)
    wanted = wanted_numbers(profile)
    names = [path.name for path in sorted(folder.glob("case_*/"))]
    others = [name for name in names if name[5:].isdigit() and int(name[5:]) not in wanted]
    return [f"{short(folder)}: left out, as not in the split: {several(others)}"] if others else []


def report(execution: Execution, seconds: float) -> int:
    """Print failures, refused cases and the summary; return the exit status."""
    out = execution.console
    build = execution.profile.build
    outcomes = execution.outcomes.values()
    table = Table("job", "status", "seconds", "note", title=f"{execution.profile.title}: {seconds:.0f} s")
    for outcome in outcomes:
        took = f"{outcome.seconds:.0f}" if outcome.seconds else ""
        table.add_row(outcome.job.title, outcome.status, took, outcome.note)
    out.print(table, soft_wrap=False)
    failures = [outcome.failure for outcome in outcomes if outcome.failure]
    for failure in failures:
        out.print(f"failed: {short(Path(failure['notebook']))}", style="red")
        out.print(failure["cell"], failure["message"], sep="\n")
    refused = {}
    for path in (build.data_analysis / "summary.json", build.preprocessed / "report.json"):
        refused |= read_json(path).get("refused", {})
    for name, reason in refused.items():
        out.print(f"refused {name}: {reason}", style="yellow")
    out.print(f"notebooks: {short(build.notebooks)}")
    if "paper" in execution.outcomes and execution.outcomes["paper"].status in (DONE, CURRENT):
        out.print(f"paper: {short(build.paper)}")
    return BAD if failures else OK

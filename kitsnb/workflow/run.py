"""Runs a profile: one job after the other, training runs beside each other, and only what is out of date."""

import time
from contextlib import nullcontext
from pathlib import Path

from rich.table import Table

from kitsnb import messages
from kitsnb.data.checks import missing_cases
from kitsnb.files import InUse, locked, read_json, short, write_json
from kitsnb.workflow.execution import CURRENT, DONE, Execution, refuse, why_not_beside
from kitsnb.workflow.jobs import build_jobs
from kitsnb.workflow.launch import LaunchError, interruptible, read_launch
from kitsnb.workflow.profile import Profile

#: Exit statuses: all well (also where cases were refused, which is said); a job failed; Ctrl-C.
OK = 0
BAD = 1
INTERRUPTED = 130


def run_profile(profile: Profile, changes: dict | None = None, *, runs_at_a_time: int | None = None,
                launch: str | None = None, dry: bool = False) -> int:
    """Bring all that ``profile`` makes up to date (``dry``: say what would run); return the exit status."""
    out = messages.console()
    build = profile.build
    try:
        execution = Execution(profile, read_launch(launch), runs_at_a_time, dry)
        with nullcontext() if dry else locked(build.folder, patience=0), interruptible():
            found = why_not_beside(profile)
            if profile.data.source != "phantom":
                found += missing_cases(profile.data)
            if not dry:
                refuse(found)
                write_json(build.profile, profile.model_dump(mode="json"))
            for line in found:
                out.print(line, style="red")
            return run_jobs(execution, changes or {})
    except (LaunchError, InUse) as error:
        out.print(str(error), style="red")
        return BAD
    except OSError as error:
        out.print(f"{error.filename or build.folder}: {error.strerror or error}", style="red")
        return BAD
    except KeyboardInterrupt:
        out.print("interrupted: the same command goes on, unfinished runs from their last checkpoint", style="yellow")
        return INTERRUPTED


def run_jobs(execution: Execution, changes: dict) -> int:
    """Run the jobs that are due; return the exit status."""
    began = time.monotonic()
    jobs = build_jobs(execution.profile, changes)
    training = [job for job in jobs if job.run]
    for job in jobs:
        if not job.run:
            execution.run_alone(job)
        elif job is training[0]:
            execution.run_training(training)
    return OK if execution.dry else report(execution, time.monotonic() - began)


def report(execution: Execution, seconds: float) -> int:
    """Print failures, refused cases and the summary; return the exit status."""
    out = execution.console
    build = execution.profile.build
    table = Table("job", "status", "seconds", "note", title=f"{execution.profile.title}: {seconds:.0f} s")
    for outcome in execution.outcomes:
        table.add_row(outcome.job.title, outcome.status, f"{outcome.seconds:.0f}", outcome.note)
    out.print(table, soft_wrap=False)
    failures = [outcome.failure for outcome in execution.outcomes if outcome.failure]
    for failure in failures:
        out.print(f"failed: {short(Path(failure['notebook']))}", style="red")
        out.print(failure["cell"], failure["message"], sep="\n")
    for path in (build.data_analysis / "summary.json", build.preprocessed / "report.json"):
        for name, reason in read_json(path).get("refused", {}).items():
            out.print(f"refused {name}: {reason}", style="yellow")
    out.print(f"notebooks: {short(build.notebooks)}")
    if any(one.job.stage == "paper" and one.status in (DONE, CURRENT) for one in execution.outcomes):
        out.print(f"paper: {short(build.paper)}")
    return BAD if failures else OK

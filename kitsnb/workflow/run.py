"""Runs a profile: one job after the other, training runs beside each other, and only what is out of date."""

import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kitsnb import messages
from kitsnb.data.checks import missing_cases
from kitsnb.files import ROOT, Build, files_below, locked, read_json, short, write_json
from kitsnb.messages import several
from kitsnb.receipts import state_of
from kitsnb.workflow.jobs import Job, build_jobs, wanted_numbers
from kitsnb.workflow.launch import LaunchError, Places, find_places, interruptible, read_launch, run_beside
from kitsnb.workflow.profile import Profile
from kitsnb.workflow.profile_files import find
from kitsnb.workflow.progress import read_history, shown

DONE = "done"
CURRENT = "up to date"
FAILED = "failed"
SKIPPED = "skipped"
WAITING = "would run"
#: Exit statuses: all well (also where cases were refused, which is said); a job failed; Ctrl-C.
OK = 0
BAD = 1
INTERRUPTED = 130
#: Seconds after which what was half-written counts as left behind.
OLD = 3600


@dataclass
class Outcome:
    """What became of a job."""

    job: Job
    status: str
    seconds: float = 0.0
    failure: dict | None = None
    note: str = ""


@dataclass
class Execution:
    """One execution of a profile."""

    profile: Profile
    changes: dict
    launch: tuple[str, ...] = ()
    at_a_time: int | None = None
    force: bool = False
    dry: bool = False
    console: Console = field(default_factory=messages.console)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    tried: bool = False

    def among(self, names: Sequence[str], *statuses: str) -> list[str]:
        """List the titles of the jobs among ``names`` that have one of ``statuses``."""
        found = [self.outcomes[name] for name in names if name in self.outcomes]
        return [outcome.job.title for outcome in found if outcome.status in statuses]

    def reason(self, job: Job) -> str | None:
        """Say why ``job`` must run now, None where it is up to date. Jobs that it needs must be finished before."""
        reason = "forced" if self.force else job.why()
        late = self.among(job.needs, WAITING)
        if reason is None and late:
            return f"only if {several(late)} will have changed what it reads"
        if reason is None or job.run is None:
            return reason
        if not files_below(job.run):
            return "never trained"
        if stale := job.why_train():
            return f"{stale}; trained again from the start"
        if not (job.run / "checkpoints" / "last.ckpt").exists():
            return f"{reason}; trained again, as its checkpoints are gone"
        if not (job.run / "run.json").exists():
            return f"{reason}; goes on after epoch {len(read_history(job.run))}"
        return f"{reason}; trained already, so only executed again"

    def due(self, job: Job) -> str | None:
        """Say why ``job`` runs now; None where it is up to date, needs one that failed, or where nothing is run."""
        if bad := self.among((*job.needs, *job.after), FAILED, SKIPPED):
            self.outcomes[job.name] = Outcome(job, SKIPPED, note=f"needs {several(bad)}")
            return None
        reason = self.reason(job)
        if reason and not self.dry:
            self.try_losses()
            return reason
        self.outcomes[job.name] = Outcome(job, WAITING if reason else CURRENT, note=reason or "")
        if self.dry:
            self.console.print(f"{job.title}: {reason or CURRENT}")
        return None

    def try_losses(self) -> None:
        """Try all losses once, before the first job starts. Raises LaunchError that says what is wrong with them."""
        if self.tried:
            return
        from kitsnb.workflow.trial import unusable_losses  # imports torch, which a finished build does without

        if found := unusable_losses(self.profile):
            raise LaunchError("\n  - ".join([f"{self.profile.file} cannot be trained:", *found]))
        self.tried = True

    def prepare(self, job: Job, reason: str) -> None:
        """Say why the job runs, and make room for it."""
        self.console.print(Text.assemble((job.title, "bold"), f": {reason}"))
        job.stamp.parent.mkdir(parents=True, exist_ok=True)
        if job.run and job.why_train():
            # Nothing is lost, and nothing stale is gone on with.
            target = job.run.parent / "archive" / f"{job.run.name}-{time.strftime('%Y%m%d-%H%M%S')}"
            target.parent.mkdir(exist_ok=True)
            shutil.move(job.run, target)
            self.console.print(f"  the former run is kept in {short(target)}")
        if job.run:
            job.begin_run()
        job.stamp.unlink(missing_ok=True)

    def finish(self, job: Job, seconds: float, failure: dict | None, figures: Sequence[Path] = ()) -> None:
        """Stamp a success with ``figures`` among its products; remember a failure; say which of the two it was."""
        status = FAILED if failure else DONE
        self.outcomes[job.name] = Outcome(job, status, seconds, failure)
        if not failure:
            job.write_stamp(figures, seconds)
        self.console.print(f"{job.title}: {status} in {seconds:.0f} s", style="red" if failure else "green")

    def run_alone(self, job: Job) -> None:
        """Run one job that is not training."""
        reason = self.due(job)
        if not reason:
            return
        self.prepare(job, reason)
        before = {path: state_of(path) for path in files_below(self.profile.build.figures)}
        began = time.monotonic()
        if job.notebook:
            with self.console.status(job.title):
                [(_, failure, _)] = run_beside([job], Places(), lambda: None)
        else:
            failure = compile_paper(job)
        drawn = [path for path in files_below(self.profile.build.figures) if before.get(path) != state_of(path)]
        self.finish(job, time.monotonic() - began, failure, drawn)

    def run_training(self, jobs: Sequence[Job]) -> None:
        """Run the training jobs that are out of date beside each other, where there are places."""
        reasons = {}
        for job in jobs:
            if reason := self.due(job):
                reasons[job.name] = reason
        todo = [job for job in jobs if job.name in reasons]
        if not todo:
            return
        if self.profile.beside:
            refuse(why_not_beside(self.profile))  # the cases are known now
        places = find_places(self.launch, self.at_a_time)
        where = "" if places.command else " on this machine"
        self.console.print(f"{len(todo)} of {len(jobs)} training runs, {places.at_a_time} at a time{where}")
        for job in todo:
            self.prepare(job, reasons[job.name])
        with shown(todo, places.at_a_time, self.console) as tick:
            with closing(run_beside(todo, places, tick)) as ended:
                for job, failure, seconds in ended:
                    tick()
                    self.finish(job, seconds, failure)


def compile_paper(job: Job) -> dict | None:
    """Compile the paper; its errors are reported as a notebook's are."""
    from kitsnb.study import paper

    try:
        paper.build(job.build)
    except Exception as error:
        return {"notebook": "paper/paper.typ", "cell": "", "message": f"{type(error).__name__}: {error}"}
    return None


def why_not_beside(profile: Profile) -> list[str]:
    """List why rows of ``profile`` cannot be paired with the study that it names in ``beside``."""
    from kitsnb.workflow.publish import why_not_beside as reasons  # imports pandas

    return [f"beside {profile.beside}: {line}" for line in reasons(profile)]


def lacking(profile: Profile) -> list[str]:
    """List what the data lack that ``profile`` asks for, and why its rows cannot be paired."""
    found = []
    if profile.data.source != "phantom":
        try:
            found += missing_cases(profile.data)
        except OSError as error:
            found.append(str(error))
    return found + (why_not_beside(profile) if profile.beside else [])


def refuse(found: list[str]) -> None:
    """Raise LaunchError with what was ``found`` to be lacking, if anything was."""
    if found:
        raise LaunchError("\n  - ".join(["this cannot run:", *found]))


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
        for path in build.folder.rglob(".*"):
            half_written = re.fullmatch(r"\.\d+-\d+-.+", path.name)
            if half_written and time.time() - path.stat().st_mtime > OLD:
                path.unlink(missing_ok=True)
        yield


def delete_build(profile: str) -> Path:
    """Delete ``build/PROFILE`` and return it. Raises ValueError where that is no profile's build."""
    folder = ROOT / "build" / find(profile).stem
    if folder == ROOT / "build" or not (folder / "profile.json").is_file():
        raise ValueError(f"nothing is deleted: {profile!r} has no build ({folder} holds no profile.json)")
    shutil.rmtree(folder)
    return folder


def run_profile(profile: Profile, changes: dict | None = None, *, runs_at_a_time: int | None = None,
                launch: str | None = None, only: str | None = None, force=False, dry=False) -> int:
    """Bring all that ``profile`` makes up to date, or the stage ``only``; return the exit status."""
    out = messages.console()
    try:
        execution = Execution(profile, changes or {}, read_launch(launch), runs_at_a_time, force, dry)
        with nullcontext() if dry else alone(profile.build), interruptible():
            found = lacking(profile)
            if not dry:
                refuse(found)
                write_json(profile.build.profile, profile.model_dump(mode="json"))
            for line in found:
                out.print(line, style="red")
            return run_jobs(execution, only)
    except LaunchError as error:
        out.print(str(error), style="red")
        return BAD
    except KeyboardInterrupt:
        out.print("interrupted: the same command goes on, unfinished runs from their last checkpoint", style="yellow")
        return INTERRUPTED


def run_jobs(execution: Execution, only: str | None) -> int:
    """Run the jobs of the stage ``only``, or all; return the exit status."""
    began = time.monotonic()
    jobs = [job for job in build_jobs(execution.profile, execution.changes) if only in (None, job.stage)]
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

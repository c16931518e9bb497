"""Runs a profile: one job after the other, training runs beside each other, and only what is out of date."""

import shutil
import time
from collections.abc import Iterable, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kitsnb import messages
from kitsnb.files import RECEIPT, Build, file_state, files_below, read_json, resolve, write_json
from kitsnb.messages import several
from kitsnb.workflow.before import alone, strays, what_is_lacking
from kitsnb.workflow.execute import Failure
from kitsnb.workflow.jobs import Job, build_jobs
from kitsnb.workflow.launch import Launcher, LaunchError, Places, find_places, interruptible, read_launch
from kitsnb.workflow.profile import Profile
from kitsnb.workflow.progress import bar, read_history, table_of
from kitsnb.workflow.stamps import Digests, key_of, reason_to_run, reason_to_train, short, trained_from, write_stamp

DONE, CURRENT, FAILED, SKIPPED, WAITING = "done", "up to date", "failed", "skipped", "would run"
#: Exit statuses: all well; a job failed; all done but cases were refused; Ctrl-C.
OK, BAD, REFUSED, INTERRUPTED = 0, 1, 3, 130


@dataclass
class Outcome:
    """What became of a job."""

    job: Job
    status: str
    seconds: float = 0.0
    failure: Failure | None = None
    note: str = ""


@dataclass
class Run:
    """The state of one execution of a profile."""

    profile: Profile
    places: Places = Places()
    force: bool = False
    dry: bool = False
    console: Console = field(default_factory=messages.console)
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def __post_init__(self):
        self.stamps = self.profile.build.stamps
        self.digests = Digests(self.stamps / "digests.json")

    def reason(self, job: Job) -> str | None:
        """Why ``job`` must run now, None when it is up to date. Jobs that it needs must be finished before."""
        reason = "forced" if self.force else reason_to_run(job, self.stamps, self.digests)
        if reason and job.run:
            return self._of_training(job, reason)
        late = self.among(job.needs, WAITING)
        return reason or (f"only if {several(late)} will have changed what it reads" if late else None)

    def among(self, names: Iterable[str], *statuses: str) -> list[str]:
        """Titles of the jobs among ``names`` that have one of ``statuses``."""
        return [one.job.title for name in names if (one := self.outcomes.get(name)) and one.status in statuses]

    def _of_training(self, job: Job, reason: str) -> str:
        """``reason`` with what it means for a run: whether it is trained anew, goes on, or is only executed again."""
        if not files_below(job.run):
            return "never trained"
        if stale := reason_to_train(job, self.digests):
            return f"{stale}; trained anew"
        if not (job.run / "checkpoints" / "last.ckpt").exists():
            return f"{reason}; trained anew, as its checkpoints are gone"
        if not (job.run / "run.json").exists():
            return f"{reason}; goes on after epoch {len(read_history(job.run))}"
        return f"{reason}; trained already, so only executed again"

    def due(self, job: Job) -> str | None:
        """Why ``job`` runs now; None where it is up to date, needs one that failed, or where nothing is run."""
        if bad := self.among((*job.needs, *job.after), FAILED, SKIPPED):
            self.outcomes[job.name] = Outcome(job, SKIPPED, note=f"needs {several(bad)}")
            return None
        reason = self.reason(job)
        if reason and not self.dry:
            return reason
        self.outcomes[job.name] = Outcome(job, WAITING if reason else CURRENT, note=reason or "")
        if self.dry:
            self.console.print(f"{job.title}: {reason or CURRENT}")
        return None

    def prepare(self, job: Job, reason: str) -> dict:
        """Say why the job runs, make room for it, and return its key."""
        self.console.print(Text.assemble((job.title, "bold"), f": {reason}"))
        if job.run:
            if reason_to_train(job, self.digests) and files_below(job.run):
                # Nothing is lost, and nothing stale is gone on with.
                target = job.run.parent / "archive" / f"{job.run.name}-{time.strftime('%Y%m%d-%H%M%S')}"
                target.parent.mkdir(exist_ok=True)
                shutil.move(job.run, target)
                self.console.print(f"  the former run is kept in {short(target)}")
            write_json(job.run / RECEIPT, {"made_from": trained_from(job, self.digests)})
        # What the stamp vouched for is about to be overwritten; a mark and a failure are of an earlier time.
        for kind in ("json", "mark", "failed"):
            job.path(self.stamps, kind).unlink(missing_ok=True)
        return key_of(job, self.digests)

    def finish(self, job: Job, key: dict, seconds: float, failure: Failure | None, figures: Sequence[Path] = ()):
        """Stamp a success with ``figures`` among its products, remember a failure, and say which of the two it was."""
        status = FAILED if failure else DONE
        self.outcomes[job.name] = Outcome(job, status, seconds, failure)
        if failure:
            write_json(job.path(self.stamps, "failed"), vars(failure))
        else:
            write_stamp(job, self.stamps, key, [*files_below(*job.makes), job.output, *figures], self.digests)
        job.path(self.stamps, "mark").unlink(missing_ok=True)
        self.console.print(f"{job.title}: {status} in {seconds:.0f} s", style="red" if failure else "green")

    def run_alone(self, job: Job) -> None:
        """Run one job that is not training."""
        if not (reason := self.due(job)):
            return
        key, figures, began = self.prepare(job, reason), self.profile.build.figures, time.monotonic()
        before = {path: file_state(path) for path in files_below(figures)}
        if job.notebook:
            with bar(job, self.stamps, self.console) as tick:
                [(_, failure, _)] = Launcher(self.stamps, tick=tick).run([job])
        else:
            failure = compile_paper(job)
        drawn = [path for path in files_below(figures) if before.get(path) != file_state(path)]
        self.finish(job, key, time.monotonic() - began, failure, drawn)

    def run_training(self, jobs: list[Job]) -> None:
        """Run the training jobs that are out of date beside each other, where there are places."""
        waiting = [(job, reason) for job in jobs if (reason := self.due(job))]
        if not waiting:
            return
        # Cases are known now.
        if lacking := what_is_lacking(self.profile, elsewhere=True) if self.profile.beside else []:
            raise LaunchError("\n".join(lacking))
        from kitsnb.workflow.cost import before_start  # a second to import, and most calls need none of it

        places = self.places
        here = "" if places.command else " on this machine"
        self.console.print(f"{len(waiting)} of {len(jobs)} training runs, {places.at_a_time} at a time{here}")
        self.console.print(before_start(self.profile, places.at_a_time, len(waiting), here=not places.command))
        keys = {job.name: self.prepare(job, reason) for job, reason in waiting}
        todo = [job for job, _ in waiting]
        with table_of(todo, self.stamps, self.console) as tick:
            with closing(Launcher(self.stamps, places, self.console.print, tick).run(todo)) as ended:
                for job, failure, seconds in ended:
                    tick()
                    self.finish(job, keys[job.name], seconds, failure)


def compile_paper(job: Job) -> Failure | None:
    """Compile the paper; its errors are reported as a notebook's are."""
    from kitsnb.study import paper

    try:
        paper.build(Build(resolve(job.parameters["build"])))
    except Exception as error:
        return Failure("paper/paper.typ", "", f"{type(error).__name__}: {error}")
    return None


def run_profile(profile: Profile, *, runs_at_a_time: int | None = None, launch: str | None = None,
                only: str | None = None, force=False, dry=False) -> int:
    """Bring all that ``profile`` makes up to date, or the stage ``only``; returns the exit status."""
    out = messages.console()
    try:
        command = read_launch(launch)
        devices = profile.parameters.get("training", {}).get("devices", 1)
        run = Run(profile, find_places(command, runs_at_a_time, devices), force, dry)
        with nullcontext() if dry else alone(profile.build), interruptible():
            if lacking := what_is_lacking(profile, elsewhere=bool(command)):
                out.print(f"{profile.name} cannot run", style="red")
                out.print(*lacking, sep="\n  ")
                return OK if dry else BAD
            if not dry:
                profile.save()
            return run_jobs(run, only)
    except LaunchError as error:
        out.print(str(error), style="red")
        return BAD
    except KeyboardInterrupt:
        out.print("interrupted: the same command goes on, unfinished runs from their last checkpoint", style="yellow")
        return INTERRUPTED


def run_jobs(run: Run, only: str | None) -> int:
    """Run the jobs of the stage ``only``, or all; returns the exit status."""
    began = time.monotonic()
    jobs = [job for job in build_jobs(run.profile) if only in (None, job.stage)]
    training = [job for job in jobs if job.stage == "training"]
    for note in strays(jobs):
        run.console.print(note)
    try:
        for job in jobs:
            if job.stage != "training":
                run.run_alone(job)
            elif job is training[0]:
                run.run_training(training)
    finally:
        run.digests.save()
    return OK if run.dry else report(run, time.monotonic() - began)


def report(run: Run, seconds: float) -> int:
    """Print failures, refused cases and the summary; returns the exit status."""
    out, build, outcomes = run.console, run.profile.build, run.outcomes
    table = Table("job", "status", "seconds", "note", title=f"{run.profile.title}: {seconds:.0f} s")
    for outcome in outcomes.values():
        took = f"{outcome.seconds:.0f}" if outcome.seconds else ""
        table.add_row(outcome.job.title, outcome.status, took, outcome.note)
    out.print(table, soft_wrap=False)
    failures = [outcome.failure for outcome in outcomes.values() if outcome.failure]
    for failure in failures:
        out.print(f"failed: {short(Path(failure.notebook))}", style="red")
        out.print(failure.cell, failure.message, sep="\n")
    refused = {}
    for path in (build.data_analysis / "summary.json", build.preprocessed / "report.json"):
        refused |= read_json(path).get("refused", {})
    for name, reason in refused.items():
        out.print(f"refused {name}: {reason}")
    out.print(f"notebooks: {short(build.notebooks)}")
    if "paper" in outcomes and outcomes["paper"].status in (DONE, CURRENT):
        out.print(f"paper: {short(build.paper)}")
    return BAD if failures else REFUSED if refused else OK

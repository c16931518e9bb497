"""One execution of a profile: which jobs are due, and why; what became of each."""

import shutil
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

from rich.text import Text

from kitsnb import messages
from kitsnb.files import files_below, locked, read_json, short
from kitsnb.messages import several
from kitsnb.receipts import state_of
from kitsnb.workflow.jobs import NEEDS, Job, jobs_of
from kitsnb.workflow.launch import Places, find_places, run_beside
from kitsnb.workflow.profile import Profile
from kitsnb.workflow.progress import Progress

DONE = "done"
CURRENT = "up to date"
FAILED = "failed"
SKIPPED = "skipped"
WAITING = "would run"


class Execution:
    """One execution of a profile; ``dry``: nothing is run."""

    def __init__(self, profile: Profile, launch: tuple[str, ...], at_a_time: int | None, dry: bool):
        self.profile = profile
        self.launch = launch
        self.at_a_time = at_a_time
        self.dry = dry
        self.console = messages.console()
        self.statuses: dict[Job, str] = {}
        self.failures: dict[Job, str] = {}
        self.tried = False  # the losses, before the first job that runs

    def run(self, changes: dict) -> bool:
        """Run the jobs that are due, stage after stage; tell whether none failed."""
        for stage in self.profile.stages:
            jobs = jobs_of(self.profile, stage, changes)
            if stage == "training":
                self.run_training(jobs)
            else:
                self.run_alone(jobs[0])
        if not self.dry:
            self.report()
        return not self.failures

    def titles(self, stages: Sequence[str], *statuses: str) -> str:
        """Name the jobs of ``stages`` that have one of ``statuses``; "" where none has."""
        found = [job.title for job, status in self.statuses.items() if job.stage in stages and status in statuses]
        return several(found)

    def reason(self, job: Job) -> str | None:
        """Say why ``job`` must run now, None where it is up to date. Jobs that it needs must be finished before."""
        reason = job.why()
        late = self.titles(NEEDS[job.stage], WAITING)
        if reason is None and late:
            return f"only if {late} will have changed what it reads"
        if reason is None or job.run is None:
            return reason
        if stale := job.why_train():
            return f"{stale}; trained again from the start"
        if not (job.run / "checkpoints" / "last.ckpt").exists():
            return f"{reason}; trained from the start"
        if not (job.run / "run.json").exists():
            return f"{reason}; goes on from its checkpoint"
        return f"{reason}; trained already, so only executed again"

    def due(self, job: Job) -> str | None:
        """Say why ``job`` runs now; None where it is up to date, what it needs failed, or where nothing is run."""
        bad = self.titles(NEEDS[job.stage], FAILED, SKIPPED)
        if bad:
            self.statuses[job] = SKIPPED
            self.console.print(f"{job.title}: skipped, needs {bad}", style="yellow")
            return None
        reason = self.reason(job)
        if reason and not self.dry:
            return reason
        self.statuses[job] = WAITING if reason else CURRENT
        if self.dry:
            self.console.print(f"{job.title}: {reason or CURRENT}")
        return None

    def prepare(self, job: Job, reason: str) -> None:
        """Say why the job runs, and make room for it: nothing is lost, and nothing stale is gone on with.

        Raises ValueError before the first job where a loss cannot be trained with.
        """
        if not self.tried:
            from kitsnb.workflow.trial import unusable_losses  # imports torch

            refuse(unusable_losses(self.profile))
            self.tried = True
        self.console.print(Text.assemble((job.title, "bold"), f": {reason}"))
        if job.run and job.why_train():
            target = job.run.parent / "archive" / f"{job.run.name}-{datetime.now():%Y%m%d-%H%M%S-%f}"
            target.parent.mkdir(exist_ok=True)
            with locked(job.run, patience=0):  # a lost process may still write there
                shutil.move(job.run, target)
            self.console.print(f"  the former run is kept in {short(target)}")
        job.begin()

    def finish(self, job: Job, seconds: float, failure: str, figures: Sequence[Path] = ()) -> None:
        """Stamp a success with ``figures`` among its products; remember a failure; say which of the two it was."""
        self.statuses[job] = FAILED if failure else DONE
        if failure:
            self.failures[job] = failure
        else:
            job.write_stamp(figures, seconds)
        style = "red" if failure else "green"
        self.console.print(f"{job.title}: {self.statuses[job]} in {seconds:.0f} s", style=style)

    def run_alone(self, job: Job) -> None:
        """Run one job that is not training."""
        reason = self.due(job)
        if not reason:
            return
        self.prepare(job, reason)
        figures = self.profile.build.figures
        before = {path: state_of(path) for path in files_below(figures)}
        began = time.monotonic()
        if job.notebook:
            with self.console.status(job.title):
                [(_, failure, _)] = run_beside([job], Places(), lambda: None)
        else:
            failure = compile_paper(job)
        drawn = [path for path in files_below(figures) if before.get(path) != state_of(path)]
        self.finish(job, time.monotonic() - began, failure, drawn)

    def run_training(self, jobs: Sequence[Job]) -> None:
        """Run the training jobs that are out of date beside each other, where there are places."""
        reasons = {job: self.due(job) for job in jobs}
        todo = [job for job in jobs if reasons[job]]
        if not todo:
            return
        from kitsnb.workflow.publish import why_not_beside  # imports torch and pandas

        refuse(why_not_beside(self.profile, cases=True))
        places = find_places(self.launch, self.at_a_time)
        self.console.print(f"{len(todo)} of {len(jobs)} training runs, {places.at_a_time} at a time")
        for job in todo:
            self.prepare(job, reasons[job])
        progress = Progress(todo, self.console)
        with closing(run_beside(todo, places, progress.tick)) as ended:
            for job, failure, seconds in ended:
                progress.tick()
                self.finish(job, seconds, failure)

    def report(self) -> None:
        """Print failures, refused cases, and where notebooks and paper are."""
        build = self.profile.build
        if set(self.statuses.values()) == {CURRENT}:
            self.console.print(f"all is {CURRENT}")
        for job, failure in self.failures.items():
            self.console.print(f"failed: {short(job.output)}: {failure}", style="red")
        for path in (build.data_analysis / "summary.json", build.preprocessed / "report.json"):
            for name, reason in read_json(path).get("refused", {}).items():
                self.console.print(f"refused {name}: {reason}", style="yellow")
        self.console.print(f"notebooks: {short(build.notebooks)}")
        if self.titles(["paper"], DONE, CURRENT):
            self.console.print(f"paper: {short(build.paper)}")


def compile_paper(job: Job) -> str:
    """Compile the paper; return its error, "" where there is none."""
    from kitsnb.study import paper

    try:
        paper.build(job.build)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def refuse(found: list[str]) -> None:
    """Raise ValueError with what was ``found`` to be lacking, if anything was."""
    if found:
        raise ValueError("\n  - ".join(["this cannot run:", *found]))

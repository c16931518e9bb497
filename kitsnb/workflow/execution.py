"""One execution of a profile: which jobs are due, and why; what became of each."""

import shutil
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from kitsnb import messages
from kitsnb.files import files_below, locked, short
from kitsnb.messages import several
from kitsnb.receipts import state_of
from kitsnb.workflow.jobs import NEEDS, Job
from kitsnb.workflow.launch import LaunchError, Places, find_places, run_beside
from kitsnb.workflow.profile import STAGES, Profile
from kitsnb.workflow.progress import read_history, shown

DONE = "done"
CURRENT = "up to date"
FAILED = "failed"
SKIPPED = "skipped"
WAITING = "would run"


@dataclass
class Outcome:
    """What became of a job."""

    job: Job
    status: str
    seconds: float = 0.0
    failure: dict | None = None
    note: str = ""


class Execution:
    """One execution of a profile; ``dry``: nothing is run."""

    def __init__(self, profile: Profile, launch: tuple[str, ...], at_a_time: int | None, dry: bool):
        self.profile = profile
        self.launch = launch
        self.at_a_time = at_a_time
        self.dry = dry
        self.console = messages.console()
        self.outcomes: list[Outcome] = []
        self.tried = False  # the losses, once, before the first job starts

    def jobs_of(self, stages: Sequence[str], *statuses: str) -> str:
        """Name jobs of ``stages`` that have one of ``statuses``; "" where none has."""
        found = [one for one in self.outcomes if one.job.stage in stages and one.status in statuses]
        return several([one.job.title for one in found])

    def reason(self, job: Job) -> str | None:
        """Say why ``job`` must run now, None where it is up to date. Jobs that it needs must be finished before."""
        reason = job.why()
        late = self.jobs_of(NEEDS[job.stage], WAITING)
        if reason is None and late:
            return f"only if {late} will have changed what it reads"
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
        """Say why ``job`` runs now; None where it is up to date, an earlier stage failed, or where nothing is run.

        Raises LaunchError that says all that is wrong with the losses.
        """
        earlier = list(STAGES)[: list(STAGES).index(job.stage)]
        if bad := self.jobs_of(earlier, FAILED, SKIPPED):
            self.outcomes.append(Outcome(job, SKIPPED, note=f"needs {bad}"))
            return None
        reason = self.reason(job)
        if not reason or self.dry:
            self.outcomes.append(Outcome(job, WAITING if reason else CURRENT))
            if self.dry:
                self.console.print(f"{job.title}: {reason or CURRENT}")
            return None
        if not self.tried:
            from kitsnb.workflow.trial import unusable_losses  # imports torch, which a finished build does without

            refuse(unusable_losses(self.profile))
            self.tried = True
        return reason

    def prepare(self, job: Job, reason: str) -> None:
        """Say why the job runs, and make room for it: nothing is lost, and nothing stale is gone on with."""
        self.console.print(Text.assemble((job.title, "bold"), f": {reason}"))
        if job.run and job.why_train():
            target = job.run.parent / "archive" / f"{job.run.name}-{time.strftime('%Y%m%d-%H%M%S')}"
            target.parent.mkdir(exist_ok=True)
            with locked(job.run, patience=0):  # a lost process may still write there
                shutil.move(job.run, target)
            self.console.print(f"  the former run is kept in {short(target)}")
        job.begin()

    def finish(self, job: Job, seconds: float, failure: dict | None, figures: Sequence[Path] = ()) -> None:
        """Stamp a success with ``figures`` among its products; remember a failure; say which of the two it was."""
        status = FAILED if failure else DONE
        self.outcomes.append(Outcome(job, status, seconds, failure))
        if not failure:
            job.write_stamp(figures, seconds)
        self.console.print(f"{job.title}: {status} in {seconds:.0f} s", style="red" if failure else "green")

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
        refuse(why_not_beside(self.profile))  # cases are known now
        places = find_places(self.launch, self.at_a_time)
        self.console.print(f"{len(todo)} of {len(jobs)} training runs, {places.at_a_time} at a time")
        for job in todo:
            self.prepare(job, reasons[job])
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
    """List why rows of ``profile`` cannot be paired with the study that it names in ``beside``, if it names one."""
    if not profile.beside:
        return []
    from kitsnb.workflow.publish import why_not_beside as reasons  # imports pandas

    return [f"beside {profile.beside}: {line}" for line in reasons(profile)]


def refuse(found: list[str]) -> None:
    """Raise LaunchError with what was ``found`` to be lacking, if anything was."""
    if found:
        raise LaunchError("\n  - ".join(["this cannot run:", *found]))

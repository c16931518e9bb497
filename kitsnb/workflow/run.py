"""Runs a profile: one job after the other, training runs beside each other, and only what is out of date."""

import json
import os
import shutil
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kitsnb.files import Build, resolve, write_json
from kitsnb.workflow.clusters import GridError, Place, connect, read_place
from kitsnb.workflow.execute import Failure, execute
from kitsnb.workflow.jobs import Job, build_jobs
from kitsnb.workflow.profile import Profile
from kitsnb.workflow.progress import Display, failed_path, mark_path
from kitsnb.workflow.stamps import Digests, files_below, key_of, read_stamp, reason_to_run, stamp_path

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
    workers: int | None
    force: bool = False
    dry: bool = False
    place: Place = field(default_factory=Place)
    console: Console = field(default_factory=lambda: Console(soft_wrap=True, highlight=False))
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def __post_init__(self):
        self.stamps = self.profile.build.stamps
        self.digests = Digests(self.stamps / "digests.json")

    def reason(self, job: Job) -> str | None:
        """Why ``job`` must run now, None when it is up to date. Jobs that it needs must be finished before."""
        if self.dry and (late := [need for need in job.needs if self.outcomes[need].status == WAITING]):
            return f"after {late[0]}" + (f" and {len(late) - 1} more" if len(late) > 1 else "")
        return "forced" if self.force else reason_to_run(read_stamp(job, self.stamps), key_of(job, self.digests))

    def skip(self, job: Job) -> bool:
        """Skip a job that needs one that failed."""
        bad = [need for need in job.needs if self.outcomes[need].status in (FAILED, SKIPPED)]
        if bad:
            self.outcomes[job.name] = Outcome(job, SKIPPED, note=f"needs {', '.join(bad)}")
        return bool(bad)

    def prepare(self, job: Job, reason: str) -> dict:
        """Say why the job runs, make room for it, and remember its key while it is under way."""
        self.console.print(f"[bold]{job.title}[/bold]: {reason}")
        key, started = key_of(job, self.digests), self.stamps / f"{job.name}.started"
        if job.run and job.run.exists() and not (started.exists() and json.loads(started.read_text()) == key):
            self._archive(job)
        write_json(started, key)
        # What the stamp vouched for is about to be overwritten; a worker's mark and a failure are of an earlier time.
        for path in (stamp_path(job, self.stamps), mark_path(job, self.stamps), failed_path(job, self.stamps)):
            path.unlink(missing_ok=True)
        return key

    def _archive(self, job: Job) -> None:
        """Move a run with another key away: nothing is lost, and nothing stale is resumed."""
        target = job.run.parent / "archive" / f"{job.run.name}-{time.strftime('%Y%m%d-%H%M%S')}"
        target.parent.mkdir(exist_ok=True)
        shutil.move(job.run, target)
        self.console.print(f"  the former run is kept in {target}")

    def finish(self, job: Job, key: dict, began: float, seconds: float, failure: Failure | None) -> None:
        """Stamp a success, remember a failure, and tell how far the whole is."""
        status = FAILED if failure else DONE
        self.outcomes[job.name] = Outcome(job, status, seconds, failure)
        if not failure:
            made = files_below(job.makes) + [job.output]
            made += [file for file in files_below([job.figures] if job.figures else []) if file.stat().st_mtime >= began - 1]
            write_json(stamp_path(job, self.stamps), {"key": key, "outputs": [str(path) for path in made]})
            (self.stamps / f"{job.name}.started").unlink(missing_ok=True)
        else:
            write_json(failed_path(job, self.stamps), vars(failure))
        mark_path(job, self.stamps).unlink(missing_ok=True)
        self.console.print(f"{job.title}: {status} in {seconds:.0f} s", style="red" if failure else "green")

    def run_here(self, job: Job) -> None:
        """Run one job that is not training."""
        if self.skip(job):
            return
        reason = self.reason(job)
        if reason is None or self.dry:
            self._note(job, reason)
            return
        began, clock = time.time(), time.monotonic()
        key = self.prepare(job, reason)
        failure = execute(job.notebook, job.output, job.parameters) if job.notebook else compile_paper(job)
        self.finish(job, key, began, time.monotonic() - clock, failure)

    def _note(self, job: Job, reason: str | None) -> None:
        self.outcomes[job.name] = Outcome(job, WAITING if reason else CURRENT, note=reason or "")
        if self.dry:
            self.console.print(f"{job.title}: {reason or CURRENT}")

    def run_training(self, jobs: list[Job]) -> None:
        """Run the training jobs that are out of date beside each other, where the workers are."""
        waiting = []
        for job in jobs:
            if not self.skip(job):
                reason = self.reason(job)
                if reason is None or self.dry:
                    self._note(job, reason)
                else:
                    waiting.append((job, reason))
        if not waiting:
            return
        # These take a second to import, and most calls need none of them.
        from kitsnb.workflow.cost import before_start
        from kitsnb.workflow.grid import Grid

        workers = self.workers or self.profile.workers
        self.console.print(before_start(self.profile, workers, len(waiting), here=not self.place.remote), markup=False)

        todo, build = [job for job, _ in waiting], self.profile.build
        with connect(self.place, todo, build, self.workers, self.profile.workers) as connection:
            self.console.print(f"Dask's dashboard: {connection.client.dashboard_link}")
            keys = {job.name: self.prepare(job, reason) for job, reason in waiting}
            began = time.time()
            with Display(todo, self.stamps, self.console) as display:
                with closing(Grid(connection, build, display, workers).run(todo)) as ended:
                    for job, failure, seconds in ended:
                        display.tick()
                        self.finish(job, keys[job.name], began, seconds, failure)
                        display.tick()


def compile_paper(job: Job) -> Failure | None:
    """Compile the paper; its errors are reported as a notebook's are."""
    from kitsnb.study import paper

    try:
        paper.build(Build(resolve(job.parameters["build"])))
    except Exception as error:
        return Failure("paper/paper.typ", "", f"{type(error).__name__}: {error}")
    return None


def run_profile(profile: Profile, *, workers: int | None = None, scheduler: str | None = None, only: str | None = None,
                force=False, dry=False) -> int:
    """Bring all that ``profile`` makes up to date; returns the exit status.

    ``scheduler`` is where training runs find their workers: see ``clusters.read_place``.
    """
    started = time.monotonic()
    try:
        run = Run(profile, workers, force, dry, read_place(scheduler))
    except GridError as error:
        Console(soft_wrap=True).print(str(error), style="red", markup=False)
        return BAD
    if unwritable := why_unwritable(profile.build.folder):
        run.console.print(f"[red]{profile.build.folder} cannot be written[/red]: {unwritable}; free it, or give another with --build")
        return BAD
    if missing := missing_data(profile):
        run.console.print(f"[red]the data of {profile.name} are not complete[/red]", *missing, sep="\n  ")
        run.console.print("get them, or narrow training, validation and excluded in the profile")
        return OK if dry else BAD
    if not dry:
        profile.save()
    jobs = [job for job in build_jobs(profile) if only in (None, job.stage)]
    known = {job.name for job in jobs}
    jobs = [Job(**{**vars(job), "needs": tuple(need for need in job.needs if need in known)}) for job in jobs]
    training = [job for job in jobs if job.stage == "training"]
    try:
        for job in jobs:
            if job.stage != "training":
                run.run_here(job)
            elif job is training[0]:
                run.run_training(training)
    except GridError as error:
        run.console.print(str(error), style="red", markup=False)
        return BAD
    except KeyboardInterrupt:
        run.console.print("[yellow]interrupted[/yellow]: the same command goes on, unfinished runs from their last checkpoint")
        return INTERRUPTED
    finally:
        run.digests.save()
    if dry:
        return OK
    return report(run, time.monotonic() - started)


def why_unwritable(folder: Path) -> str | None:
    """Why nothing can be written below ``folder`` (read-only, full, no folder), found by writing; None if it can."""
    probe = folder / f".{os.getpid()}-probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(bytes(1 << 20))
        probe.unlink()
    except OSError as error:
        return error.strerror or str(error)
    return None


def missing_data(profile: Profile) -> list[str]:
    """Cases and files that the split of ``profile`` needs and its folder lacks, all of them, before any work is begun."""
    from kitsnb.data.checks import missing_from_split

    for stage in ("training", "data_analysis"):
        told = profile.parameters.get(stage, {})
        if told.get("source") in ("folder", "hybrid") and all(told.get(name) for name in ("folder", "training", "validation")):
            try:
                return missing_from_split(resolve(told["folder"]), told["training"], told["validation"], told.get("excluded"),
                                          imaging=told["source"] == "folder")
            except (FileNotFoundError, ValueError) as error:
                return [str(error)]
    return []


def report(run: Run, seconds: float) -> int:
    """Print failures, refused cases and the summary; returns the exit status."""
    out = run.console
    table = Table("job", "status", "seconds", "output", title=f"{run.profile.title}: {seconds:.0f} s")
    for outcome in run.outcomes.values():
        table.add_row(outcome.job.title, outcome.status, f"{outcome.seconds:.0f}" if outcome.seconds else "",
                      outcome.note or str(outcome.job.output))
    out.print(table)
    failures = [outcome.failure for outcome in run.outcomes.values() if outcome.failure]
    for failure in failures:
        out.print("[red]failed[/red]", failure.notebook)
        out.print(failure.cell, failure.message, sep="\n", markup=False)
    refused = refused_cases(run.profile.build)
    for name, reason in refused.items():
        out.print(f"refused {name}: {reason}", markup=False)
    return BAD if failures else REFUSED if refused else OK


def refused_cases(build: Build) -> dict[str, str]:
    """Cases that could not be used, with the reason, from the reports of the notebooks."""
    refused = {}
    for path in (build.data_analysis / "summary.json", build.preprocessed / "report.json"):
        if path.exists():
            refused |= json.loads(path.read_text()).get("refused", {})
    return refused

"""Progress of the training runs of a profile, from files alone: on the machine that started them or on any other.

A run shows itself by ``history.csv`` and ``settings.json``; the process that has it keeps a mark among the stamps.
"""

import csv
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from kitsnb import messages
from kitsnb.files import read_json
from kitsnb.messages import duration
from kitsnb.workflow.jobs import Job, build_jobs
from kitsnb.workflow.profile import Profile

DONE, FAILED, RUNNING, SCORING, INTERRUPTED, WAITING = "done", "failed", "running", "scoring", "interrupted", "waiting"
STYLES = {DONE: "green", FAILED: "red", RUNNING: "cyan", SCORING: "cyan", INTERRUPTED: "yellow", WAITING: "dim"}
#: Seconds without a sign of its process after which a run counts as interrupted; clocks of machines may differ.
SILENCE = 120
#: What is said of an epoch, where its history has it.
MEASURES = {"loss": "training_loss", "validation": "validation_loss", "kidney": "validation_kidney",
            "tumour": "validation_tumour"}


@dataclass(frozen=True)
class State:
    """How far a run is. ``history`` holds a row an epoch; ``mark`` is what its process wrote (where, attempt)."""

    job: Job
    status: str
    epochs: int
    history: list[dict[str, float]]
    mark: dict

    @property
    def pace(self) -> float | None:
        """Seconds an epoch, mean of the last ten."""
        return fmean(row["seconds"] for row in self.history[-10:]) if self.history else None

    def left(self, usual: float | None = None) -> float | None:
        """Seconds of training that are left at most, at its own pace or else the ``usual`` one. None is unknown."""
        if self.status in (DONE, FAILED, SCORING):
            return 0.0
        pace = self.pace or usual
        return None if pace is None else max(0, self.epochs - len(self.history)) * pace

    @property
    def where(self) -> str:
        """Process or job, and its machine; the attempt, where it is not the first."""
        again = f", attempt {attempt}" if (attempt := self.mark.get("attempt", 1)) > 1 else ""
        return self.mark.get("where", "") + again


def read_history(run: Path) -> list[dict[str, float]]:
    """The rows of a run's history.csv as numbers; none where it is not there, or is no history."""
    try:
        with (run / "history.csv").open(newline="") as file:
            rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError, AttributeError, csv.Error):
        return []
    return rows if rows and {"epoch", "seconds"} <= rows[0].keys() else []


def read_state(job: Job, stamps: Path) -> State:
    """How far the training run ``job`` is."""
    history, file = read_history(job.run), job.path(stamps, "mark")
    epochs, mark = read_json(job.run / "settings.json").get("epochs", job.parameters["epochs"]), read_json(file)
    if job.path(stamps, "json").exists():
        status = DONE
    elif job.path(stamps, "failed").exists():
        status = FAILED
    elif not mark:
        status = WAITING
    elif time.time() - file.stat().st_mtime > SILENCE:
        status = INTERRUPTED
    else:
        status = SCORING if len(history) >= epochs else RUNNING
    return State(job, status, epochs, history, mark)


def total_left(states: list[State]) -> float | None:
    """Seconds until all are trained, with as many at a time as now; None while nothing is known."""
    paces = [state.pace for state in states if state.pace]
    lefts = [state.left(fmean(paces) if paces else None) for state in states]
    if None in lefts:
        return None
    beside = max(1, sum(state.status == RUNNING for state in states))
    return max([sum(lefts) / beside, *lefts], default=0.0)


def grid_table(states: Iterable[State]) -> Table:
    """One row a run: status, epoch, loss, Dice of the tumour, pace, time left, and where it runs."""
    states = list(states)
    counts, left = Counter(state.status for state in states), total_left(states)
    summary = ", ".join(f"{counts[status]} {status}" for status in STYLES if counts[status])
    more = f"; about {duration(left)} left" if left else ""
    numbers = [Column(name, justify="right") for name in ("epoch", "loss", "tumour", "s / epoch", "left")]
    table = Table("run", "status", "where", *numbers, title=f"{len(states)} training runs: {summary}{more}")
    for state in states:
        last = state.history[-1] if state.history else {}
        table.add_row(
            state.job.title.removeprefix("training "), Text(state.status, STYLES[state.status]), state.where,
            f"{len(state.history)}/{state.epochs}",
            *(f"{last[name]:.3f}" if name in last else "" for name in ("validation_loss", "validation_tumour")),
            f"{state.pace:.1f}" if state.pace else "",
            duration(state.left()) if state.status in (RUNNING, INTERRUPTED) else "")
    return table


def epoch_line(state: State, row: dict[str, float]) -> str:
    """One epoch in one line, for logs."""
    measures = ", ".join(f"{name} {row[key]:.3f}" for name, key in MEASURES.items() if key in row)
    left = f", at most {left} left" if (left := duration(state.left())) else ""
    return (f"  {state.job.title}: epoch {row['epoch']:.0f}/{state.epochs}: {measures}; "
            f"{row['seconds']:.1f} s{left}")


@contextmanager
def table_of(jobs: list[Job], stamps: Path, console: Console) -> Iterator[Callable[[], list[State]]]:
    """The live table on a terminal, a line an epoch elsewhere; yields what looks anew."""
    seen = {job.name: len(read_history(job.run)) for job in jobs}

    def tick() -> list[State]:
        states = [read_state(job, stamps) for job in jobs]
        live.update(grid_table(states), refresh=True)
        for state in states if not console.is_terminal else ():
            for row in state.history[seen[state.job.name]:]:
                console.print(epoch_line(state, row))
            seen[state.job.name] = len(state.history)
        return states

    with Live(console=console, auto_refresh=False, transient=True) as live:
        try:
            yield tick
        finally:
            tick()


@contextmanager
def bar(job: Job, stamps: Path, console: Console) -> Iterator[Callable[[], None]]:
    """On a terminal, how long ``job`` takes already and how far its step is; yields what looks anew."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("starting", total=None)
        yield lambda: shown.update(task, **read_json(job.path(stamps, "progress")))


def watch(profile: Profile, *, once: bool = False, console: Console | None = None, seconds: float = 2.0) -> None:
    """Show the runs of ``profile`` until all have ended, or Ctrl-C, and then as they are; ``once``: only the latter."""
    console = console or messages.console(soft_wrap=False)
    jobs, stamps = [job for job in build_jobs(profile) if job.stage == "training"], profile.build.stamps
    if not once:
        with suppress(KeyboardInterrupt), table_of(jobs, stamps, console) as tick:
            while not all(state.status in (DONE, FAILED) for state in tick()):
                time.sleep(seconds)
    table = grid_table(read_state(job, stamps) for job in jobs)
    console.print(table, width=None if console.is_terminal else 130)

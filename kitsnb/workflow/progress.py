"""Progress of the training runs of a profile, from files alone: on the machine that started them or on any other.

A run shows itself by ``history.csv`` and ``settings.json``; the process that has it keeps a mark among the stamps.
"""

import csv
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table
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


@dataclass(frozen=True)
class State:
    """How far a run is. ``history`` holds a row an epoch; ``mark`` is what its process wrote (where, attempt)."""

    job: Job
    status: str
    epochs: int | None
    history: list[dict[str, float]] = field(default_factory=list)
    mark: dict = field(default_factory=dict)

    @property
    def pace(self) -> float | None:
        """Seconds an epoch, mean of the last ten."""
        last = [row["seconds"] for row in self.history[-10:]]
        return sum(last) / len(last) if last else None

    def left(self, usual: float | None = None) -> float | None:
        """Seconds of training that are left at most, at its own pace or else the ``usual`` one. None is unknown."""
        if self.status in (DONE, FAILED, SCORING):
            return 0.0
        pace = self.pace or usual
        return None if pace is None or self.epochs is None else max(0, self.epochs - len(self.history)) * pace


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
    history = read_history(job.run)
    epochs = read_json(job.run / "settings.json").get("epochs", job.parameters.get("epochs"))
    epochs = epochs if isinstance(epochs, int) else None
    mark = read_json(job.path(stamps, "mark"))
    if job.path(stamps, "json").exists():
        status = DONE
    elif job.path(stamps, "failed").exists():
        status = FAILED
    elif not mark:
        status = WAITING
    elif time.time() - job.path(stamps, "mark").stat().st_mtime > SILENCE:
        status = INTERRUPTED
    else:
        status = SCORING if epochs and len(history) >= epochs else RUNNING
    return State(job, status, epochs, history, mark)


def total_left(states: Iterable[State]) -> float | None:
    """Seconds until all are trained, with as many at a time as now; None while nothing is known."""
    states = list(states)
    paces = [state.pace for state in states if state.pace]
    usual = sum(paces) / len(paces) if paces else None
    lefts = [state.left(usual) for state in states]
    if None in lefts:
        return None
    beside = max(1, sum(state.status == RUNNING for state in states))
    return max([sum(lefts) / beside, *lefts], default=0.0)


def grid_table(states: Iterable[State]) -> Table:
    """One row a run: status, epoch, loss, Dice of the tumour, pace, time left, and where it runs."""
    states = list(states)
    counts = {status: sum(state.status == status for state in states) for status in STYLES}
    summary = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    left = total_left(states)
    unfinished = counts[DONE] + counts[FAILED] < len(states)
    more = f"; about {duration(left)} left" if left and unfinished else ""
    table = Table(title=f"{len(states)} training runs: {summary}{more}")
    for name in ("run", "status", "where"):
        table.add_column(name)
    for name in ("epoch", "loss", "tumour", "s / epoch", "left"):
        table.add_column(name, justify="right")
    for state in states:
        last = state.history[-1] if state.history else {}
        table.add_row(
            state.job.title.removeprefix("training "), Text(state.status, STYLES[state.status]), where(state),
            f"{len(state.history)}/{state.epochs or '?'}",
            *(f"{last[name]:.3f}" if name in last else "" for name in ("validation_loss", "validation_tumour")),
            f"{state.pace:.1f}" if state.pace else "",
            duration(state.left()) if state.status in (RUNNING, INTERRUPTED) else "")
    return table


def where(state: State) -> str:
    """Process or job, and its machine; the attempt, where it is not the first."""
    if not state.mark or state.status in (DONE, FAILED, WAITING):
        return ""
    attempt = state.mark.get("attempt", 1)
    return f"{state.mark.get('where')}{'' if attempt == 1 else f', attempt {attempt}'}"


def epoch_line(state: State, row: dict[str, float]) -> str:
    """One epoch in one line, for logs."""
    measures = ", ".join(f"{name} {row[key]:.3f}" for name, key in
                         (("loss", "training_loss"), ("validation", "validation_loss"), ("kidney", "validation_kidney"),
                          ("tumour", "validation_tumour")) if key in row)
    left = duration(state.left())
    return (f"  {state.job.title}: epoch {row['epoch']:.0f}/{state.epochs or '?'}: {measures}; {row['seconds']:.1f} s"
            + (f", at most {left} left" if left else ""))


class Display:
    """The live table on a terminal, a line an epoch elsewhere. ``tick`` shows what is new; ``say`` prints beside it."""

    def __init__(self, jobs: list[Job], stamps: Path, console: Console):
        self.jobs, self.stamps, self.console = jobs, stamps, console
        self.shown = {job.name: len(read_history(job.run)) for job in jobs}
        self.live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> "Display":
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_) -> None:
        self.tick()
        if self.live:
            self.live.stop()

    def say(self, text: str) -> None:
        self.console.print(text)

    def tick(self) -> None:
        states = [read_state(job, self.stamps) for job in self.jobs]
        if self.live:
            self.live.update(grid_table(states), refresh=True)
            return
        for state in states:
            for row in state.history[self.shown[state.job.name]:]:
                self.say(epoch_line(state, row))
            self.shown[state.job.name] = len(state.history)


def watch(profile: Profile, *, once: bool = False, console: Console | None = None, seconds: float = 2.0) -> None:
    """Show the runs of ``profile`` until all have ended, or Ctrl-C; ``once`` prints the table and returns."""
    console = console or messages.console(soft_wrap=False)
    jobs = [job for job in build_jobs(profile) if job.stage == "training"]

    def states() -> list[State]:
        return [read_state(job, profile.build.stamps) for job in jobs]

    if once:
        console.print(grid_table(states()), width=None if console.is_terminal else 130)
        return
    with Live(console=console, auto_refresh=False) as live:
        try:
            while True:
                live.update(grid_table(now := states()), refresh=True)
                if all(state.status in (DONE, FAILED) for state in now):
                    return
                time.sleep(seconds)
        except KeyboardInterrupt:
            return

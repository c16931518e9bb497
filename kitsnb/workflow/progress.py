"""How far the training runs of a profile are, from their history files: a live table, or a line per epoch."""

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean

from rich.console import Console
from rich.live import Live
from rich.table import Column, Table

from kitsnb.messages import duration
from kitsnb.workflow.jobs import Job


def read_history(run: Path) -> list[dict[str, float]]:
    """Return the rows of a run's history.csv as numbers; none where it is not there, or is no history."""
    try:
        with (run / "history.csv").open(newline="", encoding="utf-8") as file:
            rows = []
            for row in csv.DictReader(file):
                rows.append({name: float(value) for name, value in row.items()})
    except (OSError, ValueError, TypeError, csv.Error):
        return []
    return rows if rows and {"epoch", "seconds"} <= rows[0].keys() else []


def seconds_left(job: Job, history: Sequence[dict], usual: float | None) -> float | None:
    """Estimate the seconds of training that are left, at the run's own pace or the ``usual`` one; None is unknown."""
    pace = fmean(row["seconds"] for row in history[-10:]) if history else usual
    if pace is None:
        return None
    return max(0, job.profile.training.epochs - len(history)) * pace


def table_of_runs(jobs: Sequence[Job], at_a_time: int) -> Table:
    """Return a row per run: epoch, losses, Dice of the tumour, pace, time left."""
    histories = {job.name: read_history(job.run) for job in jobs}
    paces = [row["seconds"] for history in histories.values() for row in history[-3:]]
    usual = fmean(paces) if paces else None
    lefts = [seconds_left(job, histories[job.name], usual) for job in jobs]
    left = ""
    if jobs and None not in lefts:
        left = f", about {duration(max(sum(lefts) / at_a_time, max(lefts)))} of training left"
    numbers = [Column(name, justify="right") for name in ("epoch", "loss", "validation", "tumour", "s / epoch", "left")]
    table = Table("run", *numbers, title=f"{len(jobs)} training runs, {at_a_time} at a time{left}")
    for job, rest in zip(jobs, lefts):
        history = histories[job.name]
        last = history[-1] if history else {}
        measures = [f"{last[name]:.3f}" if name in last else "" for name in SHOWN]
        pace = f"{last['seconds']:.1f}" if last else ""
        table.add_row(job.title.removeprefix("training "), f"{len(history)}/{job.profile.training.epochs}", *measures,
                      pace, duration(rest))
    return table


#: Columns of history.csv that are shown.
SHOWN = ("training_loss", "validation_loss", "validation_tumour")


def epoch_line(job: Job, row: dict[str, float]) -> str:
    """Say one epoch in one line, for logs."""
    measures = ", ".join(f"{name.replace('_', ' ')} {row[name]:.3f}" for name in SHOWN if name in row)
    return f"  {job.title}: epoch {row['epoch']:.0f}/{job.profile.training.epochs}: {measures}; {row['seconds']:.1f} s"


@contextmanager
def shown(jobs: Sequence[Job], at_a_time: int, console: Console) -> Iterator[Callable[[], None]]:
    """Show the live table on a terminal, a line per epoch elsewhere; yield what looks again."""
    seen = {job.name: len(read_history(job.run)) for job in jobs}

    def tick() -> None:
        if console.is_terminal:
            live.update(table_of_runs(jobs, at_a_time), refresh=True)
            return
        for job in jobs:
            history = read_history(job.run)
            for row in history[seen[job.name]:]:
                console.print(epoch_line(job, row))
            seen[job.name] = len(history)

    with Live(console=console, auto_refresh=False, transient=True) as live:
        try:
            yield tick
        finally:
            tick()

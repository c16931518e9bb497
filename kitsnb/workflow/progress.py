"""How far the training runs of a profile are, from their history files: a live table, or a line per epoch."""

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean

from rich.console import Console
from rich.live import Live
from rich.table import Table

from kitsnb.messages import duration
from kitsnb.workflow.jobs import Job

#: Columns of history.csv that are shown.
SHOWN = ("training_loss", "validation_loss", "validation_tumour")


def read_history(run: Path) -> list[dict[str, float]]:
    """Return the rows of a run's history.csv as numbers; none where it is not there, or is no history."""
    rows = []
    try:
        with (run / "history.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                rows.append({name: float(value) for name, value in row.items()})
    except (OSError, ValueError, TypeError, csv.Error):
        return []
    return rows if rows and {"epoch", "seconds"} <= rows[0].keys() else []


def table_of_runs(jobs: Sequence[Job], at_a_time: int) -> Table:
    """Return a row per run: epoch, losses, Dice of the tumour, pace; in the title the time that is left."""
    table = Table("run", "epoch", "loss", "validation", "tumour", "s / epoch")
    left = []  # epochs of each run
    paces = []
    for job in jobs:
        history = read_history(job.run)
        last = history[-1] if history else {}
        if last:
            paces.append(last["seconds"])
        left.append(max(0, job.profile.training.epochs - len(history)))
        numbers = [f"{last[name]:.3f}" if name in last else "" for name in SHOWN]
        pace = f"{last['seconds']:.1f}" if last else ""
        epoch = f"{len(history)}/{job.profile.training.epochs}"
        table.add_row(job.title.removeprefix("training "), epoch, *numbers, pace)
    table.title = f"{len(jobs)} training runs, {at_a_time} at a time"
    if paces:
        seconds = max(max(left), sum(left) / at_a_time) * fmean(paces)
        table.title += f", about {duration(seconds)} of training left"
    return table


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
                measures = ", ".join(f"{name.replace('_', ' ')} {row[name]:.3f}" for name in SHOWN if name in row)
                epoch = f"epoch {row['epoch']:.0f}/{job.profile.training.epochs}"
                console.print(f"  {job.title}: {epoch}: {measures}; {row['seconds']:.1f} s")
            seen[job.name] = len(history)

    with Live(console=console, auto_refresh=False, transient=True) as live:
        try:
            yield tick
        finally:
            tick()

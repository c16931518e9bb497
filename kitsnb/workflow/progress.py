"""How far training runs are: a line per epoch, from their history files."""

import csv
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from kitsnb.messages import duration
from kitsnb.workflow.jobs import Job

#: Columns of history.csv that are shown.
SHOWN = ("training_loss", "validation_loss", "validation_tumour")


def read_history(run: Path) -> list[dict[str, str]]:
    """Return the rows of a run's history.csv; none where it is not there."""
    path = run / "history.csv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return list(csv.DictReader(file))


class Progress:
    """What was printed of the training runs of ``jobs``, and what is to be printed yet."""

    def __init__(self, jobs: Sequence[Job], console: Console):
        self.console = console
        self.printed = {job: len(read_history(job.run)) for job in jobs}

    def tick(self) -> None:
        """Print the epochs that came since the last call."""
        for job, printed in self.printed.items():
            history = read_history(job.run)
            epochs = job.profile.training.epochs
            for number, row in enumerate(history[printed:], printed + 1):
                measures = [f"{name.replace('_', ' ')} {float(row[name]):.3f}" for name in SHOWN]
                left = duration((epochs - number) * float(row["seconds"]))
                self.console.print(f"  {job.title}: epoch {number}/{epochs}: {', '.join(measures)}; {left} left")
            self.printed[job] = len(history)

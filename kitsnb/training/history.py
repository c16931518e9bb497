"""What a run says of itself: measures and times of each epoch, and history.csv."""

import csv
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from kitsnb.files import process_peak, replaced
from kitsnb.losses import RegionStatistics, cross_entropy, dice_index, region_statistics
from kitsnb.messages import duration
from kitsnb.training.devices import Ranks

#: What history.csv holds for training and validation each.
MEASURES = ("loss", "soft_dice", "dice_cross_entropy", "background", "kidney", "tumour")
#: Columns of history.csv that two equal runs do not share.
TIMING = ("seconds", "patches_per_second", "data_share")


class PooledScores:
    """A row of sums a batch, pooled before Dice, so that a patch without tumour distorts nothing.

    Rows stay on the device, so that no step waits, and are summed by their index: as well on many devices as on one.
    """

    def __init__(self):
        self.rows: dict[int, Tensor] = {}

    @torch.no_grad()
    def add(self, index: int, loss: Tensor, logits: Tensor, target: Tensor) -> None:
        regions = region_statistics(logits, target).pooled()
        entropy = cross_entropy(logits, target).mean()
        self.rows[index] = torch.cat([loss.reshape(1), entropy.reshape(1), *(count[0] for count in regions)]).float()

    def measures(self, prefix: str, ranks: Ranks) -> tuple[dict[int, float], dict[str, float]]:
        """The loss of each batch, by its index, and the measures of all; the same on every rank."""
        mine = torch.stack(list(self.rows.values())).cpu().tolist() if self.rows else []
        rows = ranks.gather(dict(zip(self.rows, mine)))
        total = torch.tensor([rows[index] for index in sorted(rows)], dtype=torch.float64).cumsum(0)[-1]
        loss, entropy = (total[:2] / len(rows)).tolist()
        dice = dice_index(RegionStatistics(*total[2:].reshape(3, 1, -1)))[0].tolist()
        soft_dice = sum(dice) / len(dice)
        values = [loss, soft_dice, 1 - soft_dice + entropy, *dice]
        return ({index: rows[index][0] for index in sorted(rows)},
                {f"{prefix}_{name}": value for name, value in zip(MEASURES, values)})


class Clock:
    """Seconds of an epoch: of training, of these waiting for data, and of validation.

    On a GPU the wait lies between two events in its stream: work for the patches, or none until they are asked for.
    """

    def __init__(self):
        self.began, self.middle, self.waited, self.events = time.monotonic(), None, 0.0, []

    @contextmanager
    def data(self) -> Iterator[None]:
        if torch.cuda.is_available():
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            yield
            last.record()
            self.events.append((first, last))
        else:
            began = time.perf_counter()
            yield
            self.waited += time.perf_counter() - began

    def validation(self) -> None:
        """Training of the epoch is over, validation begins."""
        if self.events:
            torch.cuda.synchronize()
        self.middle = time.monotonic()

    def row(self, patches: int) -> dict[str, float]:
        """The columns ``TIMING`` of an epoch that trained on ``patches``."""
        seconds, training = time.monotonic() - self.began, self.middle - self.began
        waited = self.waited + sum(first.elapsed_time(last) for first, last in self.events) / 1000
        return dict(zip(TIMING, (round(seconds, 2), float(f"{patches / training:.4g}"), round(waited / training, 4))))


class History(Callback):
    """Keeps a row an epoch, writes history.csv, prints one line, and stops a run that does not improve."""

    def __init__(self, path: Path, ranks: Ranks, patches: int, patience: int, rows: list[dict], peak: float = 0.0):
        self.path, self.ranks, self.patches, self.patience, self.rows = path, ranks, patches, patience, rows
        self.peak = peak
        if ranks.rank == 0:
            path.unlink(missing_ok=True)  # a row may be there whose checkpoint was never finished
            self._write()

    def on_train_epoch_end(self, trainer, module) -> None:
        row = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step, "learning_rate": module.epoch_rate,
               **module.clock.row(self.patches), **module.measures}
        self.rows.append(row)
        self.peak = max(self.peak, peak_memory())
        if self.ranks.rank == 0:
            self._write()
            self._print(row, trainer)
        trainer.should_stop = trainer.should_stop or has_stopped(self.rows, self.patience)

    def _print(self, row: dict, trainer) -> None:
        scalars = {key: value for key, value in row.items() if key not in ("epoch", "step")}
        trainer.logger.log_metrics(scalars, row["step"])
        left = (trainer.max_epochs - len(self.rows)) * sum(row["seconds"] for row in self.rows) / len(self.rows)
        print(f"epoch {len(self.rows)}/{trainer.max_epochs}: loss {row['training_loss']:.3f}, validation "
              f"{row['validation_loss']:.3f}, kidney {row['validation_kidney']:.3f}, tumour "
              f"{row['validation_tumour']:.3f}; {row['seconds']:.1f} s, at most {duration(left)} left", flush=True)

    def _write(self) -> None:
        if not self.rows:
            return
        with replaced(self.path) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.rows[0])
            writer.writeheader()
            writer.writerows(self.rows)


def best_row(rows: list[dict]) -> dict:
    """The epoch with the lowest validation loss, the first of equals."""
    return min(rows, key=lambda row: row["validation_loss"])


def has_stopped(rows: list[dict], patience: int) -> bool:
    """Have the last ``patience`` epochs brought nothing better?"""
    return bool(rows) and len(rows) - best_row(rows)["epoch"] >= patience


def performance(rows: list[dict], patches: int) -> dict[str, float]:
    """The columns ``TIMING`` over all epochs of ``patches`` each, whatever process trained them."""
    training = [patches / row["patches_per_second"] for row in rows]
    waited = sum(row["data_share"] * seconds for row, seconds in zip(rows, training))
    values = (round(sum(row["seconds"] for row in rows), 1), round(patches * len(rows) / sum(training), 2),
              round(waited / sum(training), 4))
    return dict(zip(TIMING, values))


def peak_memory() -> float:
    """The most memory that training held so far, MB: of the GPU where there is one, else of this process."""
    return (torch.cuda.max_memory_allocated() if torch.cuda.is_available() else process_peak()) / 1e6

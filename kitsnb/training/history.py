"""What a run says of itself: the measures of each epoch, in history.csv, in TensorBoard and on the terminal."""

import csv
import resource
import sys
from pathlib import Path

import torch
from torch import Tensor

from kitsnb.files import replaced
from kitsnb.losses import RegionStatistics, cross_entropy, dice_index, region_statistics
from kitsnb.messages import duration
from kitsnb.training.settings import Training

#: What history.csv holds for training and validation each; the paper monitors ``dice_cross_entropy``.
MEASURES = ("loss", "soft_dice", "dice_cross_entropy", "background", "kidney", "tumour")
#: Columns of history.csv that two equal runs do not share.
TIMING = ("seconds", "patches_per_second")


@torch.no_grad()
def batch_sums(loss: Tensor, logits: Tensor, target: Tensor) -> Tensor:
    """Return [11] for a batch: loss, cross-entropy, and tp, fp and fn of the classes; they stay on the device."""
    counts = region_statistics(logits, target).pooled()
    entropy = cross_entropy(logits, target).mean()
    return torch.cat([loss.reshape(1), entropy.reshape(1), *(count[0] for count in counts)]).float()


def measures(stage: str, sums: Tensor) -> dict[str, float]:
    """Return the columns of ``stage`` for an epoch with the batches' ``sums`` [n, 11].

    Counts are pooled over all batches before Dice, so that a patch without tumour distorts nothing.
    """
    total = sums.double().sum(0)
    loss, entropy = (total[:2] / len(sums)).tolist()
    dice = dice_index(RegionStatistics(*total[2:].reshape(3, 1, -1)))[0].tolist()
    soft_dice = sum(dice) / len(dice)
    values = [loss, soft_dice, 1 - soft_dice + entropy, *dice]
    return {f"{stage}_{name}": value for name, value in zip(MEASURES, values)}


def best_row(rows: list[dict]) -> dict:
    """Return the epoch with the lowest validation loss, the first of equals."""
    return min(rows, key=lambda row: row["validation_loss"])


def is_finished(settings: Training, rows: list[dict]) -> bool:
    """Say whether all epochs are done, or the last ``stop_patience`` of them brought nothing better."""
    if not rows:
        return False
    return len(rows) >= settings.epochs or len(rows) - best_row(rows)["epoch"] >= settings.stop_patience


def write_history(path: Path, rows: list[dict]) -> None:
    """Write ``rows`` as the CSV file ``path``; without rows there is none."""
    if not rows:
        path.unlink(missing_ok=True)
        return
    with replaced(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def log_epoch(writer, row: dict) -> None:
    """Hand an epoch to TensorBoard's ``writer``, which shows groups in alphabetical order: losses first."""
    for stage in ("training", "validation"):
        writer.add_scalar(f"loss/{stage}", row[f"{stage}_loss"], row["step"])
        for name in ("kidney", "tumour"):
            writer.add_scalar(f"soft_dice/{stage}_{name}", row[f"{stage}_{name}"], row["step"])
    writer.flush()


def print_epoch(settings: Training, rows: list[dict]) -> None:
    """Print the last epoch in a line, with the time that the others take at most."""
    row = rows[-1]
    left = (settings.epochs - len(rows)) * sum(row["seconds"] for row in rows) / len(rows)
    print(f"epoch {len(rows)}/{settings.epochs}: loss {row['training_loss']:.3f}, validation "
          f"{row['validation_loss']:.3f}, kidney {row['validation_kidney']:.3f}, tumour "
          f"{row['validation_tumour']:.3f}; at most {duration(left)} left", flush=True)


def peak_memory() -> int:
    """Return the most memory held so far, MB: of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 1e6)
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)

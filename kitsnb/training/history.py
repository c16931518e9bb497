"""What a run says of itself: the measures of each epoch, in history.csv and in TensorBoard."""

from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from kitsnb.files import write_atomic
from kitsnb.losses import RegionStatistics, cross_entropy, dice_index, region_statistics
from kitsnb.training.settings import Training

#: What history.csv holds for training and validation each; the paper monitors ``dice_cross_entropy``.
MEASURES = ("loss", "soft_dice", "dice_cross_entropy", "background", "kidney", "tumour")


@torch.no_grad()
def batch_sums(loss: Tensor, logits: Tensor, target: Tensor) -> Tensor:
    """Return [11] for a batch, on its device: loss, cross-entropy, and tp, fp and fn of the classes."""
    counts = region_statistics(logits, target).pooled()
    entropy = cross_entropy(logits, target).mean()
    first = torch.stack([loss, entropy])
    return torch.cat([first, *(count[0] for count in counts)]).float()


def measures(stage: str, sums: Tensor) -> dict[str, float]:
    """Return an epoch's columns of ``stage`` from ``sums`` [batches, 11]."""
    total = sums.double().sum(0)  # pooled before Dice, so that a patch without tumour distorts nothing
    loss, entropy = (total[:2] / len(sums)).tolist()
    pooled = RegionStatistics(*total[2:].reshape(3, 1, -1))
    dice = dice_index(pooled)[0].tolist()
    soft_dice = sum(dice) / len(dice)
    values = [loss, soft_dice, 1 - soft_dice + entropy, *dice]
    return {f"{stage}_{name}": value for name, value in zip(MEASURES, values)}


def best_row(rows: list[dict]) -> dict:
    """Return the epoch with the lowest validation loss, the first of equals."""
    return min(rows, key=lambda row: row["validation_loss"])


def is_finished(settings: Training, rows: list[dict]) -> bool:
    """Say whether all epochs are done, or, on a plateau, the last ``stop_patience`` of them brought nothing better."""
    if not rows or len(rows) >= settings.epochs:
        return bool(rows)
    since_best = len(rows) - best_row(rows)["epoch"]
    return settings.schedule == "plateau" and since_best >= settings.stop_patience


def write_history(path: Path, rows: list[dict]) -> None:
    if rows:
        write_atomic(path, pd.DataFrame(rows).to_csv(index=False))


def log_epoch(writer: SummaryWriter, row: dict) -> None:
    """Hand an epoch to TensorBoard's ``writer``, a curve per column."""
    for name, value in row.items():
        writer.add_scalar(name, value, row["step"])
    writer.flush()

"""Anatomy of losses: value and gradient on controlled predictions, who gets the gradient, and what this predicts for Table 1.

Nothing here trains. ``gradient`` always means dL/dlogits, what a network gets to see; its size is the sum of magnitudes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from kitsnb.losses import build_loss
from kitsnb.study.error_paths import CLASSES, PATHS, Geometry, soft_logits

#: Margin of the true class's logit over the others, by stage of an imagined training.
STAGES = {"untrained": 0.0, "half-trained": 4.0, "trained": 8.0}


def build_losses(rows: Sequence[Mapping]) -> dict[str, nn.Module]:
    """The losses of rows of Table 1 (``name``, ``loss``, ``parameters``), by name."""
    return {row["name"]: build_loss(row["loss"], **row.get("parameters") or {}) for row in rows}


def measure(loss: nn.Module, logits: Tensor, target: Tensor) -> dict[str, float]:
    """Value of ``loss``, size of its gradient, and the part of that size on voxels of each label (``share_0`` ...)."""
    logits = logits.detach().requires_grad_()
    value = loss(logits, target)
    size = torch.autograd.grad(value, logits)[0].double().abs().sum(1)
    total = float(size.sum())
    shares = {f"share_{label}": float(size[target == label].sum()) / total if total else np.nan for label in range(CLASSES)}
    return {"value": float(value.detach()), "gradient": total, **shares}


def along_paths(losses: Mapping[str, nn.Module], geometry: Geometry, steps: int = 7) -> pd.DataFrame:
    """Every loss on every error path: columns ``path``, ``amount``, ``unit``, ``loss``, those of ``measure``, and ``relative``.

    ``relative`` is the value over that of a prediction which finds nothing, so that losses of different scale compare.
    """
    target = torch.from_numpy(geometry.segmentation.astype(np.int64))[None]
    nothing = soft_logits(np.zeros_like(geometry.segmentation), geometry.spacing)
    lost = {name: float(loss(nothing, target)) for name, loss in losses.items()}
    rows = []
    for path_name, path in PATHS.items():
        for amount in path.amounts(geometry, steps):
            logits = soft_logits(path.make(geometry, amount), geometry.spacing)
            for name, loss in losses.items():
                found = measure(loss, logits, target)
                rows.append({"path": path_name, "amount": amount, "unit": path.unit, "loss": name, **found,
                             "relative": found["value"] / lost[name]})
    return pd.DataFrame(rows)


def price_of_missing(table: pd.DataFrame) -> pd.Series:
    """By loss: how much more the first step of missed tumour costs than the same volume of false tumour, from ``along_paths``."""
    costs = {}
    for path in ("missed tumour", "false tumour"):
        steps = table[table.path == path].pivot(index="amount", columns="loss", values="value")
        costs[path] = steps.iloc[1] - steps.iloc[0]
    return costs["missed tumour"] / costs["false tumour"]


def mixture(shares: Sequence[float], margin: float, voxels: int = 256 * 1024, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits [1, 3, 1, ``voxels``] and labels of independent voxels, the classes in ``shares`` (which sum to 1).

    Logits are standard normal; that of the true class is higher by ``margin``. Each class has a voxel at least.
    """
    counts = np.maximum(1, np.round(np.asarray(shares) * voxels).astype(int))
    counts[0] += voxels - counts.sum()
    target = torch.from_numpy(np.repeat(np.arange(CLASSES), counts)).view(1, 1, voxels)
    logits = torch.randn(1, CLASSES, 1, voxels, generator=torch.Generator().manual_seed(seed))
    return logits.scatter_add(1, target[:, None], torch.full((1, 1, 1, voxels), float(margin))), target


def gradient_shares(losses: Mapping[str, nn.Module], shares: Sequence[float]) -> pd.DataFrame:
    """``measure`` of every loss on ``mixture`` at every stage: columns ``stage``, ``loss`` and those of ``measure``."""
    rows = []
    for stage, margin in STAGES.items():
        logits, target = mixture(shares, margin)
        rows += [{"stage": stage, "loss": name, **measure(loss, logits, target)} for name, loss in losses.items()]
    return pd.DataFrame(rows)


def without_tumour(losses: Mapping[str, nn.Module], geometry: Geometry, false_ml: float) -> pd.DataFrame:
    """What a patch without tumour costs when nothing is wrong and with ``false_ml`` of false tumour, by loss.

    ``clean`` and ``false`` are values, ``push`` the gradient's size on the invented voxels; ``pooled`` says the same push
    where the batch also holds the patch with its tumour, for losses that pool the batch.
    """
    bare = replace(geometry, segmentation=np.where(geometry.segmentation == 2, 1, geometry.segmentation))
    invented = PATHS["false tumour"].make(bare, false_ml)
    mask = torch.from_numpy(invented == 2)
    target = torch.from_numpy(bare.segmentation.astype(np.int64))[None]
    clean, wrong, other = (soft_logits(labels, geometry.spacing) for labels in (bare.segmentation, invented, geometry.segmentation))
    both = torch.cat([target, torch.from_numpy(geometry.segmentation.astype(np.int64))[None]])
    rows = {}
    for name, loss in losses.items():
        rows[name] = {"clean": float(loss(clean, target)), "false": float(loss(wrong, target))}
        for column, logits, labels in (("push", wrong, target), ("pooled", torch.cat([wrong, other]), both)):
            logits = logits.detach().requires_grad_()
            rows[name][column] = float(torch.autograd.grad(loss(logits, labels), logits)[0][0, :, mask].abs().sum())
    return pd.DataFrame.from_dict(rows, orient="index")

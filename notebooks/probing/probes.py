"""What losses make of known errors, without training. ``gradient`` is dL/dlogits; its size is the sum of magnitudes."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from kitsnb.losses import build_loss

from probing.errors import CLASSES, PATHS, Geometry, soft_logits

Losses = Mapping[str, nn.Module]
#: Margin of the true class's logit over the others, by stage of an imagined training.
STAGES = {"untrained": 0.0, "half-trained": 4.0, "trained": 8.0}
#: A measure of a loss counts as different from the reference's above this factor, or below its inverse.
FACTOR = 1.25


def value_and_gradient(loss: nn.Module, logits: Tensor, target: Tensor) -> tuple[float, Tensor]:
    """Return the value of ``loss``, and its gradient in the shape of ``logits``."""
    logits = logits.detach().requires_grad_()
    value = loss(logits, target)
    return float(value.detach()), torch.autograd.grad(value, logits)[0]


def build_losses(rows: Iterable, defaults: dict, geometries: Sequence[Geometry]) -> tuple[dict, dict]:
    """Build the losses of ``rows`` of Table 1; return those that work on all shapes, and why the others do not."""
    shapes = [(soft_logits(one.segmentation, one.spacing), one.target) for one in geometries]
    losses = {}
    refused = {}
    for row in rows:
        where = "when it is built"
        try:
            loss = build_loss(row.loss, defaults, **row.parameters)
            for logits, target in [*shapes, mixture((1, 0, 0), 0)]:
                where = f"on logits of shape {list(logits.shape)}"
                value_and_gradient(loss, logits, target)
            losses[row.name] = loss
        except Exception as error:  # a reader's own file may raise anything
            refused[row.name] = f"{row.loss} fails {where} with {type(error).__name__}: {error}"
    return losses, refused


def measure(loss: nn.Module, logits: Tensor, target: Tensor) -> dict[str, float]:
    """Return ``value`` of the loss, size of its ``gradient``, and each class's share of that size."""
    value, gradient = value_and_gradient(loss, logits, target)
    size = gradient.double().abs().sum(dim=1)
    on_classes = torch.bincount(target.flatten(), size.flatten(), len(CLASSES))
    shares = on_classes / on_classes.sum()  # NaN where there is no gradient
    return {"value": value, "gradient": float(on_classes.sum()), **dict(zip(CLASSES, shares.tolist()))}


def along_paths(losses: Losses, geometry: Geometry, steps: int = 7) -> pd.DataFrame:
    """Measure every loss on every error path: ``path``, ``amount``, ``loss``, what ``measure`` finds, ``relative``.

    ``relative`` is the value over that of a prediction which finds nothing, so that losses of different scale compare.
    """
    nothing = soft_logits(np.zeros_like(geometry.segmentation), geometry.spacing)
    lost = {name: float(loss(nothing, geometry.target)) for name, loss in losses.items()}
    rows = []
    for path, error in PATHS.items():
        for amount in error.amounts(geometry, steps):
            logits = soft_logits(error.make(geometry, amount), geometry.spacing)
            for name, loss in losses.items():
                found = measure(loss, logits, geometry.target)
                relative = found["value"] / lost[name]
                rows.append({"path": path, "amount": amount, "loss": name, **found, "relative": relative})
    return pd.DataFrame(rows)


def price_of_missing(table: pd.DataFrame) -> pd.Series:
    """Return, by loss, what the first step of missed tumour costs over what as much false tumour does."""
    costs = {}
    for path in ("missed tumour", "false tumour"):
        values = table[table.path == path].pivot(index="amount", columns="loss", values="value")
        costs[path] = values.iloc[1] - values.iloc[0]
    return costs["missed tumour"] / costs["false tumour"]


def mixture(shares: Sequence[float], margin: float, side: int = 64) -> tuple[Tensor, Tensor]:
    """Draw a patch of independent voxels, logits [1, 3, side, side, side] and labels, the classes in ``shares``.

    Logits are standard normal; that of the true class is higher by ``margin``. Each class has a voxel at least.
    """
    counts = np.round(np.multiply(shares, side**3)).astype(int).clip(1)
    counts[0] += side**3 - counts.sum()
    target = torch.arange(len(CLASSES)).repeat_interleave(torch.from_numpy(counts))
    target = target.view(1, side, side, side)
    logits = torch.randn(1, len(CLASSES), side, side, side, generator=torch.Generator().manual_seed(0))
    return logits + margin * nn.functional.one_hot(target, len(CLASSES)).movedim(-1, 1), target


def gradient_shares(losses: Losses, shares: Sequence[float]) -> pd.DataFrame:
    """Measure every loss on ``mixture`` at every stage: columns ``stage``, ``loss`` and those of ``measure``."""
    rows = []
    for stage, margin in STAGES.items():
        drawn = mixture(shares, margin)
        rows += [{"stage": stage, "loss": name, **measure(loss, *drawn)} for name, loss in losses.items()]
    return pd.DataFrame(rows)


def expect(names: Sequence[str], gradient: pd.DataFrame, price: pd.Series, reference: str) -> list[dict]:
    """State what ``gradient_shares`` and ``price_of_missing`` let one expect of the rows ``names`` of Table 1.

    Two hypotheses per row but the ``reference``: ``kind``, ``score``, ``expected``, ``measure``, its ``ratio`` to the
    reference's. Then one of kind "lowest": the row whose gradient falls most comes last; ``ratio`` is that fall.
    """
    half = gradient[gradient.stage == "half-trained"].set_index("loss")
    trained = gradient[gradient.stage == "trained"].set_index("loss")
    measures = [
        ("tumour", "tumour", "share of the gradient on tumour voxels, half-trained", half.tumour),
        ("volume", "predicted_tumour_ml", "price of a missed over an invented tumour", price),
    ]
    made = []
    for kind, score, text, values in measures:
        for name in [name for name in names if name != reference]:
            ratio = float(values[name] / values[reference])
            expected = "higher" if ratio > FACTOR else "same"
            if ratio < 1 / FACTOR:
                expected = "lower"
            made.append({"kind": kind, "experiment": name, "reference": reference, "score": score,
                         "expected": expected, "measure": text, "ratio": ratio})
    fall = (trained.gradient / half.gradient)[list(names)]
    made.append({"kind": "lowest", "experiment": fall.idxmin(), "reference": None, "score": "composite",
                 "expected": "lowest", "measure": "gradient, trained over half-trained", "ratio": float(fall.min())})
    return made

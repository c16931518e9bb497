"""What losses make of known errors, without training. The size of a gradient, dL/dlogits, is its sum of magnitudes."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from kitsnb.losses import build_loss

from probing.errors import CLASSES, Geometry, soft_logits

Losses = Mapping[str, nn.Module]
#: Margin of the true class's logit over the others, by stage of an imagined training.
STAGES = {"untrained": 0.0, "half-trained": 4.0, "trained": 8.0}
#: A measure of a loss counts as different from the reference's above this factor, or below its inverse.
FACTOR = 1.25


def build_losses(rows: Iterable, defaults: dict, geometries: Iterable[Geometry]) -> tuple[dict, dict]:
    """Build the losses of ``rows`` of Table 1; return those that work on all shapes, and why the others do not."""
    inputs = [mixture((1, 0, 0), 0)]
    inputs += [(soft_logits(one.segmentation, one.spacing), one.target) for one in geometries]
    losses = {}
    refused = {}
    for row in rows:
        try:
            loss = build_loss(row.loss, defaults, **row.parameters)
            for logits, target in inputs:
                measure(loss, logits, target)
            losses[row.name] = loss
        except Exception as error:  # a reader's own file may raise anything
            refused[row.name] = f"{row.loss} fails with {type(error).__name__}: {error}"
    return losses, refused


def measure(loss: nn.Module, logits: Tensor, target: Tensor) -> dict[str, float]:
    """Return ``value`` of the loss, size of its ``gradient``, and each class's share of that size."""
    logits = logits.detach().requires_grad_()
    value = loss(logits, target)
    (gradient,) = torch.autograd.grad(value, logits)
    size = gradient.double().abs().sum(dim=1)
    on_classes = torch.bincount(target.flatten(), size.flatten(), minlength=3)
    shares = on_classes / on_classes.sum()  # NaN where there is no gradient
    found = dict(zip(CLASSES, shares.tolist()))
    found["value"] = float(value.detach())
    found["gradient"] = float(on_classes.sum())
    return found


def along_paths(losses: Losses, geometry: Geometry, predictions: Mapping[str, Mapping[float, Tensor]]) -> pd.DataFrame:
    """Measure losses on ``errors.predict_errors``; ``relative`` is the value over that of finding nothing."""
    nothing = soft_logits(np.zeros_like(geometry.segmentation), geometry.spacing)
    lost = {name: float(loss(nothing, geometry.target)) for name, loss in losses.items()}
    rows = []
    for path, by_amount in predictions.items():
        for amount, logits in by_amount.items():
            for name, loss in losses.items():
                found = measure(loss, logits, geometry.target)
                rows.append({"path": path, "amount": amount, "loss": name, **found})
    table = pd.DataFrame(rows)
    table["relative"] = table.value / table.loss.map(lost)
    return table


def price_of_missing(table: pd.DataFrame) -> pd.Series:
    """Return, by loss, what the first step of missed tumour costs over what as much false tumour does; NaN if nothing."""
    values = table.pivot(index=["path", "amount"], columns="loss", values="value")
    missed = values.loc["missed tumour"]
    false = values.loc["false tumour"]
    price = (missed.iloc[1] - missed.iloc[0]) / (false.iloc[1] - false.iloc[0])
    return price[np.isfinite(price)].reindex(price.index)


def mixture(shares: Sequence[float], margin: float, side: int = 64) -> tuple[Tensor, Tensor]:
    """Draw logits [1, 3, side, side, side], standard normal, the true class's higher by ``margin``, and labels.

    Voxels are independent, their classes in ``shares``, at least one each.
    """
    voxels = side**3
    counts = (torch.tensor(shares, dtype=torch.float64) * voxels).round().long().clip(1)
    counts[0] += voxels - counts.sum()
    target = torch.arange(3).repeat_interleave(counts).view(1, side, side, side)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 3, side, side, side, generator=generator)
    true = nn.functional.one_hot(target, 3).movedim(-1, 1)
    return logits + margin * true, target


def gradient_shares(losses: Losses, shares: Sequence[float]) -> pd.DataFrame:
    """Measure every loss on ``mixture`` at every stage: columns ``stage``, ``loss`` and those of ``measure``."""
    rows = []
    for stage, margin in STAGES.items():
        logits, target = mixture(shares, margin)
        for name, loss in losses.items():
            rows.append({"stage": stage, "loss": name, **measure(loss, logits, target)})
    return pd.DataFrame(rows)


def expect(names: Sequence[str], gradient: pd.DataFrame, price: pd.Series, reference: str) -> list[dict]:
    """State what ``gradient_shares`` and ``price_of_missing`` let one expect of the rows ``names`` of Table 1.

    Two hypotheses per row, by its ``ratio`` to the ``reference``; then the row whose gradient falls most comes last.
    """
    half = gradient[gradient.stage == "half-trained"].set_index("loss")
    trained = gradient[gradient.stage == "trained"].set_index("loss")
    measures = [
        ("tumour", "tumour", "share of the gradient on tumour voxels, half-trained", half.tumour),
        ("volume", "predicted_tumour_ml", "price of a missed over an invented tumour", price),
    ]
    made = []
    for kind, score, text, values in measures:
        ratio = (values[list(names)].drop(reference) / values[reference]).dropna()
        table = pd.DataFrame({"kind": kind, "experiment": ratio.index, "reference": reference, "score": score})
        table["expected"] = np.select([ratio > FACTOR, ratio < 1 / FACTOR], ["higher", "lower"], "same")
        table["measure"] = text
        table["ratio"] = ratio.to_numpy()
        made += table.to_dict("records")
    fall = (trained.gradient / half.gradient)[list(names)]
    made.append({
        "kind": "lowest", "experiment": fall.idxmin(), "reference": None, "among": list(names),
        "score": "composite", "expected": "lowest", "measure": "gradient, trained over half-trained",
        "ratio": float(fall.min()),
    })
    return made

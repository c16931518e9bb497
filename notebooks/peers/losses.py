"""Our losses against MONAI's: time and memory of forward and backward."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch

from kitsnb import losses
from peers.measure import median_seconds, one_thread, peak_bytes


def cost_of_losses(functions: Mapping[str, Callable], logits: torch.Tensor, target: torch.Tensor, repeats: int) -> dict[str, dict]:
    """Forward and backward of each loss: ``milliseconds`` (median), and ``memory``, the peak in units of the logits' size."""
    logits = logits.detach().requires_grad_()
    steps = {name: lambda loss=loss: torch.autograd.grad(loss(logits, target), logits) for name, loss in functions.items()}
    with one_thread():
        seconds = median_seconds(steps, repeats)
        held = {name: peak_bytes(step) for name, step in steps.items()}
    size = logits.numel() * logits.element_size()
    return {name: {"milliseconds": 1000 * seconds[name], "memory": held[name] / size} for name in functions}


def against_monai(sizes: Sequence[Sequence[int]], repeats: int) -> list[dict]:
    """``cost_of_losses`` of four losses and of MONAI's, on random logits of each of ``sizes`` [B, C, *spatial].

    A row a loss and size: ``loss``, ``size``, ``milliseconds`` and ``memory`` here, ``time_ratio`` and ``memory_ratio`` to
    MONAI's. Needs the package monai.
    """
    from monai.losses import DiceLoss, FocalLoss, GeneralizedDiceLoss, TverskyLoss

    options = {"softmax": True, "to_onehot_y": True}
    pairs = {
        "Dice": (losses.DiceLoss(), DiceLoss(**options)),
        "Tversky": (losses.TverskyLoss(), TverskyLoss(alpha=0.3, beta=0.7, **options)),  # MONAI's alpha: false positives
        "generalized Dice": (losses.GeneralizedDiceLoss(), GeneralizedDiceLoss(**options)),
        "focal": (losses.FocalLoss(), FocalLoss(use_softmax=True, to_onehot_y=True)),
    }
    rows = []
    for batch, classes, *spatial in sizes:
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(batch, classes, *spatial, generator=generator)
        target = torch.randint(0, classes, (batch, 1, *spatial), generator=generator)
        both = {(name, who): loss for name, pair in pairs.items() for who, loss in zip(("here", "peer"), pair)}
        found = cost_of_losses(both, logits, target, repeats)
        for name in pairs:
            here, peer = found[name, "here"], found[name, "peer"]
            ratios = {"time_ratio": here["milliseconds"] / peer["milliseconds"], "memory_ratio": here["memory"] / peer["memory"]}
            rows.append({"loss": name, "size": [batch, classes, *spatial], **here, **ratios})
    return rows


def compare(repeats: int, sizes: Sequence[Sequence[int]]) -> list[dict]:
    """``against_monai`` as rows of ``peers``."""
    rows = []
    for row in against_monai(sizes, repeats):
        batch, classes, *spatial = row["size"]
        elements = batch * classes * math.prod(spatial)
        rows.append({"job": f"{row['loss']} loss, {' x '.join(map(str, row['size']))}", "peer": "MONAI",
                     "milliseconds": row["milliseconds"], "time_ratio": row["time_ratio"],
                     "megabytes": row["memory"] * elements * 4 / 1e6, "memory_ratio": row["memory_ratio"]})
    return rows

"""Losses over regions: Dice, Tversky and their weighted, generalized and focal forms, over ``region_statistics``."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from kitsnb.losses.statistics import (
    Loss,
    RegionStatistics,
    class_weights,
    dice_index,
    focal_power,
    fraction,
    region_statistics,
    settings,
    tversky_index,
)


@settings
class RegionLoss(Loss):
    """A loss over region statistics, per sample or (``batch=True``) of the batch as one.

    ``smooth`` keeps fractions defined; with 0, 0/0 is one. The loss can be differentiated twice, and by
    ``torch.func.grad``, which then takes more memory.
    """

    batch: bool = False
    smooth: float = 1e-5
    #: How ``batch=True`` pools; training on many devices puts in its place what sums over their batches, too.
    pool = staticmethod(RegionStatistics.pooled)

    def statistics(self, logits: Tensor, target: Tensor) -> RegionStatistics:
        statistics = region_statistics(logits, target)
        return self.pool(statistics) if self.batch else statistics


@settings
class DiceLoss(RegionLoss):
    """1 - soft Dice, mean over samples and classes (eq. 8 is its two-class case).

    ``batch=True`` sums the counts over the batch first; ``reduction="none"`` gives [B, C] (or [1, C]). With the default
    ``smooth`` a class that is absent from both target and prediction has Dice 1, and one that is absent from the target
    but predicted has Dice about 0 with hardly a gradient; a larger ``smooth`` or ``batch=True`` softens that.
    """

    include_background: bool = True
    reduction: Literal["mean", "none"] = "mean"

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss = 1 - dice_index(self.statistics(logits, target), self.smooth)
        loss = loss if self.include_background else loss[:, 1:]
        return loss.mean() if self.reduction == "mean" else loss


@settings
class WeightedDiceLoss(RegionLoss):
    """1 - sum_c(w_c DSC_c) / sum_c(w_c) (eq. 13), mean over samples; ``weights`` one a class, in label order."""

    weights: Sequence[float]

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        index = dice_index(self.statistics(logits, target), self.smooth)
        weights = class_weights(self.weights, index, index.shape[1])
        return 1 - ((index * weights).sum(1) / weights.sum()).mean()


@settings
class GeneralizedDiceLoss(RegionLoss):
    """1 - 2 sum_c(w_c tp_c) / sum_c(w_c (2 tp_c + fp_c + fn_c)) (eq. 1; Sudre et al. 2017), mean over samples.

    w is 1/n^2 (``class_weight="square"``), 1/n (``"simple"``) or 1 (``"uniform"``) with n the labelled voxels of a
    class; a class that is absent gets the largest weight of those present. ``smooth`` is added to numerator and
    denominator as they are, so under "square" it stands beside sums of the order of 1/n: the loss of a patch of pure
    background is damped.
    """

    class_weight: Literal["square", "simple", "uniform"] = "square"

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        tp, fp, fn = self.statistics(logits, target)
        labelled = (tp + fn).detach()
        smallest = labelled.masked_fill(labelled == 0, torch.inf).amin(1, keepdim=True)
        power = {"square": 2, "simple": 1, "uniform": 0}[self.class_weight]
        weights = torch.where(labelled > 0, labelled, smallest) ** -power
        overlap, volume = (weights * tp).sum(1), (weights * (2 * tp + fp + fn)).sum(1)
        return 1 - ((2 * overlap + self.smooth) / (volume + self.smooth)).mean()


@settings
class TwoTermDiceLoss(RegionLoss):
    """Eq. 8, for two classes: 1 - (sum pr + s) / (sum (p + r) + s) - (sum (1-p)(1-r) + s) / (sum (2-p-r) + s).

    Without ``smooth`` this is the two-class ``DiceLoss``. With it, a fraction is 1 rather than 1/2 where a class is
    absent from target and prediction, so that the loss falls to -1/2: ``DiceLoss`` has the smoothing that is meant.
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        if logits.shape[1] != 2:
            raise ValueError(f"eq. 8 is for two classes, got logits {tuple(logits.shape)}; DiceLoss takes any number")
        tp, fp, fn = self.statistics(logits, target)
        return 1 - fraction(tp + self.smooth, 2 * tp + fp + fn + self.smooth).sum(1).mean()


@settings
class TverskyLoss(RegionLoss):
    """1 - Tversky index (eqs. 3 and 5), mean over samples and classes; ``alpha``, ``beta``: ``tversky_index``."""

    alpha: float = 0.7
    beta: float = 0.3

    def complement(self, logits: Tensor, target: Tensor) -> Tensor:
        """1 - TI per sample and class."""
        return 1 - tversky_index(self.statistics(logits, target), self.alpha, self.beta, self.smooth)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.complement(logits, target).mean()


@settings
class FocalTverskyLoss(TverskyLoss):
    """Focal Tversky loss (eq. 6): over classes, (1 - TI)^exponent, where ``exponent`` is the paper's 1/gamma.

    ``classes="sum"`` as in eq. 6, or ``"mean"``; mean over samples. ``focal_on="index"`` is the paper's second reading,
    1 - TI^exponent. Bases below ``MIN_COMPLEMENT`` are clamped, since a power below one has no finite slope at zero.
    """

    exponent: float = 0.75
    classes: Literal["sum", "mean"] = "sum"
    focal_on: Literal["complement", "index"] = "complement"

    def __post_init__(self):
        super().__post_init__()
        if not self.exponent:
            raise ValueError("exponent must be positive, got 0")

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        complement = self.complement(logits, target)
        if self.focal_on == "complement":
            loss = focal_power(complement, self.exponent)
        else:
            loss = 1 - focal_power(1 - complement, self.exponent)
        return (loss.sum(1) if self.classes == "sum" else loss.mean(1)).mean()

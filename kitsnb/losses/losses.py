"""The losses: short modules over the region statistics, or over the cross-entropy of each voxel; log-cosh of any."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kitsnb.losses.statistics import (
    RegionStatistics, check_number, check_weights, class_weights, cross_entropy, dice_index, focal_power, fraction,
    log_cosh, region_statistics, tversky_index,
)  # fmt: skip


def describe(loss: nn.Module) -> str:
    """List a loss's settings, for its ``repr``."""
    settings = vars(loss).keys() - vars(nn.Module()).keys()
    return ", ".join(f"{name}={value!r}" for name, value in vars(loss).items() if name in settings)


class RegionLoss(nn.Module):
    """A loss over region statistics, per sample or (``batch=True``) of the batch as one.

    ``smooth`` keeps fractions defined; with 0, 0/0 is one.
    """

    extra_repr = describe

    def __init__(self, *, batch=False, smooth=1e-5):
        super().__init__()
        self.batch = batch
        self.smooth = check_number("smooth", smooth)

    def statistics(self, logits: Tensor, target: Tensor) -> RegionStatistics:
        statistics = region_statistics(logits, target)
        return statistics.pooled() if self.batch else statistics


class DiceLoss(RegionLoss):
    """1 - soft Dice (eq. 7), mean over samples and classes; for two classes eq. 8 as it is meant.

    With the default ``smooth``, a class that is absent from the target but predicted has Dice about 0 with hardly a
    gradient; a larger ``smooth`` or ``batch=True`` softens that.
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return (1 - dice_index(self.statistics(logits, target), self.smooth)).mean()


class WeightedDiceLoss(RegionLoss):
    """1 - sum_c(w_c DSC_c) / sum_c(w_c) (eq. 13), mean over samples; ``weights``: one per class, in label order."""

    def __init__(self, *, weights: Sequence[float], batch=False, smooth=1e-5):
        super().__init__(batch=batch, smooth=smooth)
        self.weights = check_weights(weights)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        index = dice_index(self.statistics(logits, target), self.smooth)
        weights = class_weights(self.weights, index, index.shape[1])
        return 1 - ((index * weights).sum(1) / weights.sum()).mean()


class GeneralizedDiceLoss(RegionLoss):
    """1 - 2 sum_c(w_c tp_c) / sum_c(w_c (2 tp_c + fp_c + fn_c)) (eq. 1; Sudre et al. 2017), mean over samples.

    w is 1/n^2 with n the labelled voxels of a class; an absent class gets the largest weight of those present.
    ``smooth`` stands beside sums of the order of 1/n: the loss of a patch of pure background is damped.
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        tp, fp, fn = self.statistics(logits, target)
        labelled = (tp + fn).detach()
        smallest = labelled.masked_fill(labelled == 0, torch.inf).amin(1, keepdim=True)
        weights = torch.where(labelled > 0, labelled, smallest) ** -2
        overlap = (weights * tp).sum(1)
        volume = (weights * (2 * tp + fp + fn)).sum(1)
        return 1 - ((2 * overlap + self.smooth) / (volume + self.smooth)).mean()


class TwoTermDiceLoss(RegionLoss):
    """Eq. 8, for two classes: 1 - (sum pr + s) / (sum (p + r) + s) - (sum (1-p)(1-r) + s) / (sum (2-p-r) + s).

    Without ``smooth`` this is the two-class ``DiceLoss``; with it, the loss falls to -1/2 where a class is absent.
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        tp, fp, fn = self.statistics(logits, target)
        if logits.shape[1] != 2:
            raise ValueError(f"eq. 8 is for two classes, got logits {tuple(logits.shape)}; DiceLoss takes any number")
        return 1 - fraction(tp + self.smooth, 2 * tp + fp + fn + self.smooth).sum(1).mean()


class TverskyLoss(RegionLoss):
    """1 - Tversky index (eqs. 3 and 5), mean over samples and classes; ``alpha``, ``beta``: ``tversky_index``."""

    def __init__(self, *, alpha=0.7, beta=0.3, batch=False, smooth=1e-5):
        super().__init__(batch=batch, smooth=smooth)
        self.alpha = check_number("alpha", alpha)
        self.beta = check_number("beta", beta)

    def complement(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute 1 - TI per sample and class."""
        return 1 - tversky_index(self.statistics(logits, target), self.alpha, self.beta, self.smooth)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.complement(logits, target).mean()


class FocalTverskyLoss(TverskyLoss):
    """Focal Tversky loss (eq. 6): sum over classes of (1 - TI)^exponent, mean over samples.

    ``exponent`` is the paper's 1/gamma: 0.75 and 5 as its table prints them, 4/3 and 0.2 if these were gamma.
    """

    def __init__(self, *, alpha=0.7, beta=0.3, exponent=0.75, batch=False, smooth=1e-5):
        super().__init__(alpha=alpha, beta=beta, batch=batch, smooth=smooth)
        self.exponent = check_number("exponent", exponent)
        if not exponent:
            raise ValueError("exponent must be positive, got 0")

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return focal_power(self.complement(logits, target), self.exponent).sum(1).mean()


class WeightedCrossEntropyLoss(nn.Module):
    """sum over voxels of w_y (-log p_y) / number of voxels: eq. 2 for C classes.

    For two, ``weights`` are (1 - lambda, lambda). torch's ``cross_entropy(weight=...)`` divides by the sum of weights.
    """

    extra_repr = describe

    def __init__(self, *, weights: Sequence[float]):
        super().__init__()
        self.weights = check_weights(weights)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        entropy = cross_entropy(logits, target)
        weights = class_weights(self.weights, entropy, logits.shape[1])
        return (weights[target.long().reshape(entropy.shape)] * entropy).mean()


class FocalLoss(nn.Module):
    """Softmax focal loss, -(1 - p_y)^gamma log p_y, mean over voxels (Lin et al. 2017); cross-entropy for gamma 0."""

    extra_repr = describe

    def __init__(self, *, gamma=2.0):
        super().__init__()
        self.gamma = check_number("gamma", gamma)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        entropy = cross_entropy(logits, target)
        return (focal_power(-torch.expm1(-entropy), self.gamma) * entropy).mean()


class DiceCrossEntropyLoss(DiceLoss):
    """Soft Dice loss plus mean cross-entropy: the "dice cross-entropy" that the paper monitors during training."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return super().forward(logits, target) + cross_entropy(logits, target).mean()


class LogCosh(nn.Module):
    """log(cosh(loss)) of any loss module (eqs. 9-12)."""

    def __init__(self, loss: nn.Module):
        super().__init__()
        self.loss = loss

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return log_cosh(self.loss(logits, target))

"""The losses: short modules over the region statistics, or over the cross-entropy of each voxel; log-cosh of any."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kitsnb.losses.statistics import (
    RegionStatistics, cross_entropy, dice_index, focal_power, log_cosh, region_statistics, tversky_index,
)  # fmt: skip


def class_weights(weights: Sequence[float], like: Tensor, classes: int) -> Tensor:
    """Make a tensor [C] of ``weights`` like ``like``; raise ``ValueError`` unless finite, at least 0, not all 0."""
    if len(weights) != classes or min(weights) < 0 or not 0 < sum(weights) < math.inf:
        raise ValueError(f"weights must be {classes} finite numbers, one per class, none negative and not all zero, "
                         f"got {list(weights)}")
    # filled on the device: a copy of a list would make a GPU wait
    return torch.stack([like.new_full((), weight) for weight in weights])


class RegionLoss(nn.Module):
    """A loss ``of_regions``: of the statistics per sample or (``batch=True``) of the batch as one.

    ``smooth`` keeps fractions defined; with 0, 0/0 is one.
    """

    def __init__(self, *, batch=False, smooth=1e-5):
        super().__init__()
        self.batch = batch
        self.smooth = smooth

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        statistics = region_statistics(logits, target)
        if self.batch:
            statistics = statistics.pooled()
        return self.of_regions(statistics)


class DiceLoss(RegionLoss):
    """1 - soft Dice (eq. 7), mean over samples and classes; for two classes and no ``smooth`` this is eq. 8.

    A class that is predicted but absent from the target has Dice about 0 with hardly a gradient; a larger ``smooth``
    or ``batch=True`` softens that.
    """

    def of_regions(self, statistics: RegionStatistics) -> Tensor:
        return (1 - dice_index(statistics, self.smooth)).mean()


class WeightedDiceLoss(RegionLoss):
    """1 - sum_c(w_c DSC_c) / sum_c(w_c) (eq. 13), mean over samples; ``weights``: one per class, in label order."""

    def __init__(self, *, weights: Sequence[float], batch=False, smooth=1e-5):
        super().__init__(batch=batch, smooth=smooth)
        self.weights = weights

    def of_regions(self, statistics: RegionStatistics) -> Tensor:
        index = dice_index(statistics, self.smooth)
        weights = class_weights(self.weights, index, index.shape[1])
        return 1 - ((index * weights).sum(1) / weights.sum()).mean()


class GeneralizedDiceLoss(RegionLoss):
    """1 - 2 sum_c(w_c tp_c) / sum_c(w_c (2 tp_c + fp_c + fn_c)) (eq. 1; Sudre et al. 2017), mean over samples.

    w is 1/n^2 with n the labelled voxels of a class; an absent class gets the largest weight of those present.
    """

    def of_regions(self, statistics: RegionStatistics) -> Tensor:
        tp, fp, fn = statistics
        labelled = (tp + fn).detach()
        smallest = labelled.masked_fill(labelled == 0, torch.inf).amin(1, keepdim=True)
        weights = (smallest / torch.where(labelled > 0, labelled, smallest)) ** 2  # the largest is 1: beside ``smooth``
        overlap = (weights * tp).sum(1)
        volume = (weights * (2 * tp + fp + fn)).sum(1)
        return 1 - ((2 * overlap + self.smooth) / (volume + self.smooth)).mean()


class TverskyLoss(RegionLoss):
    """1 - Tversky index (eqs. 3 and 5), mean over samples and classes; ``alpha``, ``beta``: ``tversky_index``."""

    def __init__(self, *, alpha=0.7, beta=0.3, batch=False, smooth=1e-5):
        super().__init__(batch=batch, smooth=smooth)
        self.alpha = alpha
        self.beta = beta

    def complement(self, statistics: RegionStatistics) -> Tensor:
        """Compute 1 - TI per sample and class."""
        return 1 - tversky_index(statistics, self.alpha, self.beta, self.smooth)

    def of_regions(self, statistics: RegionStatistics) -> Tensor:
        return self.complement(statistics).mean()


class FocalTverskyLoss(TverskyLoss):
    """Focal Tversky loss (eq. 6): sum over classes of (1 - TI)^exponent, mean over samples.

    ``exponent`` is the paper's 1/gamma: 0.75 and 5 as its table prints them, 4/3 and 0.2 if these were gamma.
    """

    def __init__(self, *, alpha=0.7, beta=0.3, exponent=0.75, batch=False, smooth=1e-5):
        super().__init__(alpha=alpha, beta=beta, batch=batch, smooth=smooth)
        self.exponent = exponent

    def of_regions(self, statistics: RegionStatistics) -> Tensor:
        return focal_power(self.complement(statistics), self.exponent).sum(1).mean()


class WeightedCrossEntropyLoss(nn.Module):
    """sum of w_y (-log p_y) over voxels / number of voxels: eq. 2 (torch's ``weight`` divides by the weights' sum)."""

    def __init__(self, *, weights: Sequence[float]):
        super().__init__()
        self.weights = weights

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        entropy = cross_entropy(logits, target)
        weights = class_weights(self.weights, entropy, logits.shape[1])
        return (weights[target.long().reshape(entropy.shape)] * entropy).mean()


class FocalLoss(nn.Module):
    """Softmax focal loss, -(1 - p_y)^gamma log p_y, mean over voxels (Lin et al. 2017)."""

    def __init__(self, *, gamma=2.0):
        super().__init__()
        self.gamma = gamma

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

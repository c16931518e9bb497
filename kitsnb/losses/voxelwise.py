"""Losses over voxels: weighted cross-entropy and the focal losses, each a mean over voxels."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kitsnb.losses.statistics import (
    check_logits,
    check_shapes,
    class_weights,
    cross_entropy,
    focal_power,
    not_negative,
    taint,
    wide,
    without_channel,
)


class WeightedCrossEntropyLoss(nn.Module):
    """sum over voxels of w_y (-log p_y) / number of voxels: eq. 2 for C classes, whose ``weights`` are (1 - lambda, lambda) for two.

    torch's ``cross_entropy(weight=...)`` divides by the sum of the voxels' weights instead.
    """

    def __init__(self, *, weights: Sequence[float]):
        super().__init__()
        class_weights(weights, len(weights), torch.empty(0))
        self.weights = tuple(weights)

    def extra_repr(self) -> str:
        return f"weights={self.weights}"

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        entropy = cross_entropy(logits, target)
        weights = class_weights(self.weights, logits.shape[1], entropy)
        return (weights[without_channel(logits, target).long()] * entropy).mean()


class FocalLoss(nn.Module):
    """Softmax focal loss, -(1 - p_y)^gamma log p_y, mean over voxels (Lin et al. 2017); ``gamma=0`` is cross-entropy."""

    def __init__(self, *, gamma: float = 2.0):
        super().__init__()
        not_negative(gamma=gamma)
        self.gamma = gamma

    def extra_repr(self) -> str:
        return f"gamma={self.gamma}"

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        entropy = cross_entropy(logits, target)
        return (focal_power(-torch.expm1(-entropy), self.gamma) * entropy).mean()


class QualityFocalLoss(nn.Module):
    """|y - p|^beta times binary cross-entropy, p the sigmoid of each class, mean over voxels and classes (eq. 4; Li et al. 2020).

    ``target`` holds integer labels, or soft labels y in [0, 1] as floating point [B, C, *spatial].
    """

    def __init__(self, *, beta: float = 2.0):
        super().__init__()
        not_negative(beta=beta)
        self.beta = beta

    def extra_repr(self) -> str:
        return f"beta={self.beta}"

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        y = self.soft_labels(logits, target)
        with torch.autocast(logits.device.type, enabled=False):
            x = wide(logits)
            y = y.to(x.dtype)
            entropy = F.binary_cross_entropy_with_logits(x, y, reduction="none")
            return (focal_power((y - x.sigmoid()).abs(), self.beta) * entropy).mean()

    @staticmethod
    def soft_labels(logits: Tensor, target: Tensor) -> Tensor:
        if not target.is_floating_point():
            return F.one_hot(check_shapes(logits, target), logits.shape[1]).movedim(-1, 1)
        check_logits(logits)
        if target.shape != logits.shape:
            raise ValueError(f"soft labels must be {tuple(logits.shape)} like the logits, got {tuple(target.shape)}")
        if not (target.min() >= 0 and target.max() <= 1):
            raise ValueError(f"soft labels must lie in [0, 1], got {float(target.min())} to {float(target.max())}")
        return target


class DistributionFocalLoss(nn.Module):
    """-((y_r - y) log p_l + (y - y_l) log p_r), mean over voxels: softmax over bins 0..C-1, y between bins y_l and y_r = y_l + 1.

    Eq. 4's second use (Li et al. 2020). ``target`` [B, *spatial] or [B, 1, *spatial] holds y in [0, C - 1], floating point or
    integer; at whole y this is the cross-entropy.
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        check_logits(logits)
        y, bins = without_channel(logits, target), logits.shape[1]
        if not (y.min() >= 0 and y.max() <= bins - 1):
            raise ValueError(f"target must lie in [0, {bins - 1}], the bins of {bins} logits, got {y.min()} to {y.max()}")
        with torch.autocast(logits.device.type, enabled=False):
            log_p = wide(logits).log_softmax(1)
            y = y.to(log_p.dtype)[:, None]
            left = y.long().clamp(max=bins - 2)
            loss = (left + 1 - y) * log_p.gather(1, left) + (y - left) * log_p.gather(1, left + 1)
            return taint(logits) - loss.mean()

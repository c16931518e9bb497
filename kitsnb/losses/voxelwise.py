"""Losses over voxels: weighted cross-entropy and the focal losses, each a mean over voxels."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from kitsnb.losses.statistics import (
    Loss,
    check_logits,
    check_range,
    check_shapes,
    class_weights,
    cross_entropy,
    focal_power,
    one_hot,
    settings,
    taint,
    wide,
    without_channel,
)


@settings
class WeightedCrossEntropyLoss(Loss):
    """sum over voxels of w_y (-log p_y) / number of voxels: eq. 2 for C classes.

    For two, ``weights`` are (1 - lambda, lambda). torch's ``cross_entropy(weight=...)`` divides by the sum of weights.
    """

    weights: Sequence[float]

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        entropy = cross_entropy(logits, target)
        weights = class_weights(self.weights, entropy, logits.shape[1])
        return (weights[without_channel(logits, target).long()] * entropy).mean()


@settings
class FocalLoss(Loss):
    """Softmax focal loss, -(1 - p_y)^gamma log p_y, mean over voxels (Lin et al. 2017); cross-entropy for gamma 0."""

    gamma: float = 2.0

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        entropy = cross_entropy(logits, target)
        return (focal_power(-torch.expm1(-entropy), self.gamma) * entropy).mean()


@settings
class QualityFocalLoss(Loss):
    """|y - p|^beta times binary cross-entropy, p the sigmoid of each class, mean over voxels and classes.

    Eq. 4; Li et al. 2020. ``target`` holds integer labels, or soft labels in [0, 1] as floating point [B, C, *spatial].
    """

    beta: float = 2.0

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
            return one_hot(check_shapes(logits, target), logits.shape[1])
        check_logits(logits)
        if target.shape != logits.shape:
            raise ValueError(f"soft labels must be {tuple(logits.shape)} like the logits, got {tuple(target.shape)}")
        check_range(target, 0, 1, "soft labels must lie in [0, 1]")
        return target


@settings
class DistributionFocalLoss(Loss):
    """-((y_r - y) log p_l + (y - y_l) log p_r), mean over voxels.

    Softmax over bins 0..C-1, and y between the bins y_l and y_r = y_l + 1.
    Eq. 4's second use (Li et al. 2020). ``target`` [B, *spatial] or [B, 1, *spatial] holds y in [0, C - 1], floating
    point or integer; at whole y this is the cross-entropy.
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        if not target.is_floating_point():
            target = check_shapes(logits, target)
        check_logits(logits)
        y, last = without_channel(logits, target), logits.shape[1] - 1
        check_range(y, 0, last, f"target must lie in [0, {last}], the bins of {last + 1} logits")
        with torch.autocast(logits.device.type, enabled=False):
            log_p = wide(logits).log_softmax(1)
            y = y.to(log_p.dtype)[:, None]
            left = y.long().clamp(max=last - 1)
            loss = (left + 1 - y) * log_p.gather(1, left) + (y - left) * log_p.gather(1, left + 1)
            return taint(logits) - loss.mean()

"""Losses made of losses: log-cosh of any, and Dice plus cross-entropy."""

from torch import Tensor, nn

from kitsnb.losses.region import RegionLoss
from kitsnb.losses.statistics import cross_entropy, dice_index, log_cosh, settings


class LogCosh(nn.Module):
    """log(cosh(loss)) of any loss module (eqs. 9-12)."""

    def __init__(self, loss: nn.Module):
        super().__init__()
        self.loss = loss

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return log_cosh(self.loss(logits, target))


@settings
class DiceCrossEntropyLoss(RegionLoss):
    """Soft Dice loss plus mean cross-entropy: the "dice cross-entropy" that the paper monitors during training."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        dice = 1 - dice_index(self.statistics(logits, target), self.smooth)
        return dice.mean() + cross_entropy(logits, target).mean()

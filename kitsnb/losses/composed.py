"""Losses made of losses: log-cosh of any, and Dice plus cross-entropy."""

from torch import Tensor, nn

from kitsnb.losses.region import DiceLoss
from kitsnb.losses.statistics import cross_entropy, log_cosh


class LogCosh(nn.Module):
    """log(cosh(loss)) of any loss module (eqs. 9-12)."""

    def __init__(self, loss: nn.Module):
        super().__init__()
        self.loss = loss

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return log_cosh(self.loss(logits, target))


class DiceCrossEntropyLoss(nn.Module):
    """Soft Dice loss plus mean cross-entropy: the "dice cross-entropy" that the paper monitors during training."""

    def __init__(self, *, batch: bool = False, smooth: float = 1e-5):
        super().__init__()
        self.dice = DiceLoss(batch=batch, smooth=smooth)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.dice(logits, target) + cross_entropy(logits, target).mean()

"""The losses: statistics -> index -> loss.

``logits`` [B, C, *spatial] (2D or 3D, C >= 2) and integer labels ``target`` [B, *spatial] or [B, 1, *spatial] come in,
a scalar goes out. Value and gradient are finite for logits up to 1e30 in size, and never for NaN or infinite ones;
arithmetic is float32 at least, also under autocast. Equation numbers are those of the re-implemented paper.
"""

from kitsnb.losses.losses import (
    DiceCrossEntropyLoss, DiceLoss, FocalLoss, FocalTverskyLoss, GeneralizedDiceLoss, LogCosh, TverskyLoss,
    WeightedCrossEntropyLoss, WeightedDiceLoss,
)  # fmt: skip
from kitsnb.losses.own import FunctionLoss
from kitsnb.losses.registry import LOSSES, build_loss, check_loss
from kitsnb.losses.statistics import (
    RegionStatistics, cross_entropy, dice_index, generalized_focal, log_cosh, region_statistics, tversky_index,
)  # fmt: skip

__all__ = [name for name, value in globals().items() if name == "LOSSES" or callable(value)]

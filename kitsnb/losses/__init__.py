"""The losses: statistics -> index -> loss.

``region_statistics`` counts true positives, false positives and false negatives per sample and class; ``dice_index``
and ``tversky_index`` are pure functions of these; every loss is a short ``nn.Module`` over an index or over the
cross-entropy of each voxel. Class weights and log-cosh are written once and composed: log-cosh focal Tversky is
``LogCosh(FocalTverskyLoss())``.

All losses take ``logits`` [B, C, *spatial] (2D or 3D, C >= 2) and an integer ``target`` [B, *spatial] or [B, 1,
*spatial] with values 0..C-1, and return a scalar unless ``reduction="none"`` (two take floating-point targets, too, and
say so). Value and gradient are finite for logits up to 1e30 in size (sums over voxels of larger ones may overflow), and
never for NaN or infinite ones; arithmetic is float32 at least, also under autocast. Equation numbers are those of the
re-implemented paper.
"""

from kitsnb.losses.composed import DiceCrossEntropyLoss, LogCosh
from kitsnb.losses.own import FunctionLoss
from kitsnb.losses.region import (
    DiceLoss,
    FocalTverskyLoss,
    GeneralizedDiceLoss,
    TverskyLoss,
    TwoTermDiceLoss,
    WeightedDiceLoss,
)
from kitsnb.losses.registry import LOSSES, build_loss
from kitsnb.losses.statistics import (
    RegionStatistics,
    cross_entropy,
    dice_index,
    log_cosh,
    region_statistics,
    trust_labels,
    tversky_index,
)
from kitsnb.losses.voxelwise import DistributionFocalLoss, FocalLoss, QualityFocalLoss, WeightedCrossEntropyLoss

__all__ = [
    "LOSSES",
    "DiceCrossEntropyLoss",
    "DiceLoss",
    "DistributionFocalLoss",
    "FocalLoss",
    "FocalTverskyLoss",
    "FunctionLoss",
    "GeneralizedDiceLoss",
    "LogCosh",
    "QualityFocalLoss",
    "RegionStatistics",
    "TverskyLoss",
    "TwoTermDiceLoss",
    "WeightedCrossEntropyLoss",
    "WeightedDiceLoss",
    "build_loss",
    "cross_entropy",
    "dice_index",
    "log_cosh",
    "region_statistics",
    "trust_labels",
    "tversky_index",
]

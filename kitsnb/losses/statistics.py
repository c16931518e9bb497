"""What losses are made of: checked input, region statistics, the indices over them, and what is written only once.

Softmax and sums are taken in float32 at least (float64 stays): an 80^3 patch has 512,000 voxels, more than float16 counts.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

#: Smallest base of a power below one, whose slope is infinite at zero (perfect overlap, certain voxel).
MIN_COMPLEMENT = 1e-6


class RegionStatistics(NamedTuple):
    """Soft counts of voxels per sample and class, each [B, C]."""

    tp: Tensor
    fp: Tensor
    fn: Tensor

    def pooled(self) -> "RegionStatistics":
        """Summed over the batch: [1, C]."""
        return RegionStatistics(*(count.sum(0, keepdim=True) for count in self))


def check_logits(logits: Tensor) -> None:
    """``ValueError`` or ``TypeError`` unless ``logits`` are floating point, [B, C, *spatial], 2D or 3D, C >= 2, not empty."""
    if logits.ndim not in (4, 5) or logits.shape[1] < 2 or not logits.numel():
        raise ValueError(f"logits must be [B, C, *spatial] in 2D or 3D with C >= 2 and not empty, got {tuple(logits.shape)}")
    if not logits.is_floating_point():
        raise TypeError(f"logits must be floating point, got {logits.dtype}")


def check_shapes(logits: Tensor, target: Tensor) -> Tensor:
    """``target`` as [B, *spatial] int64. Raises ``ValueError`` or ``TypeError`` that says what was given and expected."""
    check_logits(logits)
    if target.is_floating_point() or target.is_complex():
        raise TypeError(f"target must hold integer class labels, got {target.dtype}; use target.long()")
    target = without_channel(logits, target).long()
    low, high = (int(bound) for bound in target.aminmax())
    if low < 0 or high >= logits.shape[1]:
        raise ValueError(f"target must hold labels 0..{logits.shape[1] - 1}, got labels from {low} to {high}")
    return target


def without_channel(logits: Tensor, target: Tensor) -> Tensor:
    """``target`` [B, *spatial] of [B, *spatial] or [B, 1, *spatial]; ``ValueError`` where it does not fit ``logits``."""
    if target.ndim == logits.ndim and target.shape[1] == 1:
        target = target[:, 0]
    expected = (logits.shape[0], *logits.shape[2:])
    if tuple(target.shape) != expected:
        raise ValueError(f"target must be {expected} for logits {tuple(logits.shape)}, got {tuple(target.shape)}")
    return target


def wide(logits: Tensor) -> Tensor:
    """Half precision to float32; float32 and float64 stay."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def taint(logits: Tensor) -> Tensor:
    """0, or NaN where a logit is NaN or -inf: softmax turns -inf into a harmless zero, and a loss must not hide it."""
    return 0 * wide(logits.detach().amin())


class _VoxelSums(torch.autograd.Function):
    """Of softmax p of ``logits`` [B, C, N]: sums over voxels of p_c where the label is c, of p_c, and of the label: [B, C] each.

    Plain autograd would keep a one-hot target and more arrays of the logits' size; this keeps p, and fills the gradient in
    place: with g_c = dL/dvolume_c + [label is c] dL/dtp_c, it is p_c (g_c - sum_k p_k g_k).
    """

    @staticmethod
    def forward(ctx, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        p, target = logits.softmax(1), target.to(logits.dtype)  # comparing equal types is fastest
        tp, labelled, mask = p.new_empty(p.shape[:2]), p.new_empty(p.shape[:2]), torch.empty_like(p[:, 0])
        for c in range(p.shape[1]):
            labelled[:, c] = torch.eq(target, c, out=mask).sum(1)
            tp[:, c] = mask.mul_(p[:, c]).sum(1)
        ctx.save_for_backward(p, target)
        ctx.mark_non_differentiable(labelled)
        return tp, p.sum(2), labelled

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_tp: Tensor, d_volume: Tensor, _) -> tuple[Tensor, None]:
        p, target = ctx.saved_tensors
        gradient = torch.empty_like(p)
        for c in range(p.shape[1]):
            torch.eq(target, c, out=gradient[:, c])
        gradient.mul_(d_tp[:, :, None]).add_(d_volume[:, :, None]).mul_(p)
        return gradient.addcmul_(p, gradient.sum(1, keepdim=True), value=-1), None


def region_statistics(logits: Tensor, target: Tensor) -> RegionStatistics:
    """Soft true positives, false positives and false negatives of softmax(``logits``) against ``target``, each [B, C]."""
    target = check_shapes(logits, target)
    with torch.autocast(logits.device.type, enabled=False):
        tp, volume, labelled = _VoxelSums.apply(wide(logits).flatten(2), target.flatten(1))
        tp = tp + taint(logits)
        return RegionStatistics(tp, volume - tp, labelled - tp)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """-log p of each voxel's own class, [B, *spatial]."""
    target = check_shapes(logits, target)
    with torch.autocast(logits.device.type, enabled=False):
        return F.cross_entropy(wide(logits), target, reduction="none").add_(taint(logits))


def dice_index(statistics: RegionStatistics, smooth: float = 1e-5) -> Tensor:
    """Soft Dice coefficient (eq. 7) per sample and class, [B, C]: (2 tp + s) / (2 tp + fp + fn + s)."""
    tp, fp, fn = statistics
    return (2 * tp + smooth) / (2 * tp + fp + fn + smooth)


def tversky_index(statistics: RegionStatistics, alpha: float = 0.7, beta: float = 0.3, smooth: float = 1e-5) -> Tensor:
    """Tversky index (eq. 5) per sample and class, [B, C]: (tp + s) / (tp + alpha fn + beta fp + s).

    As in eq. 5 (Abraham and Khan), ``alpha`` weighs false negatives; eq. 3 (Salehi et al.) has it on false positives.
    """
    tp, fp, fn = statistics
    return (tp + smooth) / (tp + alpha * fn + beta * fp + smooth)


def log_cosh(x: Tensor) -> Tensor:
    """log(cosh(x)) (eq. 10), exact for small and free of overflow for large ``x``; its slope is tanh(x)."""
    x = x.abs()
    small = torch.log1p(2 * torch.sinh(x.clamp(max=1) / 2) ** 2)
    return torch.where(x < 1, small, x + F.softplus(-2 * x) - math.log(2))


def focal_power(base: Tensor, exponent: float) -> Tensor:
    """``base`` ** ``exponent`` with a finite slope: a base below ``MIN_COMPLEMENT`` is raised to it."""
    return base.clamp(min=MIN_COMPLEMENT) ** exponent


def class_weights(weights: Sequence[float], classes: int, like: Tensor) -> Tensor:
    """``weights`` as a tensor [C]; ``ValueError`` unless there is one per class, finite, none negative and not all zero."""
    if len(weights) != classes:
        raise ValueError(f"weights must hold one value a class ({classes}), got {len(weights)}: {list(weights)}")
    if min(weights) < 0 or not 0 < sum(weights) < math.inf:
        raise ValueError(f"weights must be finite, none negative and not all zero, got {list(weights)}")
    return torch.tensor(list(weights), dtype=like.dtype, device=like.device)


def not_negative(**settings: float) -> None:
    """``ValueError`` that names the first of ``settings`` which is negative, NaN or infinite."""
    for name, value in settings.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} must be a finite number and not negative, got {value}")

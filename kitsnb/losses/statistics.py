"""What losses are made of: checked input, region statistics, and the indices over them."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

#: Smallest base of a power below one, whose slope is infinite at zero (perfect overlap, certain voxel).
MIN_COMPLEMENT = 1e-6
#: A smaller denominator counts as zero: the slope of its fraction would overflow.
MIN_DENOMINATOR = 1e-30


class RegionStatistics(NamedTuple):
    """Soft counts of voxels per sample and class, each [B, C]; they can be differentiated once."""

    tp: Tensor
    fp: Tensor
    fn: Tensor

    def pooled(self) -> "RegionStatistics":
        """Sum over the batch: [1, C]."""
        return RegionStatistics(*(count.sum(0, keepdim=True) for count in self))


def check_target(logits: Tensor, target: Tensor) -> Tensor:
    """Return ``target`` as int64 [B, *spatial]; raise ``TypeError`` or ``ValueError`` if it or ``logits`` is none.

    Labels that are no class are found on the CPU alone: a GPU would have to wait.
    """
    if not (isinstance(logits, Tensor) and isinstance(target, Tensor)):
        given = f"{type(logits).__name__} and {type(target).__name__}"
        raise TypeError(f"logits and target must be torch tensors, got {given}; use torch.as_tensor")
    shape = tuple(logits.shape)
    if logits.ndim not in (4, 5) or shape[1] < 2 or not logits.numel() or not logits.is_floating_point():
        raise ValueError("logits must be floating point [B, C, *spatial], 2D or 3D, C >= 2, not empty, "
                         f"got {shape} of {logits.dtype}")
    expected = (shape[0], *shape[2:])
    if target.is_floating_point() or target.shape not in (expected, (shape[0], 1, *shape[2:])):
        raise ValueError(f"target must hold integer labels {expected} for logits {shape}, "
                         f"got {tuple(target.shape)} of {target.dtype}")
    target = target.reshape(expected).long()
    if target.device.type == "cpu":
        least, most = target.aminmax()
        if least < 0 or most >= shape[1]:
            raise ValueError(f"target must hold labels 0..{shape[1] - 1}, got {least} to {most}")
    return target


def to_float32(logits: Tensor) -> Tensor:
    """Convert half precision to float32, as float16 cannot count the voxels of a patch; float64 stays."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def propagate_nan(logits: Tensor) -> Tensor:
    """Give 0, or NaN where a logit is NaN or -inf, which softmax would turn into a harmless zero and so hide."""
    return 0 * to_float32(logits.detach().amin())


class _RegionSums(torch.autograd.Function):
    """Sum p = softmax(``logits`` [B, C, N]) where the label is c, p itself, and the label: [3, B, C].

    Plain autograd would keep more arrays of the logits' size. This keeps p, and fills the gradient in place: with
    g_c = dL/dvolume_c + [label is c] dL/dtp_c it is p_c (g_c - sum_k p_k g_k). ``target`` has the type of ``logits``.
    """

    @staticmethod
    def forward(ctx, logits: Tensor, target: Tensor) -> Tensor:
        p = logits.softmax(1)
        mask = torch.empty_like(p[:, 0])
        sums = p.new_empty(3, *p.shape[:2])
        sums[1] = p.sum(2)
        for c in range(p.shape[1]):
            sums[2, :, c] = torch.eq(target, c, out=mask).sum(1)
            sums[0, :, c] = mask.mul_(p[:, c]).sum(1)
        ctx.save_for_backward(p, target)
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx, d_sums: Tensor) -> tuple[Tensor, None]:
        p, target = ctx.saved_tensors
        d_tp, d_volume = d_sums[:2, :, :, None]
        gradient = torch.empty_like(p)
        for c in range(p.shape[1]):
            torch.eq(target, c, out=gradient[:, c])
        gradient.mul_(d_tp).add_(d_volume).mul_(p)
        return gradient.addcmul_(p, gradient.sum(1, keepdim=True), value=-1), None


def region_statistics(logits: Tensor, target: Tensor) -> RegionStatistics:
    """Count soft true and false positives and false negatives of softmax(``logits``) against ``target``."""
    target = check_target(logits, target)
    with torch.autocast(logits.device.type, enabled=False):
        x = to_float32(logits).flatten(2)
        tp, volume, labelled = _RegionSums.apply(x, target.flatten(1).to(x.dtype))
        tp = tp + propagate_nan(logits)
        return RegionStatistics(tp, volume - tp, labelled - tp)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Compute -log p of each voxel's own class, [B, *spatial]."""
    target = check_target(logits, target)
    with torch.autocast(logits.device.type, enabled=False):
        return F.cross_entropy(to_float32(logits), target, reduction="none").add_(propagate_nan(logits))


def fraction(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide, with 1 for 0/0: unsmoothed, a class that is absent from target and prediction is right."""
    empty = denominator < MIN_DENOMINATOR
    return torch.where(empty, 1, numerator / torch.where(empty, 1, denominator))


def dice_index(statistics: RegionStatistics, smooth: float = 1e-5) -> Tensor:
    """Compute soft Dice (eq. 7) per sample and class, [B, C]: (2 tp + s) / (2 tp + fp + fn + s), 1 for 0/0."""
    tp, fp, fn = statistics
    return fraction(2 * tp + smooth, 2 * tp + fp + fn + smooth)


def tversky_index(statistics: RegionStatistics, alpha: float = 0.7, beta: float = 0.3, smooth: float = 1e-5) -> Tensor:
    """Compute the Tversky index per sample and class, [B, C]: (tp + s) / (tp + alpha fn + beta fp + s), 1 for 0/0.

    ``alpha`` weighs false negatives, as in eq. 5 (Abraham and Khan); eq. 3 (Salehi et al.) has it on false positives.
    """
    tp, fp, fn = statistics
    return fraction(tp + smooth, tp + alpha * fn + beta * fp + smooth)


def log_cosh(x: Tensor) -> Tensor:
    """Compute log(cosh(x)) (eq. 10), exact for small ``x`` and without overflow for large; its slope is tanh(x)."""
    x = x.abs()
    small = torch.log1p(2 * torch.sinh(x.clamp(max=1) / 2) ** 2)
    return torch.where(x < 1, small, x + F.softplus(-2 * x) - math.log(2))


def focal_power(base: Tensor, exponent: float) -> Tensor:
    """Raise ``base`` to ``exponent`` with a finite slope: a base below ``MIN_COMPLEMENT`` is replaced by it."""
    return base.clamp(min=MIN_COMPLEMENT) ** exponent


def generalized_focal(log_p: tuple[Tensor, Tensor], y: Tensor, bins: tuple = (0, 1), beta: float = 2.0) -> Tensor:
    """Compute eq. 4 (Li et al. 2020): |y - (y_l p_l + y_r p_r)|^beta times -((y_r - y) log p_l + (y - y_l) log p_r).

    ``bins`` are y_l and y_r: 0 and 1 give the quality focal loss, neighbours and ``beta=0`` the distribution one.
    """
    log_left, log_right = log_p
    left, right = bins
    distance = (y - (left * log_left.exp() + right * log_right.exp())).abs()
    return -focal_power(distance, beta) * ((right - y) * log_left + (y - left) * log_right)

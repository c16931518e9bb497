"""What losses are made of: settings, checked input, region statistics, and the indices over them.

Softmax and sums are taken in float32 at least (float64 stays): an 80^3 patch has 512,000 voxels, more than float16
counts.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, is_dataclass
from typing import Literal, NamedTuple, get_args, get_origin

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Smallest base of a power below one, whose slope is infinite at zero (perfect overlap, certain voxel).
MIN_COMPLEMENT = 1e-6
#: A smaller denominator counts as zero: the slope of its fraction would overflow.
MIN_DENOMINATOR = 1e-30

#: The settings of a loss are fields, given by keyword; equality stays that of modules.
settings = dataclass(kw_only=True, eq=False, repr=False)
_trusted = ContextVar("labels are trusted", default=False)


@settings
class Loss(nn.Module):
    """``ValueError`` for a setting that is none of its ``Literal``, a negative or infinite number, bad weights."""

    def __post_init__(self):
        super().__init__()
        for field in fields(self):
            value, choices = getattr(self, field.name), get_args(field.type)
            if field.name == "weights":
                self.weights = check_weights(value)
            if get_origin(field.type) is Literal and value not in choices:
                raise ValueError(f"{field.name} must be one of {choices}, got {value!r}")
            if field.type is float and not 0 <= value < math.inf:
                raise ValueError(f"{field.name} must be a finite number and not negative, got {value}")

    def extra_repr(self) -> str:
        names = [name for cls in type(self).__mro__ if is_dataclass(cls) for name in cls.__annotations__]
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)


class RegionStatistics(NamedTuple):
    """Soft counts of voxels per sample and class, each [B, C]."""

    tp: Tensor
    fp: Tensor
    fn: Tensor

    def pooled(self) -> "RegionStatistics":
        """Summed over the batch: [1, C]."""
        return RegionStatistics(*(count.sum(0, keepdim=True) for count in self))


@contextmanager
def trust_labels() -> Iterator[None]:
    """Inside, losses trust that targets lie in their range, since a GPU would have to wait for a look at them."""
    token = _trusted.set(True)
    try:
        yield
    finally:
        _trusted.reset(token)


def check_range(values: Tensor, low: float, high: float, what: str) -> None:
    """``ValueError`` unless all ``values`` lie in [``low``, ``high``] (NaN does not), or labels are trusted."""
    if _trusted.get():
        return
    least, most = (bound.item() for bound in values.aminmax())
    if not (least >= low and most <= high):
        raise ValueError(f"{what}, got {least} to {most}")


def check_logits(logits: Tensor) -> None:
    """``ValueError`` or ``TypeError`` unless ``logits`` are as every loss takes them, and not empty."""
    if logits.ndim not in (4, 5) or logits.shape[1] < 2 or not logits.numel():
        raise ValueError(f"logits must be [B, C, *spatial], 2D or 3D, C >= 2, not empty, got {tuple(logits.shape)}")
    if not logits.is_floating_point():
        raise TypeError(f"logits must be floating point, got {logits.dtype}")


def check_shapes(logits: Tensor, target: Tensor) -> Tensor:
    """``target`` as [B, *spatial] int64. ``ValueError`` or ``TypeError`` says what was given and expected."""
    check_logits(logits)
    if target.is_floating_point() or target.is_complex():
        raise TypeError(f"target must hold integer class labels, got {target.dtype}; use target.long()")
    target = without_channel(logits, target).long()
    check_range(target, 0, logits.shape[1] - 1, f"target must hold labels 0..{logits.shape[1] - 1}")
    return target


def without_channel(logits: Tensor, target: Tensor) -> Tensor:
    """``target`` as [B, *spatial], also of [B, 1, *spatial]; ``ValueError`` where it does not fit ``logits``."""
    if target.ndim == logits.ndim and target.shape[1] == 1:
        target = target[:, 0]
    expected = (logits.shape[0], *logits.shape[2:])
    if tuple(target.shape) != expected:
        raise ValueError(f"target must be {expected} for logits {tuple(logits.shape)}, got {tuple(target.shape)}")
    return target


def one_hot(target: Tensor, classes: int) -> Tensor:
    """Boolean [B, C, ...] of labels [B, ...]; torch's own looks at the labels, for which a GPU would have to wait."""
    return torch.stack([target == c for c in range(classes)], 1)


def wide(logits: Tensor) -> Tensor:
    """Half precision to float32; float32 and float64 stay."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def taint(logits: Tensor) -> Tensor:
    """0, or NaN where a logit is NaN or -inf: softmax turns -inf into a harmless zero, and a loss must not hide it."""
    return 0 * wide(logits.detach().amin())


class _VoxelSums(torch.autograd.Function):
    """Of softmax p of ``logits`` [B, C, N], [B, C] each: sums over voxels of p_c where the label is c, p_c, the label.

    Plain autograd would keep a one-hot target and more arrays of the logits' size; this keeps p, which is an output so
    that it can be differentiated again, and fills the gradient in place: with g_c = dL/dvolume_c + [label is c]
    dL/dtp_c, it is p_c (g_c - sum_k p_k g_k). ``target`` has the type of ``logits``, since comparing equal types is
    fastest.
    """

    @staticmethod
    def forward(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        p = logits.softmax(1)
        tp, labelled, mask = p.new_empty(p.shape[:2]), p.new_empty(p.shape[:2]), torch.empty_like(p[:, 0])
        for c in range(p.shape[1]):
            labelled[:, c] = torch.eq(target, c, out=mask).sum(1)
            tp[:, c] = mask.mul_(p[:, c]).sum(1)
        return tp, p.sum(2), labelled, p

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.save_for_backward(output[3], inputs[1])
        ctx.mark_non_differentiable(output[2])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, d_tp: Tensor | None, d_volume: Tensor | None, _, d_p: Tensor | None) -> tuple[Tensor, None]:
        p, target = ctx.saved_tensors
        d_tp, d_volume = (p.new_zeros(*p.shape[:2], 1) if d is None else d[:, :, None] for d in (d_tp, d_volume))
        classes = range(p.shape[1])
        if torch.is_grad_enabled() or d_p is not None:  # the gradient itself is differentiated: nothing in place
            g = one_hot(target, len(classes)) * d_tp + d_volume + (0 if d_p is None else d_p)
            return p * (g - (p * g).sum(1, keepdim=True)), None
        gradient = torch.empty_like(p)
        for c in classes:
            torch.eq(target, c, out=gradient[:, c])
        gradient.mul_(d_tp).add_(d_volume).mul_(p)
        return gradient.addcmul_(p, gradient.sum(1, keepdim=True), value=-1), None


def region_statistics(logits: Tensor, target: Tensor) -> RegionStatistics:
    """Soft true and false positives and false negatives of softmax(``logits``) against ``target``, each [B, C]."""
    target = check_shapes(logits, target)
    with torch.autocast(logits.device.type, enabled=False):
        x = wide(logits).flatten(2)
        tp, volume, labelled, _ = _VoxelSums.apply(x, target.flatten(1).to(x.dtype))
        tp = tp + taint(logits)
        return RegionStatistics(tp, volume - tp, labelled - tp)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """-log p of each voxel's own class, [B, *spatial]."""
    target = check_shapes(logits, target)
    with torch.autocast(logits.device.type, enabled=False):
        return F.cross_entropy(wide(logits), target, reduction="none").add_(taint(logits))


def fraction(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Their quotient, and 1 for 0/0: unsmoothed, a class that is absent from target and prediction is right."""
    empty = denominator < MIN_DENOMINATOR
    return torch.where(empty, 1, numerator / torch.where(empty, 1, denominator))


def dice_index(statistics: RegionStatistics, smooth: float = 1e-5) -> Tensor:
    """Soft Dice coefficient (eq. 7) per sample and class, [B, C]: (2 tp + s) / (2 tp + fp + fn + s), 1 for 0/0."""
    tp, fp, fn = statistics
    return fraction(2 * tp + smooth, 2 * tp + fp + fn + smooth)


def tversky_index(statistics: RegionStatistics, alpha: float = 0.7, beta: float = 0.3, smooth: float = 1e-5) -> Tensor:
    """Tversky index (eq. 5) per sample and class, [B, C]: (tp + s) / (tp + alpha fn + beta fp + s), 1 for 0/0.

    As in eq. 5 (Abraham and Khan), ``alpha`` weighs false negatives; eq. 3 (Salehi et al.) has it on false positives.
    """
    tp, fp, fn = statistics
    return fraction(tp + smooth, tp + alpha * fn + beta * fp + smooth)


def log_cosh(x: Tensor) -> Tensor:
    """log(cosh(x)) (eq. 10), exact for small and free of overflow for large ``x``; its slope is tanh(x)."""
    x = x.abs()
    small = torch.log1p(2 * torch.sinh(x.clamp(max=1) / 2) ** 2)
    return torch.where(x < 1, small, x + F.softplus(-2 * x) - math.log(2))


def focal_power(base: Tensor, exponent: float) -> Tensor:
    """``base`` ** ``exponent`` with a finite slope: a base below ``MIN_COMPLEMENT`` is raised to it."""
    return base.clamp(min=MIN_COMPLEMENT) ** exponent


def check_weights(weights: Sequence[float]) -> tuple[float, ...]:
    """``weights`` as a tuple; ``ValueError`` unless they are finite, none negative and not all zero."""
    if not weights or min(weights) < 0 or not 0 < sum(weights) < math.inf:
        raise ValueError(f"weights must be finite, none negative and not all zero, got {list(weights)}")
    return tuple(weights)


def class_weights(weights: Sequence[float], like: Tensor, classes: int) -> Tensor:
    """``weights`` as a tensor [C] like ``like``; ``ValueError`` unless there is one a class."""
    if len(weights) != classes:
        raise ValueError(f"weights must hold one value a class ({classes}), got {len(weights)}: {list(weights)}")
    return torch.tensor(weights, dtype=like.dtype, device=like.device)

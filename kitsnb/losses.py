"""The losses: statistics -> index -> loss.

``region_statistics`` counts true positives, false positives and false negatives per sample and class; ``dice_index`` and
``tversky_index`` are pure functions of these; every loss is a short ``nn.Module`` over an index. Class weights and log-cosh
are written once and composed: log-cosh focal Tversky is ``LogCosh(FocalTverskyLoss())``.

All losses take ``logits`` [B, C, *spatial] (2D or 3D, C >= 2) and an integer ``target`` [B, *spatial] or [B, 1, *spatial]
with values 0..C-1, and return a scalar unless ``reduction="none"``. Softmax and sums are taken in float32 at least: an 80^3
patch has 512,000 voxels, more than float16 can count. Equation numbers are those of the re-implemented paper.
"""

import difflib
import importlib.util
import inspect
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kitsnb.paths import resolve

#: Smallest value of 1 - TI under a power below one, whose slope is infinite at zero (perfect overlap).
MIN_COMPLEMENT = 1e-6


class RegionStatistics(NamedTuple):
    """Soft counts of voxels per sample and class, each [B, C]."""

    tp: Tensor
    fp: Tensor
    fn: Tensor

    def pooled(self) -> "RegionStatistics":
        """Summed over the batch: [1, C]."""
        return RegionStatistics(*(count.sum(0, keepdim=True) for count in self))


def check_shapes(logits: Tensor, target: Tensor) -> Tensor:
    """``target`` as [B, *spatial] int64. Raises ``ValueError`` or ``TypeError`` that says what was given and expected."""
    if logits.ndim not in (4, 5) or logits.shape[1] < 2:
        raise ValueError(f"logits must be [B, C, *spatial] in 2D or 3D with C >= 2, got {tuple(logits.shape)}")
    if target.is_floating_point() or target.is_complex():
        raise TypeError(f"target must hold integer class labels, got {target.dtype}; use target.long()")
    if target.ndim == logits.ndim and target.shape[1] == 1:
        target = target[:, 0]
    expected = (logits.shape[0], *logits.shape[2:])
    if tuple(target.shape) != expected:
        raise ValueError(f"target must be {expected} for logits {tuple(logits.shape)}, got {tuple(target.shape)}")
    target = target.long()
    low, high = int(target.min()), int(target.max())
    if low < 0 or high >= logits.shape[1]:
        raise ValueError(f"target must hold labels 0..{logits.shape[1] - 1}, got labels from {low} to {high}")
    return target


def wide(logits: Tensor) -> Tensor:
    """Half precision to float32; float32 and float64 stay."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def region_statistics(logits: Tensor, target: Tensor) -> RegionStatistics:
    """Soft true positives, false positives and false negatives of softmax(``logits``) against ``target``, each [B, C]."""
    target = check_shapes(logits, target)
    with torch.autocast(logits.device.type, enabled=False):
        probability = wide(logits).softmax(1).flatten(2)
        truth = torch.zeros_like(probability).scatter_(1, target.flatten(1).unsqueeze(1), 1)
        tp = (probability * truth).sum(2)
        return RegionStatistics(tp, probability.sum(2) - tp, truth.sum(2) - tp)


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


def class_weights(weights: Sequence[float], classes: int, like: Tensor) -> Tensor:
    """``weights`` as a tensor [C]; ``ValueError`` unless there is one per class, none negative and not all zero."""
    if len(weights) != classes:
        raise ValueError(f"weights must hold one value a class ({classes}), got {len(weights)}: {list(weights)}")
    if min(weights) < 0 or not 0 < sum(weights) < math.inf:
        raise ValueError(f"weights must be finite, none negative and not all zero, got {list(weights)}")
    return torch.tensor(list(weights), dtype=like.dtype, device=like.device)


class DiceLoss(nn.Module):
    """1 - soft Dice, mean over samples and classes (eq. 8 is its two-class case).

    ``batch=True`` sums the counts over the batch first; ``reduction="none"`` gives [B, C] (or [1, C]). With the default
    ``smooth`` a class that is absent from both target and prediction has Dice 1, and one that is absent from the target
    but predicted has Dice about 0 with hardly a gradient; a larger ``smooth`` or ``batch=True`` softens that.
    """

    def __init__(self, *, include_background: bool = True, batch: bool = False, smooth: float = 1e-5, reduction="mean"):
        super().__init__()
        if reduction not in ("mean", "none"):
            raise ValueError(f'reduction must be "mean" or "none", got {reduction!r}')
        self.include_background, self.batch, self.smooth, self.reduction = include_background, batch, smooth, reduction

    def extra_repr(self) -> str:
        return f"include_background={self.include_background}, batch={self.batch}, smooth={self.smooth}"

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        statistics = region_statistics(logits, target)
        loss = 1 - dice_index(statistics.pooled() if self.batch else statistics, self.smooth)
        loss = loss if self.include_background else loss[:, 1:]
        return loss.mean() if self.reduction == "mean" else loss


class WeightedDiceLoss(nn.Module):
    """1 - sum_c(w_c DSC_c) / sum_c(w_c) (eq. 13), mean over samples; ``weights`` one a class, in label order."""

    def __init__(self, *, weights: Sequence[float], batch: bool = False, smooth: float = 1e-5):
        super().__init__()
        class_weights(weights, len(weights), torch.empty(0))
        self.weights, self.dice = tuple(weights), DiceLoss(batch=batch, smooth=smooth, reduction="none")

    def extra_repr(self) -> str:
        return f"weights={self.weights}"

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss = self.dice(logits, target)
        weights = class_weights(self.weights, loss.shape[1], loss)
        return (loss @ weights / weights.sum()).mean()


class TverskyLoss(nn.Module):
    """1 - Tversky index (eqs. 3 and 5), mean over samples and classes; ``alpha`` on false negatives, ``beta`` on false positives."""

    def __init__(self, *, alpha: float = 0.7, beta: float = 0.3, batch: bool = False, smooth: float = 1e-5):
        super().__init__()
        self.alpha, self.beta, self.batch, self.smooth = alpha, beta, batch, smooth

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, beta={self.beta}, batch={self.batch}, smooth={self.smooth}"

    def complement(self, logits: Tensor, target: Tensor) -> Tensor:
        """1 - TI per sample and class."""
        statistics = region_statistics(logits, target)
        return 1 - tversky_index(statistics.pooled() if self.batch else statistics, self.alpha, self.beta, self.smooth)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.complement(logits, target).mean()


class FocalTverskyLoss(TverskyLoss):
    """Focal Tversky loss (eq. 6): over classes, (1 - TI)^exponent, where ``exponent`` is the paper's 1/gamma.

    ``classes="sum"`` as in eq. 6, or ``"mean"``; mean over samples. ``focal_on="index"`` is the paper's second reading,
    1 - TI^exponent. Below ``MIN_COMPLEMENT`` the base is clamped, since a power below one has no finite slope at zero.
    """

    def __init__(self, *, exponent: float = 0.75, classes: str = "sum", focal_on: str = "complement", **tversky):
        super().__init__(**tversky)
        if exponent <= 0:
            raise ValueError(f"exponent must be positive, got {exponent}")
        if classes not in ("sum", "mean") or focal_on not in ("complement", "index"):
            raise ValueError(f'classes is "sum" or "mean", focal_on "complement" or "index"; got {classes!r}, {focal_on!r}')
        self.exponent, self.classes, self.focal_on = exponent, classes, focal_on

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, exponent={self.exponent}, classes={self.classes!r}, focal_on={self.focal_on!r}"

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        complement = self.complement(logits, target)
        if self.focal_on == "complement":
            loss = complement.clamp(min=MIN_COMPLEMENT) ** self.exponent
        else:
            loss = 1 - (1 - complement).clamp(min=MIN_COMPLEMENT) ** self.exponent
        return (loss.sum(1) if self.classes == "sum" else loss.mean(1)).mean()


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
        target = check_shapes(logits, target)
        with torch.autocast(logits.device.type, enabled=False):
            return self.dice(logits, target) + F.cross_entropy(wide(logits), target)


class FunctionLoss(nn.Module):
    """A function of (logits, target, **parameters) as a loss module: how a reader's own loss enters the experiment."""

    def __init__(self, function: Callable[..., Tensor], **parameters):
        super().__init__()
        self.function, self.parameters_given = function, parameters

    def extra_repr(self) -> str:
        return ", ".join([self.function.__name__, *(f"{k}={v}" for k, v in self.parameters_given.items())])

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        target = check_shapes(logits, target)
        with torch.autocast(logits.device.type, enabled=False):
            loss = self.function(wide(logits), target, **self.parameters_given)
        if not isinstance(loss, Tensor) or loss.ndim != 0:
            given = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise TypeError(f"the loss {self.function.__name__} must return a scalar tensor, got {given}; use .mean()")
        return loss


def _log_cosh_of(loss: type[nn.Module]) -> Callable[..., nn.Module]:
    def build(**parameters) -> nn.Module:
        return LogCosh(loss(**parameters))

    build.__wrapped__ = loss  # build_loss reads the parameters' names from the wrapped loss
    return build


#: Names that profiles and notebooks use.
LOSSES: dict[str, Callable[..., nn.Module]] = {
    "dice": DiceLoss,
    "weighted_dice": WeightedDiceLoss,
    "tversky": TverskyLoss,
    "focal_tversky": FocalTverskyLoss,
    "log_cosh_dice": _log_cosh_of(DiceLoss),
    "log_cosh_weighted_dice": _log_cosh_of(WeightedDiceLoss),
    "log_cosh_focal_tversky": _log_cosh_of(FocalTverskyLoss),
    "dice_cross_entropy": DiceCrossEntropyLoss,
}


def build_loss(name: str, **parameters) -> nn.Module:
    """The loss called ``name`` in ``LOSSES``, or the function of ``"file.py:function"`` (path from the repository's root).

    Raises ``ValueError`` for an unknown name or parameter, naming the nearest valid one, and for a missing file or function.
    """
    if ":" in name:
        function = load_function(name)
        _check_parameters(name, parameters, _parameter_names(function)[2:])
        return FunctionLoss(function, **parameters)
    if name not in LOSSES:
        raise ValueError(f"unknown loss {name!r}{_nearest(name, LOSSES)}")
    _check_parameters(name, parameters, _parameter_names(inspect.unwrap(LOSSES[name])))
    try:
        return LOSSES[name](**parameters)
    except TypeError as error:
        raise ValueError(f"loss {name!r}: {error}") from error


def load_function(name: str) -> Callable[..., Tensor]:
    """The function that ``"file.py:function"`` names."""
    file, _, function = name.rpartition(":")
    path = resolve(file)
    if not path.is_file():
        raise ValueError(f"loss {name!r}: there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not callable(getattr(module, function, None)):
        functions = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise ValueError(f"loss {name!r}: {path.name} has no function {function!r}{_nearest(function, functions)}")
    return getattr(module, function)


def _parameter_names(loss: Callable) -> list[str]:
    """Names of the arguments of a function, or of a loss class and the classes it hands ``**arguments`` on to."""
    if not inspect.isclass(loss):
        return list(inspect.signature(loss).parameters)
    names = [key for cls in loss.__mro__ if issubclass(cls, nn.Module) and cls is not nn.Module
             for key, value in inspect.signature(cls.__init__).parameters.items() if value.kind is value.KEYWORD_ONLY]
    return list(dict.fromkeys(names))


def _check_parameters(name: str, given: dict, valid: list[str]) -> None:
    for key in given:
        if key not in valid:
            raise ValueError(f"loss {name!r} has no parameter {key!r}{_nearest(key, valid)}")


def _nearest(name: str, valid) -> str:
    nearest = difflib.get_close_matches(name, list(valid), 1, 0.4)
    return f"; did you mean {nearest[0]!r}?" if nearest else f"; known: {', '.join(valid) or 'none'}"

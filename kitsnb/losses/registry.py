"""Losses by name, for profiles and notebooks, and a reader's own loss from a file."""

import importlib.util
import inspect
from collections.abc import Callable

import torch
from torch import Tensor, nn

from kitsnb.files import resolve
from kitsnb.losses.composed import DiceCrossEntropyLoss, LogCosh
from kitsnb.losses.region import (
    DiceLoss,
    FocalTverskyLoss,
    GeneralizedDiceLoss,
    TverskyLoss,
    TwoTermDiceLoss,
    WeightedDiceLoss,
)
from kitsnb.losses.statistics import check_shapes, wide
from kitsnb.losses.voxelwise import DistributionFocalLoss, FocalLoss, QualityFocalLoss, WeightedCrossEntropyLoss
from kitsnb.messages import nearest

#: Before the name of a loss: its log-cosh.
LOG_COSH = "log_cosh_"
#: Names that profiles and notebooks use; each has its ``log_cosh_`` form, too.
LOSSES: dict[str, Callable[..., nn.Module]] = {
    "dice": DiceLoss,
    "weighted_dice": WeightedDiceLoss,
    "generalized_dice": GeneralizedDiceLoss,
    "two_term_dice": TwoTermDiceLoss,
    "tversky": TverskyLoss,
    "focal_tversky": FocalTverskyLoss,
    "weighted_cross_entropy": WeightedCrossEntropyLoss,
    "dice_cross_entropy": DiceCrossEntropyLoss,
    "focal": FocalLoss,
    "quality_focal": QualityFocalLoss,
    "distribution_focal": DistributionFocalLoss,
}


def _log_cosh_of(loss: type[nn.Module]) -> Callable[..., nn.Module]:
    def build(**parameters) -> nn.Module:
        return LogCosh(loss(**parameters))

    build.__wrapped__ = loss  # build_loss reads the parameters' names from the wrapped loss
    return build


LOSSES |= {LOG_COSH + name: _log_cosh_of(loss) for name, loss in LOSSES.items()}


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


def build_loss(name: str, **parameters) -> nn.Module:
    """The loss called ``name`` in ``LOSSES``, or the function of ``"file.py:function"`` (path from the repository's root).

    Raises ``ValueError`` for an unknown name or parameter, naming the nearest valid one, and for a missing file or function.
    """
    if ":" in name:
        function = load_function(name)
        _check_parameters(name, parameters, list(inspect.signature(function).parameters)[2:])
        return FunctionLoss(function, **parameters)
    if name not in LOSSES:
        raise ValueError(f"unknown loss {name!r}; {nearest(name, LOSSES)}")
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
        raise ValueError(f"loss {name!r}: {path.name} has no function {function!r}; {nearest(function, functions)}")
    return getattr(module, function)


def _parameter_names(loss: type[nn.Module]) -> list[str]:
    """Names of the arguments of a loss class and of the classes that it hands ``**arguments`` on to."""
    names = [key for cls in loss.__mro__ if issubclass(cls, nn.Module) and cls is not nn.Module
             for key, value in inspect.signature(cls.__init__).parameters.items() if value.kind is value.KEYWORD_ONLY]
    return list(dict.fromkeys(names))


def _check_parameters(name: str, given: dict, valid: list[str]) -> None:
    for key in given:
        if key not in valid:
            raise ValueError(f"loss {name!r} has no parameter {key!r}; {nearest(key, valid)}")

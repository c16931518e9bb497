"""Losses by name, for profiles and notebooks."""

import inspect
from collections.abc import Callable
from functools import partial

from torch import nn

from kitsnb.losses import composed, region, voxelwise
from kitsnb.losses.own import FunctionLoss, load
from kitsnb.messages import nearest

#: Before the name of a loss: its log-cosh.
LOG_COSH = "log_cosh_"
#: Names that profiles and notebooks use; each has its ``log_cosh_`` form, too.
LOSSES: dict[str, Callable[..., nn.Module]] = {
    "dice": region.DiceLoss,
    "weighted_dice": region.WeightedDiceLoss,
    "generalized_dice": region.GeneralizedDiceLoss,
    "two_term_dice": region.TwoTermDiceLoss,
    "tversky": region.TverskyLoss,
    "focal_tversky": region.FocalTverskyLoss,
    "weighted_cross_entropy": voxelwise.WeightedCrossEntropyLoss,
    "dice_cross_entropy": composed.DiceCrossEntropyLoss,
    "focal": voxelwise.FocalLoss,
    "quality_focal": voxelwise.QualityFocalLoss,
    "distribution_focal": voxelwise.DistributionFocalLoss,
}


def _log_cosh_of(loss: type[nn.Module]) -> Callable[..., nn.Module]:
    def build(**parameters) -> nn.Module:
        return composed.LogCosh(loss(**parameters))

    build.__wrapped__ = loss  # its signature is that of the loss
    return build


LOSSES |= {LOG_COSH + name: _log_cosh_of(loss) for name, loss in LOSSES.items()}


def build_loss(name: str, **parameters) -> nn.Module:
    """The loss called ``name`` in ``LOSSES``, or ``"file.py:name"`` of a reader's file, from the repository's root.

    In a file, ``name`` is a function of (logits, target, **parameters), a module or ``partial`` that is called like
    one, or a class that ``parameters`` make one of. Raises ``ValueError`` for an unknown name or parameter, naming the
    nearest valid one, for a missing parameter, and for a file that is missing or fails.
    """
    if ":" not in name:
        if name not in LOSSES:
            raise ValueError(f"unknown loss {name!r}; {nearest(name, LOSSES)}")
        return _call(name, LOSSES[name], parameters)
    found = load(name)
    if isinstance(found.func if isinstance(found, partial) else found, type):
        return FunctionLoss(_call(name, found, parameters))
    _check(name, found.forward if isinstance(found, nn.Module) else found, parameters, before=2)
    return FunctionLoss(found, **parameters)


def _call(name: str, loss: Callable[..., nn.Module], parameters: dict) -> nn.Module:
    _check(name, loss, parameters)
    try:
        return loss(**parameters)
    except TypeError as error:
        raise ValueError(f"loss {name!r}: {error}") from error


def _check(name: str, function: Callable, parameters: dict, before: int = 0) -> None:
    """``ValueError`` unless ``function`` takes ``parameters`` after ``before`` arguments."""
    signature = inspect.signature(function)
    valid = list(signature.parameters.values())[before:]
    for key in parameters:
        if key not in [value.name for value in valid] and not any(value.kind is value.VAR_KEYWORD for value in valid):
            raise ValueError(f"loss {name!r} has no parameter {key!r}; {nearest(key, [value.name for value in valid])}")
    try:
        signature.bind(*[None] * before, **parameters)
    except TypeError as error:
        raise ValueError(f"loss {name!r}: {error}") from error

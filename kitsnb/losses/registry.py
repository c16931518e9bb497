"""Losses by name, for profiles and notebooks: those of the library and a reader's own, and what each must hold to."""

import inspect
import math
import pickle
from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor, nn

from kitsnb.losses import losses
from kitsnb.losses.own import FunctionLoss, load
from kitsnb.messages import nearest

#: Before the name of a loss: its log-cosh (eqs. 9 to 12).
LOG_COSH = "log_cosh_"
#: Names that profiles and notebooks use; each has its ``log_cosh_`` form, too.
LOSSES: dict[str, Callable[..., nn.Module]] = {
    "dice": losses.DiceLoss,  # eqs. 7 and 8
    "weighted_dice": losses.WeightedDiceLoss,  # 13
    "generalized_dice": losses.GeneralizedDiceLoss,  # 1
    "tversky": losses.TverskyLoss,  # 3 and 5
    "focal_tversky": losses.FocalTverskyLoss,  # 6
    "weighted_cross_entropy": losses.WeightedCrossEntropyLoss,  # 2
    "dice_cross_entropy": losses.DiceCrossEntropyLoss,
    "focal": losses.FocalLoss,
}


def _log_cosh_of(loss: type[nn.Module]) -> Callable[..., nn.Module]:
    @wraps(loss)
    def build(**parameters) -> nn.Module:
        return losses.LogCosh(loss(**parameters))

    return build


LOSSES |= {LOG_COSH + name: _log_cosh_of(loss) for name, loss in LOSSES.items()}


def build_loss(name: str, defaults: dict | None = None, /, **parameters) -> nn.Module:
    """Build the loss called ``name`` in ``LOSSES``, or a reader's, ``"file.py:name"`` from the repository's root.

    A reader's is a function of (logits, target, **parameters), a module that is called like one, or a class that
    ``parameters`` make one of. Of ``defaults``, a loss of the library takes those that it has. Raises
    ``ValueError`` for an unknown name, file or parameter, a missing one, and a file that fails.
    """
    if ":" in name:
        return _build_own(name, parameters)
    if name not in LOSSES:
        raise ValueError(f"unknown loss {name!r}; {nearest(name, LOSSES)}")
    loss = LOSSES[name]
    taken = inspect.signature(loss).parameters
    for key, value in (defaults or {}).items():
        if key in taken:
            parameters.setdefault(key, value)
    _check_parameters(name, loss, parameters)
    for key, value in parameters.items():
        if key != "weights" and not (isinstance(value, (int, float)) and 0 <= value < math.inf):
            raise ValueError(f"loss {name!r}: {key} must be finite and not negative, got {value}")
    return loss(**parameters)


def _build_own(name: str, parameters: dict) -> FunctionLoss:
    found = load(name)
    if isinstance(found, type):
        _check_parameters(name, found, parameters)
        return FunctionLoss(found(**parameters))
    called = found.forward if isinstance(found, nn.Module) else found
    _check_parameters(name, called, parameters, "logits", "target")
    return FunctionLoss(found, **parameters)


def _check_parameters(name: str, function: Callable, parameters: dict, *arguments: str) -> None:
    """Raise ``ValueError`` unless ``function`` takes ``arguments`` and ``parameters``."""
    signature = inspect.signature(function)
    try:
        signature.bind(*arguments, **parameters)
    except TypeError as error:
        raise ValueError(f"loss {name!r}: {error}; it takes {signature}") from error


def plain_state(loss: nn.Module) -> dict[str, bytes]:
    """Read, by name, what a loss holds beside parameters and buffers, which is lost when a training is resumed."""
    standard = vars(nn.Module())
    found = {}
    for place, module in loss.named_modules():
        function = vars(module).get("function")
        values = {**vars(module), **getattr(function, "__dict__", {})}
        for called in (function, getattr(function, "func", None), type(module).forward):
            if inspect.isfunction(called):
                around = inspect.getclosurevars(called)
                values |= around.nonlocals | around.globals | {f"a default of {called.__name__}": called.__defaults__}
        for name, value in values.items():
            if name in standard:
                continue
            try:
                state = pickle.dumps(value)
            except Exception:  # a lambda, a lock
                state = repr(value).encode()
            found[f"{place}.{name}".strip(".")] = state
    return found


def check_loss(loss: nn.Module, name: str) -> None:
    """Call ``loss`` on a small patch of three classes and on one of background; raise ``ValueError`` if unusable.

    It must return a finite scalar with a finite gradient, own what it learns, and keep what changes in buffers, which
    are as before afterwards.
    """
    kept = {key: value.clone() for key, value in loss.state_dict().items()}
    before = plain_state(loss)
    with torch.random.fork_rng(devices=[]):
        for where, classes in (("of all classes", 3), ("of background alone", 1)):
            generator = torch.Generator().manual_seed(0)
            logits = torch.randn(1, 3, 16, 16, 16, generator=generator).requires_grad_()
            problem = _problem(loss, logits, torch.randint(classes, (1, 16, 16, 16), generator=generator))
            if problem:
                raise ValueError(f"the loss {name} {problem}, on a patch {where}, logits {tuple(logits.shape)}")
    for key, value in plain_state(loss).items():
        if value != before.get(key):
            raise ValueError(f"the loss {name} changes {key!r} when it is called, which a resumed "
                             "training would not know: keep it as a tensor by register_buffer, so that it is saved")
    loss.load_state_dict(kept)


def _problem(loss: nn.Module, logits: Tensor, target: Tensor) -> str:
    """Say what is wrong with value or gradient; "" if nothing."""
    try:
        value = loss(logits, target)
    except Exception as error:
        return f"fails with {type(error).__name__} ({error})"
    if not isinstance(value, Tensor) or value.ndim:
        return "returns no scalar tensor, as .mean() gives"
    nodes = [value.grad_fn] if value.grad_fn else []
    for node in nodes:  # grows on the way, back to the tensors that the value can be differentiated by
        nodes += [one for one, _ in node.next_functions if one and one not in nodes]
    learned = {id(node.variable) for node in nodes if hasattr(node, "variable")}
    if id(logits) not in learned:
        return "has no gradient (it does not depend on the logits, or was detached)"
    if not learned <= {id(logits), *map(id, loss.parameters())}:
        return "learns a tensor that it does not own: make it an nn.Parameter of an nn.Module"
    (gradient,) = torch.autograd.grad(value, logits)
    return "" if value.isfinite() and gradient.isfinite().all() else "or its gradient is not finite"

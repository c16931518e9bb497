"""Losses by name, for profiles and notebooks: those of the library and a reader's own, and what each must hold to."""

import inspect
import pickle
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from kitsnb.files import resolve
from kitsnb.losses import losses
from kitsnb.losses.own import files_of, import_file
from kitsnb.losses.statistics import check_target, to_float32
from kitsnb.messages import nearest

#: Before the name of a loss: its log-cosh (eqs. 9 to 12).
LOG_COSH = "log_cosh_"
#: Names that profiles and notebooks use; each has its ``log_cosh_`` form, too.
LOSSES: dict[str, Callable[..., nn.Module]] = {
    "dice": losses.DiceLoss,  # eqs. 7 and 8
    "weighted_dice": losses.WeightedDiceLoss,  # 13
    "generalized_dice": losses.GeneralizedDiceLoss,  # 1
    "two_term_dice": losses.TwoTermDiceLoss,  # 8, literally
    "tversky": losses.TverskyLoss,  # 3 and 5
    "focal_tversky": losses.FocalTverskyLoss,  # 6
    "weighted_cross_entropy": losses.WeightedCrossEntropyLoss,  # 2
    "dice_cross_entropy": losses.DiceCrossEntropyLoss,
    "focal": losses.FocalLoss,
}


def _log_cosh_of(loss: type[nn.Module]) -> Callable[..., nn.Module]:
    def build(**parameters) -> nn.Module:
        return losses.LogCosh(loss(**parameters))

    build.__wrapped__ = loss  # its signature is that of the loss
    return build


LOSSES |= {LOG_COSH + name: _log_cosh_of(loss) for name, loss in LOSSES.items()}


class FunctionLoss(nn.Module):
    """A reader's own callable of (logits, target, **parameters) as a loss; what it holds to be learned is the loss's."""

    def __init__(self, function: Callable[..., Tensor], /, **parameters):
        super().__init__()
        self.function = function
        self.given = parameters
        self.name = getattr(function, "__name__", type(function).__name__)
        held = _held(function).values()
        self.modules_held = nn.ModuleList(one for one in held if isinstance(one, nn.Module))
        self.parameters_held = nn.ParameterList(one for one in held if isinstance(one, nn.Parameter))

    def extra_repr(self) -> str:
        return ", ".join([self.name, *(f"{key}={value}" for key, value in self.given.items())])

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        target = check_target(logits, target)
        with torch.autocast(logits.device.type, enabled=False):
            loss = self.function(to_float32(logits), target, **self.given)
        if not isinstance(loss, Tensor) or loss.ndim:
            given = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise TypeError(f"the loss {self.name} must return a scalar tensor, got {given}; use .mean()")
        return loss


def _held(function: object) -> dict[str, object]:
    """Name what a callable that is no module holds: its attributes, and what a partial or a method calls."""
    if isinstance(function, nn.Module):
        return {}
    found = dict(getattr(function, "__dict__", {}))
    inner = function.__self__ if inspect.ismethod(function) else None
    if isinstance(function, partial):
        found |= function.keywords
        inner = function.func
    return found | ({"inner": inner} | _held(inner) if inner is not None else {})


def build_loss(name: str, defaults: dict | None = None, /, **parameters) -> nn.Module:
    """Build the loss called ``name`` in ``LOSSES``, or ``"file.py:name"`` of a reader's file, from the repository's root.

    In a file, ``name`` is a function of (logits, target, **parameters), a module or ``partial`` that is called like
    one, or a class that ``parameters`` make one of. Of ``defaults``, a loss of the library takes those that it has and
    that ``parameters`` do not give. Raises ``ValueError`` for an unknown name or parameter, naming the
    nearest valid one, for a missing parameter, and for a file that is missing or fails.
    """
    if ":" not in name and name not in LOSSES:
        raise ValueError(f"unknown loss {name!r}; {nearest(name, LOSSES)}")
    own = ":" in name
    found = load(name) if own else LOSSES[name]
    if not own:
        taken = inspect.signature(found).parameters
        parameters = {key: value for key, value in (defaults or {}).items() if key in taken} | parameters
    inner = found.func if isinstance(found, partial) else found
    if own and not isinstance(inner, type):
        _check_parameters(name, found.forward if isinstance(found, nn.Module) else found, (None, None), parameters)
        return FunctionLoss(found, **parameters)
    _check_parameters(name, found, (), parameters)
    try:
        loss = found(**parameters)
    except TypeError as error:
        raise ValueError(f"loss {name!r}: {error}") from error
    return FunctionLoss(loss) if own else loss


def load(name: str) -> Callable:
    """Import what ``"file.py:name"`` names; raise ``ValueError``, with file and line, where that fails."""
    file, _, wanted = name.rpartition(":")
    path = resolve(file)
    if not path.is_file():
        raise ValueError(f"loss {name!r}: there is no file {path}")
    try:
        module = import_file(path)
    except (Exception, SystemExit) as error:
        frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
        if isinstance(error, SyntaxError):
            frames.append((error.filename, error.lineno))
        file, line = [frame for frame in frames if Path(frame[0]) in files_of(name)][-1]
        reason = f"{type(error).__name__} in line {line} of {Path(file).name}: {error}"
        raise ValueError(f"loss {name!r}: {path.name} fails with {reason}") from error
    if not callable(getattr(module, wanted, None)):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ValueError(f"loss {name!r}: {path.name} has no function {wanted!r}; {nearest(wanted, known)}")
    return getattr(module, wanted)


def _check_parameters(name: str, function: Callable, arguments: tuple, parameters: dict) -> None:
    """Raise ``ValueError`` unless ``function`` can be called with ``arguments`` and ``parameters``."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # a scripted one
        return
    try:
        signature.bind(*arguments, **parameters)
    except TypeError as error:
        valid = list(signature.parameters)[len(arguments) :]
        wrong = [key for key in parameters if key not in valid]
        advice = f"; {nearest(wrong[0], valid)}" if wrong else ""
        raise ValueError(f"loss {name!r}: {error}{advice}") from error


def plain_state(loss: nn.Module) -> dict[str, bytes]:
    """Read, by name, what a loss holds beside parameters and buffers, which is lost when a training is resumed.

    Globals, closures and files cannot be seen.
    """
    found = {}
    for place, module in loss.named_modules():
        held = {name: value for name, value in vars(module).items() if name not in vars(nn.Module())}
        for name, value in (held | _held(held.get("function"))).items():
            try:
                found[f"{place}.{name}".strip(".")] = pickle.dumps(value)
            except Exception:  # a lambda, a lock
                found[f"{place}.{name}".strip(".")] = repr(value).encode()
    return found


def check_loss(loss: nn.Module, classes: int = 3, name: str = "") -> None:
    """Call ``loss`` on a small patch of all classes and on one of background alone; raise ``ValueError`` if unusable.

    It must return a finite scalar with a finite gradient, own what it learns, and keep what changes in buffers: a
    plain attribute that a call changes is lost on resuming. Parameters and buffers are as before afterwards.
    """
    name = name or getattr(loss, "name", type(loss).__name__)
    kept = {key: value.clone() for key, value in loss.state_dict().items()}
    before = plain_state(loss)
    shape = (1, classes, 16, 16, 16)
    everywhere = torch.arange(16**3).reshape(1, 16, 16, 16) % classes
    with torch.random.fork_rng(devices=[]):
        for where, target in (("of all classes", everywhere), ("of background alone", torch.zeros_like(everywhere))):
            logits = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
            problem = _problem(loss, logits, target)
            if problem:
                raise ValueError(f"the loss {name} {problem}, on a patch {where}, logits {shape}")
    after = plain_state(loss)
    changed = [key for key in before | after if before.get(key) != after.get(key)]
    if changed:
        raise ValueError(f"the loss {name} changes its attribute {changed[0]!r} when it is called, which a resumed "
                         "training would not know: keep it as a tensor by register_buffer, so that it is saved")
    loss.load_state_dict(kept)


def _problem(loss: nn.Module, logits: Tensor, target: Tensor) -> str:
    """Say what is wrong with value or gradient; "" if nothing."""
    try:
        value = loss(logits, target)
    except Exception as error:
        return f"fails with {type(error).__name__} ({error})"
    if not isinstance(value, Tensor) or value.ndim:
        return "returns no scalar tensor"
    leaves = _leaves(value)
    if not any(leaf is logits for leaf in leaves):
        return "has no gradient (it does not depend on the logits, or was detached)"
    if any(all(leaf is not own for own in (logits, *loss.parameters())) for leaf in leaves):
        return "learns a tensor that it does not own: make it an nn.Parameter of an nn.Module"
    (gradient,) = torch.autograd.grad(value, logits)
    return "" if value.isfinite() and gradient.isfinite().all() else "or its gradient is not finite"


def _leaves(value: Tensor) -> list[Tensor]:
    """Find the tensors without a history that ``value`` can be differentiated by."""
    nodes = [value.grad_fn]
    for node in nodes:  # grows on the way
        following = node.next_functions if node else ()
        nodes += dict.fromkeys(one for one, _ in following if one not in nodes)
    return [node.variable for node in nodes if hasattr(node, "variable")]

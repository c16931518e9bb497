"""A reader's own loss, from a file that is ordinary Python."""

import hashlib
import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from kitsnb.files import resolve
from kitsnb.losses.statistics import check_shapes, wide
from kitsnb.messages import nearest


class FunctionLoss(nn.Module):
    """A function of (logits, target, **parameters) as a loss module: how a reader's own loss enters the experiment."""

    def __init__(self, function: Callable[..., Tensor], /, **parameters):
        super().__init__()
        self.function, self.parameters_given = function, parameters
        self.name = getattr(function, "__name__", type(function).__name__)

    def extra_repr(self) -> str:
        return ", ".join([self.name, *(f"{key}={value}" for key, value in self.parameters_given.items())])

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        target = check_shapes(logits, target)
        with torch.autocast(logits.device.type, enabled=False):
            loss = self.function(wide(logits), target, **self.parameters_given)
        if not isinstance(loss, Tensor) or loss.ndim != 0:
            given = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise TypeError(f"the loss {self.name} must return a scalar tensor, got {given}; use .mean()")
        return loss


def load(name: str) -> Callable:
    """What ``"file.py:name"`` names."""
    file, _, wanted = name.rpartition(":")
    path = resolve(file)
    if not path.is_file():
        raise ValueError(f"loss {name!r}: there is no file {path}")
    try:
        module = _execute(path)
    except Exception as error:
        raise ValueError(f"loss {name!r}: {path} fails with {type(error).__name__}: {error}") from error
    if not callable(getattr(module, wanted, None)):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ValueError(f"loss {name!r}: {path.name} has no function {wanted!r}; {nearest(wanted, known)}")
    return getattr(module, wanted)


def _execute(path: Path) -> ModuleType:
    """A reader's file as a module, run anew each time, for it is edited between two cells of a notebook.

    It is found in ``sys.modules`` (dataclasses, pickle), and imports files beside it (``import``, ``from .``).
    """
    folder = str(path.parent.resolve())
    package = ModuleType("own_loss_" + hashlib.sha256(folder.encode()).hexdigest()[:8])
    package.__path__ = [folder]
    sys.modules.setdefault(package.__name__, package)
    if folder not in sys.path:
        sys.path.append(folder)
    spec = importlib.util.spec_from_file_location(package.__name__ + "." + re.sub(r"\W", "_", path.stem), path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    # Past the cache of compiled files, which notices no change within a second.
    exec(compile(path.read_bytes(), path, "exec"), vars(module))
    return module

"""A reader's own loss: a function or an ``nn.Module`` in a file, imported as the file is now.

What the file imports from beside itself is imported again with it, and kept from others. So an edited helper counts in
the same kernel, and two losses with a ``utils.py`` each keep their own.
"""

import importlib
import itertools
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from kitsnb.files import resolve
from kitsnb.losses.statistics import check_target, to_float32
from kitsnb.messages import nearest

_numbers = itertools.count()


class FunctionLoss(nn.Module):
    """A reader's function or module of (logits, target, **parameters) as a loss."""

    def __init__(self, function: Callable[..., Tensor], /, **parameters):
        super().__init__()
        self.function = function
        self.given = parameters

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        target = check_target(logits, target)
        with torch.autocast(logits.device.type, enabled=False):
            return self.function(to_float32(logits), target, **self.given)


def load(name: str) -> Callable:
    """Import what ``"file.py:name"`` names; raise ``ValueError`` where that fails."""
    file, _, wanted = name.rpartition(":")
    path = resolve(file).resolve()
    try:
        module = import_file(path)
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"loss {name!r}: {path} fails with {reason}; run it by python to see where") from error
    found = getattr(module, wanted, None)
    if not callable(found):
        known = [key for key, value in vars(module).items() if callable(value)]
        raise ValueError(f"loss {name!r}: {path.name} has no function {wanted!r}; {nearest(wanted, known)}")
    return found


def import_file(path: Path) -> ModuleType:
    """Import a reader's file and, again, what it imports from beside itself; whatever they raise is raised."""
    beside = {file.stem for file in path.parent.glob("*.py")}
    beside |= {file.parent.name for file in path.parent.glob("*/__init__.py")}
    beside.discard("kitsnb")
    hidden = _take_out(beside)  # modules of these names from elsewhere
    sys.path.insert(0, str(path.parent))
    importlib.invalidate_caches()
    writes = sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # compiled files miss a change within a second
    try:
        spec = spec_from_file_location(f"own_loss_{next(_numbers)}", path)
        module = sys.modules[spec.name] = module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = writes
        sys.path.remove(str(path.parent))
        _take_out(beside)
        sys.modules.update(hidden)
    return module


def _take_out(names: set[str]) -> dict[str, ModuleType]:
    """Take the modules ``names``, and those within them, out of what is imported, and return them."""
    found = [name for name in sys.modules if name.partition(".")[0] in names]
    return {name: sys.modules.pop(name) for name in found}

"""A reader's own loss: a function, an ``nn.Module`` or a ``partial`` in a file, imported as the file is now.

What the file imports from beside itself is imported again with it, under names that no other loss shares. So an
edited helper counts in the same kernel, and two losses with a ``utils.py`` each keep their own.
"""

import builtins
import itertools
import sys
import traceback
from collections.abc import Callable
from functools import partial
from importlib.machinery import FileFinder, SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from kitsnb.files import resolve
from kitsnb.losses.statistics import check_target, to_float32
from kitsnb.messages import nearest

#: Begins the private name of a loss file's folder; a number follows.
PREFIX = "_own_loss_"
_numbers = itertools.count()


class FunctionLoss(nn.Module):
    """A reader's function or module of (logits, target, **parameters), or a partial of one, as a loss."""

    def __init__(self, function: Callable[..., Tensor], /, **parameters):
        super().__init__()
        self.function = function
        self.given = parameters
        if isinstance(function, partial):
            self.inner = function.func  # what a module learns is the loss's

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        target = check_target(logits, target)
        with torch.autocast(logits.device.type, enabled=False):
            return self.function(to_float32(logits), target, **self.given)


def load(name: str) -> Callable:
    """Import what ``"file.py:name"`` names; raise ``ValueError``, with file and line, where that fails."""
    file, _, wanted = name.rpartition(":")
    path = resolve(file).resolve()
    if not path.is_file():
        raise ValueError(f"loss {name!r}: there is no file {path}")
    try:
        module = import_file(path)
    except (Exception, SystemExit) as error:
        where = path.name
        for frame, line in traceback.walk_tb(error.__traceback__):
            if str(frame.f_globals.get("__name__")).startswith(PREFIX):  # the last line of the reader's
                where = f"line {line} of {Path(frame.f_code.co_filename).name}"
        raise ValueError(f"loss {name!r}: {where} fails with {type(error).__name__}: {error}") from error
    found = getattr(module, wanted, None)
    if not callable(found):
        known = [key for key, value in vars(module).items() if callable(value)]
        raise ValueError(f"loss {name!r}: {path.name} has no function {wanted!r}; {nearest(wanted, known)}")
    return found


def import_file(path: Path) -> ModuleType:
    """Import a reader's file and, again, what it imports from beside itself; whatever they raise is raised."""
    package = ModuleType(f"{PREFIX}{next(_numbers)}")
    package.__path__ = [str(path.parent)]
    sys.modules[package.__name__] = package
    if _Beside not in sys.meta_path:
        sys.meta_path.insert(0, _Beside)
    name = f"{package.__name__}.{path.stem.replace('.', '_')}"
    spec = spec_from_file_location(name, path, loader=_Beside(name, str(path)))
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Beside(SourceFileLoader):
    """Finds and runs files beside a loss, past the cache of compiled ones, which misses a change within a second."""

    @staticmethod
    def find_spec(name, path, target=None):
        if name.startswith(PREFIX) and path:
            return FileFinder(next(iter(path)), (_Beside, [".py"])).find_spec(name)
        return None

    def exec_module(self, module: ModuleType) -> None:
        private = module.__name__.partition(".")[0]
        folder = Path(sys.modules[private].__path__[0])

        def import_beside(name, globals=None, locals=None, fromlist=(), level=0):
            """Do what an ``import`` statement asks for, below the private name where the file lies beside the loss."""
            top = name.partition(".")[0]
            is_beside = (folder / f"{top}.py").is_file() or any((folder / top).rglob("*.py"))
            if level or top == "kitsnb" or not is_beside:
                return builtins.__import__(name, globals, locals, fromlist, level)
            found = builtins.__import__(f"{private}.{name}", globals, locals, fromlist)
            return found if fromlist else sys.modules[f"{private}.{top}"]

        vars(module)["__builtins__"] = vars(builtins) | {"__import__": import_beside}
        exec(compile(self.get_data(self.path), self.path, "exec"), vars(module))

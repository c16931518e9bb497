"""How a reader's file is imported: as it is now, apart from the files of other losses.

What it imports from beside itself is imported with it, under names that no other loss shares. So an edited helper
counts in the same kernel, and two losses with a ``utils.py`` each keep their own.
"""

import ast
import builtins
import itertools
import re
import sys
from importlib.machinery import FileFinder, ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from kitsnb.files import ROOT, resolve

#: Begins the private name of a loss file's folder; a number follows.
PREFIX = "_own_loss_"
_numbers = itertools.count()


def files_of(name: str) -> list[Path]:
    """List the file of the loss ``"file.py:name"`` and all it imports, transitively, from its folder or the repository.

    Imports within functions count. Data that it reads, and modules that are named only when it runs
    (``importlib.import_module``), cannot be seen. Empty for a loss of the library.
    """
    file, colon, _ = name.rpartition(":")
    found = [resolve(file).resolve()] if colon else []
    for path in found:  # grows on the way
        found += dict.fromkeys(new for new in _imports(path, found[0].parent) if new not in found)
    return sorted(found)


def _imports(path: Path, folder: Path) -> list[Path]:
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return []  # importing it says what is wrong
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found += _located(alias.name, folder, ROOT)
        elif isinstance(node, ast.ImportFrom):
            bases = (path.parents[node.level - 1],) if node.level else (folder, ROOT)
            for alias in node.names:
                found += _located(f"{node.module or ''}.{alias.name}".strip("."), *bases)
    return found


def _located(dotted: str, *bases: Path) -> list[Path]:
    """Find the files that importing ``dotted`` runs, in the first of ``bases`` that has any; none of a library's."""
    for base in bases:
        found = []
        for part in dotted.split("."):
            base = base / part
            found += [file for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file()]
        if found and "site-packages" not in found[0].parts:
            return found
    return []


def import_file(path: Path) -> ModuleType:
    """Import a reader's file and, again, what it imports from beside itself; whatever they raise is raised."""
    path = path.resolve()
    package = ModuleType(f"{PREFIX}{next(_numbers)}")
    package.__path__ = [str(path.parent)]
    sys.modules[package.__name__] = package
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
    name = f"{package.__name__}.{re.sub(r'[^0-9A-Za-z_]', '_', path.stem)}"
    spec = spec_from_file_location(name, path, loader=_Loader(name, str(path)))
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Finder:
    """Finds the files beside a loss, below its private name."""

    @staticmethod
    def find_spec(name: str, path: list[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name.startswith(PREFIX) and path:
            return FileFinder(next(iter(path)), (_Loader, [".py"])).find_spec(name)
        return None


class _Loader(SourceFileLoader):
    """Runs a file past the cache of compiled ones, which misses a change within a second."""

    def exec_module(self, module: ModuleType) -> None:
        private = module.__name__.partition(".")[0]
        folder = Path(sys.modules[private].__path__[0])

        def import_beside(name, globals=None, locals=None, fromlist=(), level=0):
            """Do what an ``import`` statement asks for, below the private name where the file lies beside the loss."""
            top = name.partition(".")[0]
            if level or top == "kitsnb" or not _located(f"{name}.{(fromlist or ['*'])[0]}", folder):
                return builtins.__import__(name, globals, locals, fromlist, level)
            found = builtins.__import__(f"{private}.{name}", globals, locals, fromlist)
            return found if fromlist else sys.modules[f"{private}.{top}"]

        vars(module)["__builtins__"] = vars(builtins) | {"__import__": import_beside}
        exec(compile(self.get_data(self.path), self.path, "exec"), vars(module))

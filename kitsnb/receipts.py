"""What a file or folder was made from, and whether that is still so: by content and meaning, never by dates alone.

A receipt names the settings, the meaning of the code, the files that were read and those that were made. All names
are relative, so a build that was moved or renamed is still up to date.
"""

import ast
import builtins
import hashlib
import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

from kitsnb.files import NOTEBOOKS, ROOT, files_below, plain, read_json, write_json

#: Name of the receipt in a folder: hidden, so that it is no content itself.
RECEIPT = ".made_from.json"
#: Files above this size are known by size and time of change alone; to read them again would take minutes.
LARGE = 32 << 20


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@cache
def _digest(path: Path, size: int, changed: int) -> str | None:
    return digest(path) if size <= LARGE else None


def state_of(path: Path) -> list:
    """Return size, time of change and SHA-256 of a file (None for the last where it is ``LARGE``)."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, _digest(path, status.st_size, status.st_mtime_ns)]


def is_same(path: Path, state: list) -> bool:
    """Tell whether the file is as ``state_of`` found it. Its content is read only where its time is another."""
    size, changed, content = state
    try:
        status = path.stat()
        if status.st_size != size:
            return False
        if status.st_mtime_ns == changed:
            return True
        return content is not None and content == _digest(path, status.st_size, status.st_mtime_ns)
    except OSError:
        return False


def receipt_of(path: Path) -> Path:
    """Return where the receipt of ``path`` lies: hidden in a folder or beside a file; a .json file is one itself."""
    if path.suffix == ".json":
        return path
    return path / RECEIPT if path.is_dir() else path.with_name(f".{path.name}{RECEIPT}")


def write_receipt(path: Path, made_from: Mapping, inputs: Mapping[str, Path] | None = None,
                  outputs: Iterable[Path] | None = None, **more: object) -> None:
    """Say what ``path`` was made from: ``made_from`` (settings and code, as JSON) and the files ``inputs``, by name.

    ``outputs`` are the files that were made, all below ``path`` where none are given. ``more`` is kept with it.
    """
    receipt = receipt_of(path)
    made = {}
    for file in files_below(path) if outputs is None else outputs:
        made[os.path.relpath(file, receipt.parent)] = state_of(file)
    read = {name: state_of(file) for name, file in (inputs or {}).items()}
    write_json(receipt, {"made_from": made_from, "inputs": read, "outputs": made, **more})


def read_receipt(path: Path, made_from: Mapping, inputs: Mapping[str, Path] | None = None) -> dict | None:
    """Return the receipt of ``path`` if it was made from this, and is as it was left; else None."""
    return read_json(receipt_of(path)) if why_stale(path, made_from, inputs) is None else None


def why_stale(path: Path, made_from: Mapping, inputs: Mapping[str, Path] | None = None) -> str | None:
    """Say in words why ``path`` is not what ``made_from`` and ``inputs`` make; None where it is."""
    receipt = read_json(receipt_of(path))
    if not all(isinstance(receipt.get(part), dict) for part in ("made_from", "inputs", "outputs")):
        return "never finished"
    if changes := differences(receipt["made_from"], plain(made_from)):
        return changes[0]
    inputs = inputs or {}
    for name in sorted(receipt["inputs"].keys() ^ inputs.keys()):
        return f"{name} is {'new' if name in inputs else 'gone'}"
    for name, file in inputs.items():
        if not is_same(file, receipt["inputs"][name]):
            return f"{name} changed"
    for name, state in receipt["outputs"].items():
        file = receipt_of(path).parent / name
        if not is_same(file, state):
            return f"{file.name} {'was changed since it was made' if file.exists() else 'is gone'}"
    return None


def differences(old: Mapping, new: Mapping) -> list[str]:
    """List in words which single values differ between two nested mappings."""
    was = flat(old)
    now = flat(new)
    found = []
    for name in {**was, **now}:
        if name not in was or name not in now or was[name] != now[name]:
            found.append(f"{name} changed: {_brief(was, name)} -> {_brief(now, name)}")
    return found


def flat(content: object, name: str = "") -> dict[str, object]:
    """Return {"network.depth": 3} of {"network": {"depth": 3}}; rows of a list go by their names."""
    if isinstance(content, list) and content and all(isinstance(row, dict) and "name" in row for row in content):
        content = {row["name"]: row for row in content}
    if not isinstance(content, Mapping):
        return {name: content}
    found = {}
    for key, inner in content.items():
        found |= flat(inner, f"{name}.{key}".removeprefix("."))
    return found


def _brief(values: Mapping, name: str) -> str:
    text = str(values.get(name, "nothing"))
    return text if len(text) <= 60 else f"{text[:12]}..."


def code_of(*modules: ModuleType) -> dict[str, str]:
    """Return what ``modules`` compute, by name."""
    return {module.__name__: meaning(Path(module.__file__)) for module in modules}


def meaning(path: Path) -> str:
    """Return a digest of what a module computes.

    Comments, docstrings, formatting, prints, and names of local variables do not count.
    """
    return _meaning(path, path.stat().st_mtime_ns)


@cache
def _meaning(path: Path, _changed: int) -> str:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return digest(path)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [one for one in body if not _is_said(one)]
    for node in tree.body:
        _rename_locals(node)
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_said(node: ast.stmt) -> bool:
    """Tell whether a statement is a docstring or a print: it computes nothing."""
    if not isinstance(node, ast.Expr):
        return False
    value = node.value
    prints = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "print"
    return prints or isinstance(value, ast.Constant)


def _rename_locals(node: ast.stmt) -> None:
    """Number the local variables of a function, or of a class's methods, in the order in which they appear."""
    if isinstance(node, ast.ClassDef):
        for inner in node.body:
            _rename_locals(inner)
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return
    kept = set(dir(builtins))
    for inner in ast.walk(node):
        if isinstance(inner, ast.arg):
            kept.add(inner.arg)
        elif isinstance(inner, (ast.Global, ast.Nonlocal)):
            kept.update(inner.names)
    numbers: dict[str, str] = {}
    names = [inner for inner in ast.walk(node) if isinstance(inner, ast.Name)]
    for name in names:
        if isinstance(name.ctx, ast.Store) and name.id not in kept:
            numbers.setdefault(name.id, f"local {len(numbers)}")
    for name in names:
        name.id = numbers.get(name.id, name.id)


def imported_files(source: Path) -> list[Path]:
    """List the files of the repository, or beside ``source``, that it imports, and those that they import in turn.

    ``source`` is a module, a text notebook, or a reader's own file. Names taken from a package itself, which may hand
    them on from anywhere in it, stand for all of its modules.
    """
    found: set[Path] = set()
    waiting = [source]
    while waiting:
        file = waiting.pop()
        direct = _direct_imports(file, source.parent, file.stat().st_mtime_ns)
        new = [other for other in direct if other not in found]
        found.update(new)
        waiting += new
    return sorted(found)


@cache
def _direct_imports(source: Path, folder: Path, _changed: int) -> list[Path]:
    bases = (ROOT, NOTEBOOKS, folder, source.parent)
    files: list[Path] = []
    try:
        tree = ast.parse(source.read_bytes())
    except (SyntaxError, ValueError):
        return files
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                files += _module(alias.name, bases)
        elif isinstance(node, ast.ImportFrom):
            above = (source.parents[node.level - 1],) if node.level else bases
            for alias in node.names:
                inner = f"{node.module}.{alias.name}" if node.module else alias.name
                files += _module(inner, above) or _handed_on(node.module or "", above)
    return files


def _module(name: str, bases: Iterable[Path]) -> list[Path]:
    """List the file of a module below ``bases``; none for a library's."""
    found = []
    for base in bases:
        path = base.joinpath(*name.split("."))
        found += [file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()]
    return found


def _handed_on(package: str, bases: Iterable[Path]) -> list[Path]:
    """List the file of a module from which a name is taken, or all of a package that hands names on."""
    found = []
    for file in _module(package, bases) if package else []:
        found += sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]
    return found

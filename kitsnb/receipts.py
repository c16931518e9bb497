"""What a file or folder was made from, and whether that is still so: by content and meaning, never by dates alone.

A receipt names the settings, the meaning of the code, the files that were read and those that were made. All names
are relative, so a build that was moved or renamed is still up to date.
"""

import ast
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
LARGE = 64 << 20


@cache
def _digest(path: Path, size: int, _changed: int) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if size <= LARGE else None


def state_of(path: Path) -> list:
    """Return size, time of change and SHA-256 of a file (None for the last where it is ``LARGE``)."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, _digest(path, status.st_size, status.st_mtime_ns)]


def is_same(path: Path, state: list) -> bool:
    """Tell whether the file is as ``state_of`` found it. Its content is read only where its time is another."""
    if not path.is_file():
        return False
    size, changed, digest = state
    status = path.stat()
    if status.st_size != size:
        return False
    return status.st_mtime_ns == changed or (digest is not None and state_of(path)[2] == digest)


def receipt_of(path: Path) -> Path:
    """Return the receipt of ``path``: hidden in a folder; a .json file is one itself."""
    return path if path.suffix == ".json" else path / RECEIPT


def states_of(inputs: Mapping[str, Path]) -> dict[str, list]:
    """Return the state of each of ``inputs`` that is there, by name."""
    return {name: state_of(file) for name, file in inputs.items() if file.is_file()}


def write_receipt(path: Path, made_from: Mapping, read: Mapping[str, list] | None = None,
                  outputs: Iterable[Path] | None = None, **more: object) -> None:
    """Say what ``path`` was made from: ``made_from`` (settings and code, as JSON) and ``read``, the states of files.

    Both as they were when the work began: what changed since did not count. ``outputs`` are the files that were made,
    all below ``path`` where none are given. ``more`` is kept with it.
    """
    receipt = receipt_of(path)
    made = {}
    for file in files_below(path) if outputs is None else outputs:
        made[os.path.relpath(file, receipt.parent)] = state_of(file)
    write_json(receipt, {"made_from": made_from, "inputs": read or {}, "outputs": made, **more})


def read_receipt(path: Path, made_from: Mapping, inputs: Mapping[str, Path] | None = None) -> dict | None:
    """Return the receipt of ``path`` if it was made from this, and is as it was left; else None."""
    return read_json(receipt_of(path)) if why_stale(path, made_from, inputs) is None else None


def why_stale(path: Path, made_from: Mapping, inputs: Mapping[str, Path] | None = None) -> str | None:
    """Say in words why ``path`` is not what ``made_from`` and ``inputs`` make; None where it is."""
    receipt = read_json(receipt_of(path))
    if "outputs" not in receipt:
        return "never finished"
    for change in differences(receipt["made_from"], plain(made_from)):
        return change
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
    for name in was | now:
        before = was.get(name, "nothing")
        after = now.get(name, "nothing")
        if before != after:
            found.append(f"{name} changed: {before!s:.40} -> {after!s:.40}")
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


def code_of(*modules: ModuleType) -> dict[str, str]:
    """Return what ``modules`` compute, by name."""
    return {module.__name__: meaning(Path(module.__file__)) for module in modules}


def meaning(path: Path) -> str:
    """Digest what a module computes: no comments, docstrings or formatting."""
    return _meaning(path.read_bytes())


@cache
def _meaning(source: bytes) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [one for one in body if not _is_docstring(one)]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_docstring(node: ast.stmt) -> bool:
    """Tell whether a statement is a text alone, which computes nothing."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def imported_files(source: Path) -> list[Path]:
    """List the files of the repository, or beside ``source``, that it imports, and those that they import in turn.

    Names taken from a package itself, which may hand them on from anywhere in it, stand for all of its modules.
    """
    found: set[Path] = set()
    waiting = [source]
    while waiting:
        file = waiting.pop()
        new = _direct_imports(file, source.parent, file.read_bytes()) - found
        found |= new
        waiting += new
    return sorted(found)


@cache
def _direct_imports(file: Path, folder: Path, source: bytes) -> set[Path]:
    """Return the files that ``file``, which holds ``source``, imports; ``folder`` is one more to look in."""
    bases = (ROOT, NOTEBOOKS, folder, file.parent)
    found: set[Path] = set()
    for node in ast.walk(ast.parse(source, str(file))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found |= _module(alias.name, bases)
        elif isinstance(node, ast.ImportFrom):
            above = (file.parents[node.level - 1],) if node.level else bases
            package = _module(node.module, above) if node.module else set()
            for alias in node.names:
                inner = f"{node.module}.{alias.name}" if node.module else alias.name
                found |= _module(inner, above) or _holders(package)
    return found


def _module(name: str, bases: Iterable[Path]) -> set[Path]:
    """Return the file of a module below ``bases``; none for a library's."""
    found = set()
    for base in bases:
        path = base.joinpath(*name.split("."))
        found |= {file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()}
    return found


def _holders(modules: set[Path]) -> set[Path]:
    """Return the files that may hold a name which ``modules`` hand on: of a package all."""
    found = set()
    for file in modules:
        found |= set(file.parent.rglob("*.py")) if file.name == "__init__.py" else {file}
    return found

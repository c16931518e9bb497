"""Stamps: is a job done, and if not, why? Decided by content, never by the notebook's own metadata.

A stamp's key has four parts: the notebook's source, the parameters, the kitsnb modules that it imports (and those that
these import), and the files it reads. Outputs are not part of the key, but must still be there.
"""

import ast
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from kitsnb.files import ROOT, write_json
from kitsnb.workflow.jobs import Job

PACKAGE = ROOT / "kitsnb"


class Digests:
    """SHA-256 of files, remembered by size and time of change, so that a second look at a large folder is cheap."""

    def __init__(self, store: Path):
        self.store = store
        self.known: dict[str, list] = json.loads(store.read_text()) if store.exists() else {}

    def file(self, path: Path) -> str:
        status = path.stat()
        mark = [status.st_size, status.st_mtime_ns]
        entry = self.known.get(str(path))
        if not entry or entry[:2] != mark:
            with path.open("rb") as stream:
                entry = [*mark, hashlib.file_digest(stream, "sha256").hexdigest()]
            self.known[str(path)] = entry
        return entry[2]

    def save(self) -> None:
        write_json(self.store, self.known)


def files_below(paths: Iterable[Path]) -> list[Path]:
    """The files among ``paths`` and below the folders among them; hidden ones, which are half-written, left out."""
    found = []
    for path in paths:
        if path.is_dir():
            found += [file for file in sorted(path.rglob("*")) if file.is_file() and not file.name.startswith(".")]
        elif path.is_file():
            found.append(path)
    return found


def imported_modules(source: Path, package: Path = PACKAGE) -> list[Path]:
    """Files of kitsnb that ``source`` (module or py:percent notebook) imports, with all that these import in turn."""
    found: dict[Path, None] = {}
    waiting = [source]
    while waiting:
        for file in _direct_imports(waiting.pop(), package):
            if file not in found:
                found[file] = None
                waiting.append(file)
    return sorted(found)


def _direct_imports(source: Path, package: Path) -> list[Path]:
    names = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    files = []
    for name in sorted(names):
        parts = name.split(".")
        if parts[0] == package.name:
            base = package.joinpath(*parts[1:])
            files += [file for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file()]
    return files


def key_of(job: Job, digests: Digests) -> dict[str, dict]:
    """The four parts of a job's key, each a mapping from what to its value or digest."""
    source = job.notebook or PACKAGE / "study" / "paper.py"
    return {
        "source": {_short(source): digests.file(source)},
        "parameter": json.loads(json.dumps(job.parameters)),
        "module": {_short(path): digests.file(path) for path in imported_modules(source)},
        "input": {_short(path): digests.file(path) for path in files_below(job.reads)}
        | {_short(path): f"{path.stat().st_size} {path.stat().st_mtime_ns}" for path in files_below(job.lists)},
    }


def _short(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def stamp_path(job: Job, folder: Path) -> Path:
    return folder / f"{job.name}.json"


def read_stamp(job: Job, folder: Path) -> dict | None:
    path = stamp_path(job, folder)
    return json.loads(path.read_text()) if path.exists() else None


def reason_to_run(stamp: dict | None, key: dict) -> str | None:
    """Why a job must run, or None when its stamp says that it is done with this key and all it made is there."""
    if stamp is None:
        return "never finished"
    for part, values in key.items():
        old = stamp["key"][part]
        changed = [name for name in {**old, **values} if old.get(name) != values.get(name)]
        if changed and part == "parameter":
            return "; ".join(f"parameter {name} changed: {old.get(name)} -> {values.get(name)}" for name in changed)
        if changed:
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            return f"{changed[0]}{more} changed"
    missing = [path for path in stamp["outputs"] if not Path(path).exists()]
    return f"output missing: {_short(Path(missing[0]))}" if missing else None

"""Where everything lies below ``build/<profile>``, how a file is written whole, and what a folder was made from."""

import ast
import hashlib
import json
import math
import os
import resource
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType

from filelock import FileLock, Timeout

#: The repository: kitsnb is installed in editable mode, so the package's parent is the checkout.
ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
PAPER = ROOT / "paper"
#: Finished studies that are kept as data, a folder each.
PUBLISHED = Path(os.environ.get("KITSNB_PUBLISHED") or PAPER / "published").absolute()
#: Where cases come from, as notebooks call it: phantoms, real label maps with simulated CT, or a folder as it is.
SOURCES = ("phantom", "hybrid", "folder")
#: Of these the ones whose CT is made, below the build folder.
SIMULATED_SOURCES = ("phantom", "hybrid")
#: Name of the file in a folder that says what the folder was made from: hidden, so that it is no content itself.
RECEIPT = ".made_from.json"


def resolve(path: str | Path) -> Path:
    """Absolute path of ``path``; relative ones are taken from the repository's root.

    So ``build/quick`` means the same in JupyterLab, which works in ``notebooks/``, and for the runner.
    """
    path = Path(path).expanduser()
    return path if path.is_absolute() else ROOT / path


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A hidden path beside ``path``, to write to. It takes that one's place when the block ends well, else it goes.

    So nobody ever reads half a file, and who is killed on the way leaves what was there before. The name's end stays,
    since many writers choose the format by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{os.getpid()}-{threading.get_ident()}-{path.name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path, patience: float = 60.0) -> Iterator[None]:
    """``folder`` as this process's own; the system takes the lock back however the process dies.

    A dead worker's kernel may live on for a moment while its run is tried again: so this waits for ``patience``
    seconds, then raises ``RuntimeError`` that names who holds the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock, note = FileLock(folder / ".lock"), folder / ".holder"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        holder = f"{folder} is in use by {note.read_text() if note.exists() else 'another process'}"
        if patience:
            print(f"{holder}; waiting up to {patience:.0f} s", flush=True)
        try:
            lock.acquire(timeout=patience, poll_interval=0.2)
        except Timeout:
            raise RuntimeError(f"{holder}; wait for it, or end it, and run the same command again") from None
    try:
        write_atomic(note, f"process {os.getpid()} on {os.uname().nodename} since {time.strftime('%d %b %H:%M')}")
        yield
    finally:
        lock.release()


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write ``content`` as ``path``, whole or not at all; text in UTF-8."""
    with replaced(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def write_between(path: Path, begin: str, end: str, parts: Sequence[str]) -> None:
    """Replace what stands between the lines ``begin`` and ``end`` of a text by ``parts``, an empty line between them.

    Raises ValueError where a line is missing.
    """
    before, found, rest = path.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{path}: the lines {begin!r} and {end!r} mark a place that is written; put them back")
    write_atomic(path, "\n\n".join([before + begin, *parts, end + after]))


def write_json(path: Path, content: object) -> None:
    """Write ``content``, as ``plain`` has it, as strict JSON, whole or not at all."""
    write_atomic(path, json.dumps(plain(content), indent=1, allow_nan=False) + "\n")


def plain(content: object) -> object:
    """``content`` as JSON has it: NaN null, numpy's numbers Python's, arrays and tuples lists, paths and keys text.

    Raises ValueError for infinity, which is no result.
    """
    if isinstance(content, Mapping):
        return {str(key): plain(value) for key, value in content.items()}
    if hasattr(content, "tolist"):  # of numpy or torch
        content = content.tolist()
    if isinstance(content, (list, tuple)):
        return [plain(value) for value in content]
    if isinstance(content, float) and math.isinf(content):
        raise ValueError("infinity is no result; look for a division by zero")
    if isinstance(content, float) and math.isnan(content):
        return None
    return str(content) if isinstance(content, Path) else content


def flat(content: object, name: str = "") -> dict[str, object]:
    """{"network.depth": 3} of {"network": {"depth": 3}}: single values by their path; rows of a list go by names."""
    if isinstance(content, list) and content and all(isinstance(row, dict) and "name" in row for row in content):
        content = {row["name"]: row for row in content}
    if not isinstance(content, Mapping):
        return {name: content}
    return {path: value for key, inner in content.items()
            for path, value in flat(inner, f"{name}.{key}".removeprefix(".")).items()}


def read_json(path: Path) -> dict:
    """The mapping in ``path``; {} where there is none, or where the file is damaged."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_state(path: Path) -> list[int] | None:
    """Size and time of change of a file, by which it is known again without being read; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def files_below(*paths: Path) -> list[Path]:
    """The files among ``paths`` and below the folders among them, sorted; no hidden ones, which are half-written."""
    found = [(path, file) for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    return [file for path, file in found
            if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)]


def process_peak() -> int:
    """The most bytes of memory that this process has held."""
    status = Path("/proc/self/status")
    if status.exists():  # what the parent held before exec is not counted here, as it is by getrusage
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def code_of(*modules: ModuleType) -> list[str]:
    """What ``modules`` do, to be told from what they did when something was made."""
    return [meaning(Path(module.__file__)) for module in modules]


def meaning(path: Path) -> str:
    """Digest of what a module does: comments, docstrings and formatting do not count."""
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
            node.body = [one for one in body if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def receipt_of(path: Path) -> Path:
    """Where the receipt of a folder lies, or that of a file: hidden in the folder, or beside the file."""
    return path / RECEIPT if path.is_dir() else path.with_name(f".{path.name}{RECEIPT}")


def write_receipt(path: Path, made_from: object, inputs: Mapping[str, Path] | None = None, **more: object) -> None:
    """Say what the folder or file ``path`` was made from, and how it is now; ``more`` is kept with it."""
    if inputs:
        more["inputs"] = {name: [*file_state(file), digest(file)] for name, file in inputs.items()}
    base = receipt_of(path).parent
    files = {str(file.relative_to(base)): [file.stat().st_size, file.stat().st_mtime_ns, digest(file)]
             for file in files_below(path)}
    write_json(receipt_of(path), {"made_from": made_from, "files": files, **more})


def read_receipt(path: Path, made_from: object, inputs: Mapping[str, Path] | None = None) -> dict | None:
    """The receipt of ``path``, if that was made from ``made_from`` and is as it was left, else None.

    A file's content is read only where its time of change is another, as after a copy.
    """
    receipt = read_json(receipt_of(path))
    if not receipt or receipt.get("made_from") != plain(made_from):
        return None
    known = receipt.get("inputs", {})
    if known.keys() != (inputs or {}).keys():
        return None
    for name, (*state, content) in known.items():
        if file_state(inputs[name]) != state and (not inputs[name].is_file() or digest(inputs[name]) != content):
            return None
    try:
        for name, (*state, content) in receipt["files"].items():
            file = receipt_of(path).parent / name
            if file_state(file) != state and (file.stat().st_size != state[0] or digest(file) != content):
                return None
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return receipt


class Build:
    """Names of all outputs of one profile, below ``folder`` (usually ``build/<profile>``)."""

    def __init__(self, folder: str | Path):
        self.folder = folder = resolve(folder)
        self.profile = folder / "profile.json"  # what the build was made with
        self.data = folder / "data"  # simulated cases in KiTS19's folder format, where the profile simulates its data
        self.data_analysis = folder / "data_analysis"  # summary.json and cases.csv of notebook 01
        self.preprocessed = folder / "preprocessed"  # volumes on the working grid, a folder a case, and report.json
        self.losses = folder / "losses"  # summary.json of notebook 03: what the losses are like, and what that predicts
        self.runs = folder / "runs"
        self.figures = folder / "figures"
        self.results = folder / "results.json"
        self.benchmarks = folder / "benchmarks.json"
        self.paper = folder / "paper.pdf"
        self.notebooks = folder / "notebooks"  # as they were executed
        self.stamps = folder / "stamps"

    def cases(self, source: str, folder: str | Path | None) -> Path:
        """The folder of the cases of ``source``: ``data`` where their CT is simulated, else ``folder``."""
        return self.data if source in SIMULATED_SOURCES else resolve(folder)

    def run(self, experiment: str, seed: int, fold: int | None = None) -> Path:
        """One training run: ``history.csv``, ``checkpoints/``, ``predictions/``, ``scores.csv``, ``run.json``."""
        return self.runs / (f"{experiment}-seed{seed}" + ("" if fold is None else f"-fold{fold}"))

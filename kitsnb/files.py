"""Where everything lies, and how a file is written whole or not at all."""

import json
import math
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

#: The repository, where the package lies in one (installed in editable mode); else the folder one works in.
ROOT = Path(__file__).resolve().parent.parent
if not (ROOT / "notebooks" / "profiles").is_dir():
    ROOT = Path.cwd()
NOTEBOOKS = ROOT / "notebooks"
PAPER = ROOT / "paper"
#: Finished studies that are kept as data, one folder each.
PUBLISHED = Path(os.environ.get("KITSNB_PUBLISHED") or PAPER / "published").absolute()


def resolve(path: str | Path) -> Path:
    """Return ``path`` as an absolute path; a relative one is taken from the repository's root.

    So ``build/quick`` means the same in JupyterLab, which works in ``notebooks/``, and on the command line.
    """
    path = Path(path).expanduser()
    return path if path.is_absolute() else ROOT / path


def short(path: Path) -> str:
    """Return ``path`` as seen from the repository, where it lies in it."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a hidden path beside ``path`` to write to; it takes that one's place when the block ends well.

    So nobody ever reads half a file, and a killed process leaves the old one. The ending of the name stays, since many
    writers choose the format by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{os.getpid()}-{threading.get_ident()}-{path.name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


class InUse(RuntimeError):
    """Another process holds a folder; the message names it."""


@contextmanager
def locked(folder: Path, patience: float = 60.0) -> Iterator[None]:
    """Hold ``folder`` for this process alone; the system takes the lock back however the process dies.

    Waits for up to ``patience`` seconds, as the kernel of a dead process may live on for a moment; raises ``InUse``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    note = folder / ".holder"
    try:
        lock.acquire(timeout=patience, poll_interval=0.2)
    except Timeout:
        holder = note.read_text(encoding="utf-8") if note.exists() else "another process"
        raise InUse(f"{folder} is in use by {holder}; wait for it, or end it, and try again") from None
    try:
        since = time.strftime("%d %b %H:%M")
        write_atomic(note, f"process {os.getpid()} on {os.uname().nodename} since {since}")
        yield
    finally:
        lock.release()


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write ``content`` as ``path``, whole or not at all; text in UTF-8."""
    with replaced(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, content: object) -> None:
    """Write ``content``, as ``plain`` has it, as strict JSON, whole or not at all. ValueError for infinity."""
    write_atomic(path, json.dumps(plain(content), indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> dict:
    """Return the mapping in ``path``; {} where there is none, or where the file is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def plain(content: object) -> object:
    """Return ``content`` as JSON has it: NaN null, numpy's numbers Python's, arrays and tuples lists, paths text."""
    if isinstance(content, Mapping):
        return {str(key): plain(value) for key, value in content.items()}
    if hasattr(content, "tolist"):  # numpy or torch
        content = content.tolist()
    if isinstance(content, (list, tuple)):
        return [plain(value) for value in content]
    if isinstance(content, float) and math.isnan(content):
        return None
    return str(content) if isinstance(content, Path) else content


def files_below(*paths: Path) -> list[Path]:
    """List the files among ``paths`` and below the folders among them, sorted; no hidden ones (half-written)."""
    found = []
    for path in paths:
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in inside:
            hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
            if file.is_file() and not hidden:
                found.append(file)
    return found


class Build:
    """Names of all outputs of one profile, below ``folder`` (usually ``build/PROFILE``)."""

    def __init__(self, folder: str | Path):
        self.folder = resolve(folder)
        self.profile = self.folder / "profile.json"  # what the build was made with
        self.data = self.folder / "data"  # simulated cases, where the profile simulates them
        self.data_analysis = self.folder / "data_analysis"  # summary.json and cases.csv of notebook 01
        self.preprocessed = self.folder / "preprocessed"  # volumes on the working grid, and report.json
        self.losses = self.folder / "losses"  # summary.json of notebook 03
        self.runs = self.folder / "runs"
        self.figures = self.folder / "figures"
        self.results = self.folder / "results.json"
        self.paper = self.folder / "paper.pdf"
        self.notebooks = self.folder / "notebooks"  # as they were executed
        self.stamps = self.folder / "stamps"  # a receipt for each job

    def run(self, experiment: str, seed: int) -> Path:
        """Return the folder of one training run."""
        return self.runs / f"{experiment}-seed{seed}"

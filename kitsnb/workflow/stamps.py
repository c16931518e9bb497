"""Is a job done, and if not, why? Decided by content and by what code means, never by dates.

A stamp holds what a job was made from (its key: cells of the notebook, parameters, modules, inputs) and the digests of
what it made. A run's folder holds besides what its training was made from, which is less: a change of anything else
executes the notebook again, and the notebook finds its training done.
"""

import ast
import hashlib
import re
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

from kitsnb.files import (
    NOTEBOOKS, RECEIPT, ROOT, Build, digest, file_state, files_below, flat, meaning, plain, read_json, resolve,
    write_json,
)
from kitsnb.messages import several
from kitsnb.workflow.jobs import Job

PACKAGE = ROOT / "kitsnb"
#: Rooms and modules whose meaning decides what a training computes, and of these those that only keep or show it.
COMPUTING, KEEPING = ("losses", "unet.py", "training"), ("training/checkpoints.py", "training/pictures.py")
#: Parameters that decide, beside the settings of training, which cases a run learns from.
SPLIT = ("training", "validation", "excluded", "fold", "folds")


class Digests:
    """SHA-256 of files, remembered by size and time of change, so that a second look at a large folder is cheap."""

    def __init__(self, store: Path):
        self.store = store
        self.known = {name: entry for name, entry in read_json(store).items()
                      if isinstance(entry, list) and len(entry) == 3}

    def of(self, paths: Iterable[Path]) -> dict[str, str]:
        """The digest of each file, by its name."""
        for path in (paths := list(paths)):
            if self.known.get(str(path), [])[:2] != (state := file_state(path)):
                self.known[str(path)] = [*state, digest(path)]
        return {short(path): self.known[str(path)][2] for path in paths}

    def save(self) -> None:
        with suppress(OSError):  # without it a later look takes longer
            write_json(self.store, {name: entry for name, entry in self.known.items() if Path(name).exists()})


def short(path: Path) -> str:
    """``path`` as seen from the repository, where it lies in it."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def cells(notebook: Path) -> str:
    """Digest of a py:percent notebook's cells; JupyterLab writes versions into the header above them."""
    text = re.sub(r"\A# ---\n.*?^# ---\n", "", notebook.read_text(), flags=re.DOTALL | re.MULTILINE)
    return hashlib.sha256(text.strip().encode()).hexdigest()


def imported_modules(source: Path) -> list[Path]:
    """Files of the repository that ``source`` (module or text notebook) imports, and those that they import in turn."""
    found, waiting = {}, [source]
    while waiting:
        source = waiting.pop()
        new = [file for file in _direct_imports(source, source.stat().st_mtime_ns) if file not in found]
        found |= dict.fromkeys(new)
        waiting += new
    return sorted(found)


@cache
def _direct_imports(source: Path, _changed: int) -> list[Path]:
    files = []
    for node in ast.walk(ast.parse(source.read_bytes())):
        if isinstance(node, ast.Import):
            files += [file for alias in node.names for file in _module(alias.name)]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            files += [file for alias in node.names
                      for file in _module(f"{node.module}.{alias.name}") or _module(node.module)]
    return files


def _module(name: str) -> list[Path]:
    """The file of a module of the package, or of those beside the notebooks; none for a library's."""
    bases = [folder.joinpath(*name.split(".")) for folder in (ROOT, NOTEBOOKS)]
    return [file for base in bases for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file()]


def key_of(job: Job, digests: Digests) -> dict[str, dict]:
    """What ``job`` is made from: four mappings from what to its value or digest."""
    source = job.notebook or PACKAGE / "study" / "paper.py"
    return {
        "notebook": {short(source): cells(source) if job.notebook else meaning(source)},
        "parameter": plain(job.parameters),
        "module": {short(path): meaning(path) for path in (*imported_modules(source), *job.code)},
        "input": digests.of(job.own_files(job.reads))
        | {short(path): f"{path.stat().st_size} {path.stat().st_mtime_ns}" for path in job.own_files(job.lists)},
    }


def trained_from(job: Job, digests: Digests) -> dict[str, dict]:
    """What the training of ``job`` is made from: settings, split, volumes of its cases, and the code that computes."""
    from kitsnb.training.settings import Training

    modules = [PACKAGE / room for room in COMPUTING]
    code = [path for path in files_below(*modules) if path.suffix == ".py" and not str(path).endswith(KEEPING)]
    settings = Training.among(job.parameters).as_json()
    return {
        "parameter": plain(settings | {name: job.parameters.get(name) for name in SPLIT}),
        "module": {short(path): meaning(path) for path in (*code, *job.code)},
        "input": digests.of(job.own_files((Build(job.parameters["build"]).preprocessed,))),
    }


def differences(old: dict[str, dict], new: dict[str, dict]) -> list[str]:
    """In words what differs between two keys; all of it where ``old`` is none."""
    found = []
    for part, values in new.items():
        before = old.get(part) or {}
        names = [name for name in {**before, **values} if before.get(name) != values.get(name)]
        if part == "parameter":
            found += [f"parameter {name} changed: {_change(before.get(name), values.get(name))}" for name in names]
        elif names:
            found.append(f"{several(names)} changed")
    return found


def _change(old: object, new: object) -> str:
    """In words, which single values are others in ``new``."""
    was, now = flat(old), flat(new)
    return "; ".join(f"{name} {_brief(was.get(name))} -> {_brief(now.get(name))}".strip()
                     for name in {**was, **now} if was.get(name) != now.get(name))


def _brief(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def write_stamp(job: Job, folder: Path, key: dict, made: Iterable[Path], digests: Digests) -> None:
    write_json(job.path(folder, "json"), {"key": key, "made": digests.of(made)})


def reason_to_run(job: Job, folder: Path, digests: Digests) -> str | None:
    """Why ``job`` must run, or None where its stamp says that it is done with this key and all it made is as it was."""
    stamp = read_json(job.path(folder, "json"))
    if not all(isinstance(stamp.get(part), dict) for part in ("key", "made")):  # none, or a damaged one
        return "never finished"
    if changes := differences(stamp["key"], key_of(job, digests)):
        return changes[0]
    for name, content in stamp["made"].items():
        if not resolve(name).is_file():
            return f"{name} is gone"
        if digests.of([resolve(name)])[name] != content:
            return f"{name} was changed since it was made"
    return None


def reason_to_train(job: Job, digests: Digests) -> str | None:
    """Why what lies in the folder of the run ``job`` cannot be gone on with; None where it can, or where nothing is."""
    if not job.run.exists():
        return None
    if not isinstance(before := read_json(job.run / RECEIPT).get("made_from"), dict):
        return "what it was trained from is not known"
    return next(iter(differences(before, trained_from(job, digests))), None)

"""Where everything lies: one place that knows the names of folders and files below ``build/<profile>``, and writes them whole."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

#: The repository: kitsnb is installed in editable mode, so the package's parent is the checkout.
ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
PAPER = ROOT / "paper"
#: Where cases come from, as notebooks call it: phantoms, real label maps with simulated CT, or a folder as it is.
SOURCES = ("phantom", "hybrid", "folder")
#: Of these the ones whose CT is made, below the build folder.
SIMULATED_SOURCES = ("phantom", "hybrid")


def resolve(path: str | Path) -> Path:
    """Absolute path of ``path``; relative ones are taken from the repository's root, not from the working folder.

    Notebooks run with different working folders (JupyterLab: ``notebooks/``, the runner: the root); this makes a
    parameter such as ``build/quick`` mean the same in both.
    """
    path = Path(path).expanduser()
    return path if path.is_absolute() else ROOT / path


def write_json(path: Path, content: object) -> None:
    """Write in one step, so that nobody reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{os.getpid()}-{path.name}")
    partial.write_text(json.dumps(content, indent=1))
    partial.replace(path)


@dataclass(frozen=True)
class Build:
    """Names of all outputs of one profile, below ``folder`` (usually ``build/<profile>``)."""

    folder: Path

    def __init__(self, folder: str | Path):
        object.__setattr__(self, "folder", resolve(folder))

    @property
    def data(self) -> Path:
        """Simulated cases in KiTS19's folder format (only where the profile simulates its data)."""
        return self.folder / "data"

    def cases(self, source: str, folder: str | Path | None) -> Path:
        """The folder of the cases of ``source``: ``data`` where their CT is simulated, else ``folder``."""
        return self.data if source in SIMULATED_SOURCES else resolve(folder)

    @property
    def data_analysis(self) -> Path:
        """``summary.json`` and ``cases.csv`` of notebook 01."""
        return self.folder / "data_analysis"

    @property
    def preprocessed(self) -> Path:
        """Volumes on the working grid, in KiTS19's folder format, and ``report.json``."""
        return self.folder / "preprocessed"

    @property
    def mapped(self) -> Path:
        """The same volumes as raw files that are mapped into memory, where training keeps them on disk."""
        return self.folder / "mapped"

    @property
    def losses(self) -> Path:
        """``summary.json`` of notebook 03: what the losses are like, and what that predicts."""
        return self.folder / "losses"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def run(self, experiment: str, seed: int, fold: int | None = None) -> Path:
        """One training run: ``history.csv``, ``checkpoints/``, ``predictions/``, ``scores.csv``, ``run.json``."""
        return self.runs / (f"{experiment}-seed{seed}" + ("" if fold is None else f"-fold{fold}"))

    @property
    def figures(self) -> Path:
        return self.folder / "figures"

    @property
    def results(self) -> Path:
        return self.folder / "results.json"

    @property
    def benchmarks(self) -> Path:
        return self.folder / "benchmarks.json"

    @property
    def paper(self) -> Path:
        return self.folder / "paper.pdf"

    @property
    def notebooks(self) -> Path:
        """Executed notebooks."""
        return self.folder / "notebooks"

    @property
    def stamps(self) -> Path:
        return self.folder / "stamps"

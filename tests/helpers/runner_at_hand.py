"""``kitsnb run`` in a process of its own, on dummy notebooks that train eight epochs in a moment; and how to wait."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import yaml

from kitsnb.files import ROOT

CELL = '# %% tags=["parameters"]\nprofile = "quick"\nexperiment, seed = "", 0\nchanges = {}\n\n# %%\n'
HEADER = (ROOT / "notebooks" / "04_training.py").read_text("utf-8").partition("# %%")[0]
#: Sections of a profile that trains nothing real.
SECTIONS = {
    "data": {"source": "phantom", "simulated": True, "training": [0, 2], "validation": [3, 4], "excluded": [1]},
    "training": {"epochs": 8, "patch_size": [16, 16, 16]},
    "prediction": {"overlap": [8, 8, 8]},
}
#: Trains eight epochs, from where the history ends, and keeps count of the epochs trained in all.
TRAINING = """
import os, signal, sys, time
from kitsnb.workflow.opened import open_study
opened = open_study(profile, changes)
run = opened.build.run(experiment, seed)
(run / "checkpoints").mkdir(parents=True, exist_ok=True)
(run / "kernel").write_text(f"{os.getpid()} {os.getppid()}")
history = run / "history.csv"
done = len(history.read_text().splitlines()) - 1 if history.exists() else 0
rows = ["epoch,seconds,training_loss,validation_loss,validation_tumour"]
rows += [f"{epoch},0.5,1,1,1" for epoch in range(1, done + 1)]
for epoch in range(done + 1, 9):
    time.sleep(PACE)
    with (run / "trained").open("a") as file:
        file.write(f"{epoch}\\n")
    rows.append(f"{epoch},0.5,1,1,1")
    (run / "partial").write_text("\\n".join(rows) + "\\n")
    (run / "partial").replace(history)
    (run / "checkpoints" / "last.ckpt").touch()
MORE
for name in ("scores.csv", "run.json"):
    (run / name).write_text(f"{opened.profile.prediction.overlap}")
"""


def training(more: str = "", pace: float = 0.15) -> dict:
    """Work of notebook 04 with ``more`` after the epochs, each of which takes ``pace`` seconds."""
    return {"04_training.py": TRAINING.replace("MORE", more).replace("PACE", str(pace))}


def make(folder: Path, work: dict | None = None, **content) -> tuple[Path, Path]:
    """Write dummy notebooks with ``work`` (by name) and a profile in ``folder``; return its path, and theirs."""
    notebooks = folder / "notebooks"
    notebooks.mkdir(exist_ok=True)
    for name in ("01_data_analysis", "02_preprocessing", "03_losses", "04_training", "05_results"):
        (notebooks / f"{name}.py").write_text(f"{HEADER}{CELL}{(work or {}).get(f'{name}.py', '')}\n")
    rows = [{"name": "a", "loss": "dice"}, {"name": "b", "loss": "tversky"}]
    path = folder / "dummy.yml"
    path.write_text(yaml.safe_dump({"stages": ["data_analysis", "training", "results"], "experiments": rows}
                                   | SECTIONS | content))
    return path, notebooks


def until(true, seconds: float = 120) -> None:
    """Wait until ``true()``; fail after ``seconds``."""
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def processes_below(folder: Path) -> list[int]:
    """List processes that name ``folder`` in their command: whatever a run of a build in it has started."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = process.cmdline()
            if process.pid != os.getpid() and any(str(folder) in word for word in words) and alive(process.pid):
                found.append(process.pid)
    return found


class Runner:
    """``kitsnb run`` in a process of its own."""

    def __init__(self, folder: Path, work: dict | None = None, launch: str = "", runs_at_a_time: int = 2, **content):
        path, notebooks = make(folder, work or training(), **{"stages": ["training"]} | content)
        self.build = folder / "build"
        self.log = folder / "log"
        code = ("import sys; from pathlib import Path; from kitsnb.workflow import jobs; from kitsnb.__main__ import app;"
                "jobs.NOTEBOOKS = Path(sys.argv.pop()); app()")
        words = ["run", path, "--build", self.build, "--runs-at-a-time", runs_at_a_time, "--launch", launch, notebooks]
        self.command = [sys.executable, "-c", code, *map(str, words)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(self.command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
                                            stdout=log, stderr=log, start_new_session=True)

    def run(self, experiment: str) -> Path:
        return self.build / "runs" / f"{experiment}-seed0"

    def epochs(self, experiment: str) -> int:
        """Count the epochs trained in all, those that were trained twice counted twice."""
        trained = self.run(experiment) / "trained"
        return len(trained.read_text().split()) if trained.exists() else 0

    def kernel(self, experiment: str) -> int:
        return int((self.run(experiment) / "kernel").read_text().split()[0])

    def executor(self, experiment: str) -> int:
        """Return the process that executes the run's notebook."""
        return int((self.run(experiment) / "kernel").read_text().split()[1])

    def until(self, true) -> None:
        """Wait until ``true()``, or fail with what was said where the runner ends before."""
        def ended() -> bool:
            assert self.process.poll() is None, self.said()
            return true()

        until(ended)

    def status(self) -> int:
        return self.process.wait(300)

    def said(self) -> str:
        return self.log.read_text()


@contextmanager
def runner(*arguments, **content) -> Iterator[Runner]:
    one = Runner(*arguments, **content)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.wait()

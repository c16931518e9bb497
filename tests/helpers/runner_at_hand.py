"""``run_profile`` in a process of its own, on dummy notebooks that train eight epochs in a moment; and how to wait for it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from kitsnb.files import ROOT, read_json

HEADER = (ROOT / "notebooks" / "04_training.py").read_text().partition("# %%")[0]
PARAMETERS = {
    "01_data_analysis.py": "folds = None",
    "02_preprocessing.py": "",
    "03_losses.py": "experiments = []",
    "04_training.py": 'experiment = ""\ntitle = ""\nloss = ""\nloss_parameters = {}\nseed = 0\nfold = folds = None\n',
    "05_results.py": "experiments = []\nseeds = [0]\nprofile = {}\nfolds = None",
}
#: Parameters of notebook 04 beside what the runner gives.
SETTINGS = {"epochs": 8, "overlap": [8, 8, 8], "source": "phantom", "simulated": True, "training": [0, 2], "validation": [3, 4],
            "excluded": [1]}
PARAMETERS["04_training.py"] += "\n".join(f"{name} = {value!r}" for name, value in SETTINGS.items())
#: Trains eight epochs, from where the history ends, and keeps count of the epochs trained in all.
TRAINING = """
import os, signal, sys, time
from kitsnb.files import Build
run = Build(build).run(experiment, seed)
(run / "checkpoints").mkdir(parents=True, exist_ok=True)
(run / "kernel").write_text(str(os.getpid()))
history = run / "history.csv"
done = len(history.read_text().splitlines()) - 1 if history.exists() else 0
rows = ["epoch,seconds"] + [f"{epoch},0.5" for epoch in range(1, done + 1)]
for epoch in range(done + 1, 9):
    time.sleep(0.25)
    with (run / "trained").open("a") as file:
        file.write(f"{epoch}\\n")
    rows.append(f"{epoch},0.5")
    (run / "partial").write_text("\\n".join(rows) + "\\n")
    (run / "partial").replace(history)
    (run / "checkpoints" / "last.ckpt").touch()
{more}
for name in ("scores.csv", "run.json"):
    (run / name).write_text(f"{loss_parameters} {overlap}")
"""


def training(more: str = "") -> dict:
    """Work of notebook 04 with ``more`` after the epochs."""
    return {"04_training.py": TRAINING.replace("{more}", more)}


def make(folder: Path, work: dict = {}, **profile) -> tuple[Path, Path]:  # noqa: B006
    """Dummy notebooks with ``work`` (by name; nothing where it is not given) and a profile in ``folder``: its path, and theirs."""
    notebooks = folder / "notebooks"
    notebooks.mkdir(exist_ok=True)
    for name, parameters in PARAMETERS.items():
        cell = f'# %% tags=["parameters"]\nbuild = ""\nby_runner = False\n{parameters}\n\n# %%\n'
        (notebooks / name).write_text(f"{HEADER}{cell}{work.get(name, '')}\n")
    profile["training"] = SETTINGS | profile.get("training", {})
    content = {"simulated": True, "stages": ["data_analysis", "training", "results"],
               "experiments": [{"name": "a", "loss": "dice"}, {"name": "b", "loss": "tversky"}]} | profile
    path = folder / "dummy.yml"
    path.write_text(yaml.safe_dump(content))
    return path, notebooks


def until(true, seconds: float = 120) -> None:
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def processes_below(folder: Path) -> list[int]:
    """Processes that name ``folder`` in their command: whatever a run of a build in it has started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if str(folder).encode() in (entry / "cmdline").read_bytes() and alive(int(entry.name)):
                    found.append(int(entry.name))
            except OSError:
                pass
    return found


class Runner:
    """``run_profile`` in a process of its own, with ``options`` of it."""

    def __init__(self, folder: Path, work: dict | None = None, options: dict = {}, **profile):  # noqa: B006
        path, notebooks = make(folder, work or training(), **{"stages": ["training"]} | profile)
        self.folder, self.build, self.log = folder, folder / "build", folder / "log"
        code = ("import json, sys; from pathlib import Path; from kitsnb.workflow.profile import load;"
                "from kitsnb.workflow.run import run_profile; path, notebooks, build, options = sys.argv[1:];"
                "sys.exit(run_profile(load(path, notebooks=Path(notebooks), build=build), **json.loads(options)))")
        command = [sys.executable, "-c", code, path, notebooks, self.build, json.dumps({"runs_at_a_time": 2} | options)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=log,
                                            stderr=log, start_new_session=True)

    def run(self, experiment: str) -> Path:
        return self.build / "runs" / f"{experiment}-seed0"

    def epochs(self, experiment: str) -> int:
        """Epochs trained in all, those that were trained twice counted twice."""
        trained = self.run(experiment) / "trained"
        return len(trained.read_text().split()) if trained.exists() else 0

    def kernel(self, experiment: str) -> int:
        return int((self.run(experiment) / "kernel").read_text())

    def mark(self, experiment: str) -> dict:
        return read_json(self.build / "stamps" / f"training-{experiment}-seed0.mark")

    def executor(self, experiment: str) -> int:
        """The process that executes the run's notebook."""
        return int(self.mark(experiment)["where"].split()[1])

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
def runner(*arguments, **profile) -> Iterator[Runner]:
    one = Runner(*arguments, **profile)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.wait()

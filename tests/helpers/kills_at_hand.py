"""A training that is killed again and again: real processes, SIGKILL, moments drawn from a seed. Also a command:

    python tests/helpers/kills_at_hand.py FOLDER [--profile notebooks/profiles/quick.yml] [--experiment dice] [--kills 10] [--seed 0]

trains the experiment of the profile once without and once with kills in FOLDER and says whether both came to the same. The
profile's phantoms are made first, where they are not there. ``tiny`` as profile is a run of a second.
"""

import argparse
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import pandas as pd
import torch

from kitsnb.data.cases import discover, hold_out
from kitsnb.data.settings import DataSettings
from kitsnb.preprocessing.arrays import cases_below
from kitsnb.preprocessing.prepare import Preprocessing, preprocess_cases
from kitsnb.simulation.phantom import write_dataset
from kitsnb.training.checkpoints import RUN
from kitsnb.training.history import TIMING
from kitsnb.training.run import train
from kitsnb.training.settings import Training

TINY = Training(network={"base_filters": 4, "depth": 2}, patch_size=(16, 16, 16), batch_size=2, steps_per_epoch=6, epochs=50,
                learning_rate=1e-3, foreground=1.0, loss_parameters={"batch": True}, plateau_patience=1,
                minimum_learning_rate=1e-7, stop_patience=50)


def tiny_run(folder: Path) -> tuple:
    """Settings and cases of a run whose epochs take some hundredths of a second."""
    if not (folder / "grid").exists():
        preprocess_cases(write_dataset(folder / "data", 3, 0), folder / "grid", Preprocessing(spacing=(8, 8, 8), resize_in_plane=None))
    prepared = discover(folder / "grid")
    return TINY, prepared[:2], prepared[2:]


def profile_run(folder: Path, path: Path, experiment: str) -> tuple:
    """Settings and cases of an experiment of a profile of phantoms, as the notebooks would take them."""
    from kitsnb.workflow.jobs import build_jobs
    from kitsnb.workflow.profile import load

    profile = load(path, build=str(folder.absolute()))
    told = next(job.parameters for job in build_jobs(profile) if job.parameters.get("experiment") == experiment)
    given, build = profile.parameters, profile.build
    phantoms = given["data_analysis"]
    if not build.preprocessed.exists():
        cases = write_dataset(build.data, phantoms["phantom_cases"], phantoms["phantom_seed"])
        chosen = {name: given["preprocessing"][name] for name in Preprocessing.model_fields if name in given["preprocessing"]}
        preprocess_cases(cases, build.preprocessed, Preprocessing(**chosen))
    split = hold_out(discover(build.data), DataSettings.among(told))
    settings = Training(**{name: told[name] for name in Training.model_fields})
    return settings, *(cases_below(build.preprocessed, part) for part in (split.training, split.validation))


def start(run: Path, task: tuple) -> int:
    """A process that trains in ``run``: this one's copy, so that nothing has to be imported again. Its id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        sys.stdout = open(run.with_suffix(".log"), "a")
        train(*task, run)
        status = 0
    finally:
        sys.stdout.flush()
        os._exit(status)


def epochs_done(run: Path) -> int:
    """Epochs in the last checkpoint."""
    last = run / "checkpoints" / "last.ckpt"
    return len(torch.load(last)[RUN]["rows"]) if last.exists() else 0


def kill_often(run: Path, task: tuple, kills: int, seconds: float, seed: int) -> list[dict]:
    """Train in ``run``, killed ``kills`` times on the way to the end: every third time while a checkpoint is being written.

    A kill comes some epochs after the one before, perhaps none, and then at any moment of an epoch; the number and the moment
    are drawn. ``seconds`` is what an uninterrupted run takes. Returns what was found after each kill.
    """
    epochs, history = task[0].epochs, run / "history.csv"

    def lives() -> bool:
        return not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)

    def told() -> int:
        return len(history.read_text().splitlines()) - 1 if history.exists() else 0

    chance, found = random.Random(seed), []
    partials = [f".*-{name}.ckpt" for name in ("best", "last")]
    while len(found) < kills:
        before, writing = epochs_done(run), len(found) % 3 == 2
        child = start(run, task)
        goal = min(before + chance.randrange(max(2, 3 * epochs // (2 * kills))), epochs - 3)
        while told() < goal and lives():
            time.sleep(0.001)
        delay = chance.random() * seconds / epochs
        time.sleep(delay)
        wanted = partials[chance.randrange(2) if before < 2 else 1]
        while writing and not any((run / "checkpoints").glob(wanted)) and lives():
            pass
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        if not os.WIFSIGNALED(status):
            raise RuntimeError(f"the run ended before kill {len(found) + 1} of {kills}; see {run.with_suffix('.log')}")
        found.append({"seconds_into_epoch": round(delay, 3), "from": before, "epochs": epochs_done(run),
                      "half_written": any((run / "checkpoints").glob(".*.ckpt"))})
        print(f"kill {len(found)}: {found[-1]}", flush=True)
    return found


def same(first: Path, second: Path) -> bool:
    """Are weights (best and last), and history but for the times, equal to the last bit?"""
    tables = [pd.read_csv(run / "history.csv").drop(columns=list(TIMING)) for run in (first, second)]
    equal = tables[0].equals(tables[1])
    for name in ("best", "last"):
        one, other = (torch.load(run / "checkpoints" / f"{name}.ckpt")["state_dict"] for run in (first, second))
        equal &= one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    return equal


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--profile", default="notebooks/profiles/quick.yml")
    parser.add_argument("--experiment", default="dice")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)  # a process with threads cannot be forked
    given.folder.mkdir(parents=True, exist_ok=True)
    task = tiny_run(given.folder) if given.profile == "tiny" else profile_run(given.folder, Path(given.profile), given.experiment)
    task = (task[0].changed(devices=1), *task[1:])
    whole, cut = given.folder / "whole", given.folder / "killed"
    began = time.monotonic()
    os.waitpid(start(whole, task), 0)
    seconds = time.monotonic() - began
    found = kill_often(cut, task, given.kills, seconds, given.seed)
    os.waitpid(start(cut, task), 0)
    rates = pd.read_csv(cut / "history.csv").learning_rate
    report = {"kills": found, "epochs": epochs_done(cut), "uninterrupted_seconds": round(seconds, 1),
              "learning_rates": int(rates.nunique()), "equal": same(whole, cut)}
    (given.folder / "report.json").write_text(json.dumps(report, indent=1))
    print(f"{len(found)} kills, {sum(kill['half_written'] for kill in found)} of them while a checkpoint was written; "
          f"{report['epochs']} epochs; weights and history {'are equal to the last bit' if report['equal'] else 'DIFFER'}")
    return 0 if report["equal"] else 1


if __name__ == "__main__":
    sys.exit(main())

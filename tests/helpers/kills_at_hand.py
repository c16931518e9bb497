"""A training that is killed again and again, by SIGKILL: ``python tests/helpers/kills_at_hand.py FOLDER [KILLS]``.

Trains a tiny run once without and once with kills in FOLDER, four of them while it saves, and fails where the two
differ in a bit of weights or history. Each process is a copy of this one, so that nothing has to be imported again.
Started with OMP_NUM_THREADS=1, this one has no second thread, not even one of BLAS: a copy lacks those, and may hang.
"""

import os
import random
import signal
import sys
from pathlib import Path

import torch
import torch._dynamo  # which an optimizer imports  # noqa: F401
from training_at_hand import TINY, assert_same_run, table
from volumes_at_hand import write_simulated_cases

from kitsnb.training import run

SETTINGS = TINY.changed(epochs=16, learning_rate=1e-4, plateau_patience=0, minimum_learning_rate=1e-12,
                        stop_patience=16, steps_per_epoch=2)
#: Where in saving a process dies: in which call of what. The first epoch saves both checkpoints.
SAVING = {"best saved, last not": (run, "save_checkpoint", 2), "half written": (torch, "save", 4),
          "not renamed": (os, "fsync", 3), "renamed, not in the history": (run, "write_history", 3)}

#: No copy works as long as this; one that hangs is ended, and seen in its status.
SECONDS = 120


def die_in_call(module, name: str, number: int) -> None:
    """Arrange that this process dies in the ``number``-th call of a function, with half a file where it writes one."""
    real = getattr(module, name)
    calls = []

    def function(*arguments):
        calls.append(arguments)
        if len(calls) == number:
            if name == "save":
                arguments[1].write(b"PK" * 1000)
                arguments[1].flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)

    setattr(module, name, function)


def run_in_child(task: tuple, folder: Path, place: tuple = (), seconds: float = 0.0) -> float | None:
    """Train in a copy of this process, killed at ``place`` or when it has computed for ``seconds``; None if it was."""
    child = os.fork()
    if not child:
        signal.alarm(SECONDS)
        sys.stdout = open(folder.with_suffix(".log"), "a")
        if place:
            die_in_call(*place)
        signal.signal(signal.SIGPROF, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            run.train(*task, folder)
            os._exit(0)
        finally:
            os._exit(1)
    _, status, usage = os.wait4(child, 0)
    assert status in (0, signal.SIGKILL), f"see {folder.with_suffix('.log')}"
    return None if status else usage.ru_utime + usage.ru_stime


def main(folder: Path, kills: int) -> None:
    torch.set_num_threads(1)
    assert len(os.listdir("/proc/self/task")) == 1, "set OMP_NUM_THREADS=1: a process with threads cannot be copied"
    task = (SETTINGS, *write_simulated_cases(folder / "preprocessed"))
    seconds = run_in_child(task, folder / "whole")
    chance = random.Random(0)
    epochs = []
    for number, where in enumerate([*SAVING, *["at a moment"] * kills][:kills]):
        moment = 0.0 if where in SAVING else chance.random() * seconds / kills
        killed = run_in_child(task, folder / "cut", SAVING.get(where, ()), moment) is None
        assert killed, f"the run ended before kill {number + 1}"
        history = folder / "cut" / "history.csv"
        epochs.append(len(table(folder / "cut")) if history.exists() else 0)
        print(f"kill {number + 1}, {where}: {epochs[-1]} epochs in the history", flush=True)
    assert run_in_child(task, folder / "cut") is not None
    assert_same_run(folder / "whole", folder / "cut")
    assert epochs[-1] < SETTINGS.epochs and len(set(epochs)) > 2 and table(folder / "cut").learning_rate.nunique() > 1
    print("equal to the last bit")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int((sys.argv[2:] or ["10"])[0]))

"""A training that is killed again and again, by SIGKILL: ``python tests/helpers/kills_at_hand.py FOLDER``.

Trains a tiny run in FOLDER once without and once with kills, and fails where the two differ in a bit of weights or
history. Each process is a copy of this one, so that nothing has to be imported again. Started with OMP_NUM_THREADS=1,
this one has no second thread, not even one of BLAS: a copy lacks those, and may hang.
"""

import os
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
#: Where a process dies: in which call of what. The first epoch saves both checkpoints.
KILLS = {"best saved, last not": (run, "save_checkpoint", 2), "half written": (torch, "save", 4),
         "not renamed": (os, "fsync", 3), "renamed, not in the history": (run, "write_history", 3),
         "in a step": (run, "evaluate", 6)}
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


def run_in_child(task: tuple, folder: Path, place: tuple = ()) -> int:
    """Train in a copy of this process, killed at ``place``; return its status."""
    child = os.fork()
    if not child:
        signal.alarm(SECONDS)
        if place:
            die_in_call(*place)
        try:
            run.train(*task, folder)
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1]


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    assert len(os.listdir("/proc/self/task")) == 1, "set OMP_NUM_THREADS=1: a process with threads cannot be copied"
    task = (SETTINGS, *write_simulated_cases(folder / "preprocessed"))
    assert run_in_child(task, folder / "whole") == 0
    epochs = []
    for where, place in KILLS.items():
        assert run_in_child(task, folder / "cut", place) == signal.SIGKILL, where
        history = folder / "cut" / "history.csv"
        epochs.append(len(table(folder / "cut")) if history.exists() else 0)
    assert run_in_child(task, folder / "cut") == 0
    assert_same_run(folder / "whole", folder / "cut")
    assert epochs[-1] < SETTINGS.epochs and len(set(epochs)) > 2 and table(folder / "cut").learning_rate.nunique() > 1


if __name__ == "__main__":
    main(Path(sys.argv[1]))

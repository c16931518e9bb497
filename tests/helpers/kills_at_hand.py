"""A training that is killed again and again, by SIGKILL: ``python tests/helpers/kills_at_hand.py FOLDER [KILLS]``.

Trains a tiny run once without and once with kills in FOLDER, four of them while it saves, and fails where the two
differ in a bit of weights or history. Each process is a copy of this one, so that nothing has to be imported again.
"""

import os
import random
import signal
import sys
from functools import partial
from pathlib import Path

import torch
import torch._dynamo  # which an optimizer imports  # noqa: F401
from training_at_hand import TINY, assert_same_run, table
from volumes_at_hand import write_simulated_cases

from kitsnb.training import checkpoints
from kitsnb.training.run import train

SETTINGS = TINY.changed(epochs=40, learning_rate=1e-4, plateau_patience=0, minimum_learning_rate=1e-12,
                        stop_patience=40, steps_per_epoch=2)
#: Where in saving a process dies; the first is certain to come in the first epoch alone.
SAVING = ("best saved, last not", "half written", "not renamed", "renamed, not in the history")


def die(*_) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_while_saving(where: str, number: int) -> None:
    """Arrange that this process dies in the ``number``-th checkpoint that it saves."""
    seen = []
    real = checkpoints.save_checkpoint

    def save(state: dict, path: Path) -> None:
        seen.append(path)
        last_one = len(seen) >= number
        if last_one and where == "half written":
            torch.save = lambda state, file: (file.write(b"PK" * 1000), file.flush(), die())
        if last_one and where == "not renamed":
            os.fsync = die
        real(state, path)
        if last_one and (where.startswith("renamed") or path.name == "best.ckpt"):
            die()

    sys.modules["kitsnb.training.run"].save_checkpoint = save


def die_after(seconds: float) -> None:
    """Arrange that this process dies when it has computed for ``seconds``, as a loaded machine counts them, too."""
    signal.signal(signal.SIGPROF, die)
    signal.setitimer(signal.ITIMER_PROF, seconds)


def run_in_child(task: tuple, run: Path, arrange=lambda: None) -> float | None:
    """Train in a copy of this process; return the seconds that it computed, or None where it was killed."""
    child = os.fork()
    if not child:
        try:
            sys.stdout = open(run.with_suffix(".log"), "a")
            arrange()
            train(*task, run)
            os._exit(0)
        finally:
            os._exit(1)
    _, status, usage = os.wait4(child, 0)
    assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL, f"see {run.with_suffix('.log')}"
    return None if status else usage.ru_utime + usage.ru_stime


def main(folder: Path, kills: int) -> None:
    torch.set_num_threads(1)  # a process with threads cannot be copied
    found = write_simulated_cases(folder / "preprocessed", [(20, 24, 22), (24, 20, 26), (22, 22, 22)])
    task = (SETTINGS, found[:2], found[2:])
    seconds = run_in_child(task, folder / "whole")
    chance = random.Random(0)
    epochs = []
    for number in range(kills):
        if number % 2 == 0 and number < 2 * len(SAVING):
            where = SAVING[number // 2]
            arrange = partial(die_while_saving, where, chance.randrange(2, 6) if number else 1)
        else:
            where = "at a moment"
            arrange = partial(die_after, chance.random() * seconds / (kills + 2))
        assert run_in_child(task, folder / "cut", arrange) is None, f"the run ended before kill {number + 1}"
        epochs.append(len(table(folder / "cut")) if (folder / "cut" / "history.csv").exists() else 0)
        print(f"kill {number + 1}, {where}: {epochs[-1]} epochs in the history", flush=True)
    assert run_in_child(task, folder / "cut") is not None
    assert_same_run(folder / "whole", folder / "cut")
    assert epochs[-1] < SETTINGS.epochs and len(set(epochs)) > 2 and table(folder / "cut").learning_rate.nunique() > 1
    print("equal to the last bit")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int((sys.argv[2:] or ["10"])[0]))

"""A training of seconds, and how two runs are told apart."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from kitsnb.training import run
from kitsnb.training.settings import Training

TINY = Training(network={"base_filters": 2, "depth": 1}, patch_size=(8, 8, 8), batch_size=2, steps_per_epoch=3,
                epochs=4, learning_rate=1e-2, foreground=1.0, loss_parameters={"batch": True})


#: Columns of history.csv that two equal runs do not share.
TIMING = ("seconds", "patches_per_second")


def table(folder: Path) -> pd.DataFrame:
    """Read history.csv without ``TIMING``."""
    return pd.read_csv(folder / "history.csv").drop(columns=list(TIMING))


def assert_same_run(first: Path, second: Path) -> None:
    """Assert that history and weights, best and last, are equal to the last bit."""
    pd.testing.assert_frame_equal(table(first), table(second), check_exact=True)
    for name in ("best", "last"):
        one, other = (torch.load(run / "checkpoints" / f"{name}.ckpt") for run in (first, second))
        for part in ("network", "loss"):
            assert one[part].keys() == other[part].keys()
            assert all(torch.equal(one[part][key], other[part][key]) for key in one[part])


class Killed(BaseException):
    """What a test raises where a process would have been killed: nothing handles it."""


def cut(monkeypatch, name: str, settings: Training, cases, folder: Path, calls: int) -> None:
    """Train until the function ``name`` of the loop has been called ``calls`` times, and die in the next call."""
    real = getattr(run, name)
    seen = []

    def function(*arguments):
        seen.append(arguments)
        if len(seen) > calls:
            raise Killed
        return real(*arguments)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(run, name, function)
        run.train(settings, *cases, folder)

"""A training of seconds, and how two runs are told apart."""

from pathlib import Path

import pandas as pd
import torch

from kitsnb.training.history import TIMING
from kitsnb.training.settings import Training

TINY = Training(network={"base_filters": 2, "depth": 2}, patch_size=(16, 16, 16), batch_size=2, steps_per_epoch=3, epochs=4,
                learning_rate=1e-2, foreground=1.0, loss_parameters={"batch": True})


def table(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "history.csv").drop(columns=list(TIMING))


def assert_same_run(first: Path, second: Path) -> None:
    pd.testing.assert_frame_equal(table(first), table(second), check_exact=True)
    for name in ("best", "last"):
        states = [torch.load(run / "checkpoints" / f"{name}.ckpt")["state_dict"] for run in (first, second)]
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])

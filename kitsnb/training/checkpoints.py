"""Checkpoints: written whole or not at all, and gone on from only by the run they belong to."""

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins import TorchCheckpointIO

from kitsnb.files import replaced
from kitsnb.training.history import History, best_row
from kitsnb.training.settings import Training
from kitsnb.unet import UNet3D

#: Where a checkpoint keeps what the run is and what it told so far, beside what Lightning keeps.
RUN = "kitsnb"


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes beside the checkpoint, then renames: who is killed on the way leaves the former checkpoint as it was.

    Lightning's own moves a file from the folder for temporary files, where a move is mostly a copy.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        with replaced(Path(path)) as partial, partial.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())  # a loss of power after the renaming finds it whole


class Checkpoints(Checkpoint):
    """Saves ``best.ckpt`` (lowest validation loss), then ``last.ckpt``, when all of an epoch is done.

    Lightning's ModelCheckpoint saves before the learning rate is lowered, and forgets which epoch was best when the
    folder is moved. A run killed between the two goes on from the older last.ckpt, and comes to the same best.ckpt.
    """

    def __init__(self, folder: Path, history: History, belongs: dict, facts: dict):
        self.folder, self.history, self.belongs, self.facts = folder, history, belongs, facts

    def on_train_epoch_end(self, trainer, module) -> None:
        rows = self.history.rows
        for name in ("best", "last") if best_row(rows) is rows[-1] else ("last",):
            trainer.save_checkpoint(self.folder / f"{name}.ckpt")

    def on_save_checkpoint(self, trainer, module, checkpoint: dict) -> None:
        checkpoint[RUN] = {"belongs": self.belongs, "rows": self.history.rows, "peak": self.history.peak, **self.facts}


def read_checkpoint(path: Path) -> dict:
    """The checkpoint at ``path``, on the CPU. RuntimeError that names the file where it is damaged."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError, KeyError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RuntimeError(
            f"{path} is damaged ({reason}). Put a copy of best.ckpt in its place to go on from the best epoch, or move "
            f"the run's folder away to train anew") from error


def checkpoint_to_resume(folder: Path, belongs: dict) -> dict | None:
    """What the last checkpoint in ``folder`` says of its run (``Checkpoints``); None where there is none.

    Half-written checkpoints of a killed process are removed. Raises ``ValueError`` that names the difference when the
    checkpoint belongs to another run: other settings, number of devices or cases.
    """
    for partial in folder.glob("checkpoints/.*.ckpt"):
        partial.unlink(missing_ok=True)
    last = folder / "checkpoints" / "last.ckpt"
    if not last.exists():
        return None
    run = read_checkpoint(last).get(RUN)
    if run is None:
        raise ValueError(f"{last} does not say what it belongs to; it is from another version. "
                         f"Move {folder} away to train anew")
    different = [f"{key}: {_short(run['belongs'].get(key))} there, {_short(belongs[key])} now"
                 for key in belongs if run["belongs"].get(key) != belongs[key]]
    if different:
        raise ValueError(f"{folder} holds a run with other settings ({'; '.join(different)}); move it away to train "
                         "anew")
    return run


def _short(value: object) -> str:
    if isinstance(value, list) and len(value) > 4:
        return f"{len(value)} ({value[0]} to {value[-1]})"
    return str(value)


def load_network(folder: Path, settings: Training) -> UNet3D:
    """The network of a run, with the weights of its best checkpoint, ready to predict."""
    network = UNet3D(**settings.network.model_dump())
    state = torch.load(folder / "checkpoints" / "best.ckpt", map_location="cpu", weights_only=True)["state_dict"]
    network.load_state_dict({k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")})
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return network.to(device, memory_format=torch.channels_last_3d).eval()

"""Checkpoints: written whole or not at all, and resumed only by the run they belong to."""

import os
from pathlib import Path
from typing import Any

import torch

from kitsnb.files import replaced
from kitsnb.training.settings import Training
from kitsnb.unet import UNet3D


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write ``state`` as ``path``; a process killed on the way leaves the former checkpoint as it was."""
    with replaced(path) as partial, partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())  # so that a loss of power after the renaming finds it whole


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read the checkpoint at ``path`` onto the CPU; RuntimeError where it is damaged."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, by where the damage is
        raise RuntimeError(f"{path} is damaged or missing. Put a copy of best.ckpt in its place to go on "
                           "from the best epoch, or move the run's folder away to train again") from error


def checkpoint_to_resume(folder: Path, belongs: dict[str, Any]) -> dict[str, Any] | None:
    """Read the last checkpoint in ``folder``, if any; ValueError where it is not of the settings in ``belongs``."""
    for partial in folder.rglob(".[0-9]*-*"):  # half-written files of a killed process
        partial.unlink()
    path = folder / "checkpoints" / "last.ckpt"
    if not path.exists():
        return None
    saved = read_checkpoint(path)
    for key, here in belongs.items():
        there = saved["belongs"].get(key)
        if there != here:
            raise ValueError(f"{folder} holds another run ({key} is {there!s:.200} there, {here!s:.200} here); "
                             "move it away to train again")
    return saved


def load_network(folder: Path, settings: Training) -> UNet3D:
    """Return the network of a finished run, ready to predict, with the weights that ``settings.weights`` names."""
    network = UNet3D(**settings.network.model_dump())
    checkpoint = read_checkpoint(folder / "checkpoints" / f"{settings.weights}.ckpt")
    network.load_state_dict(checkpoint["network"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return network.to(device, memory_format=torch.channels_last_3d).eval()

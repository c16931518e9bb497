"""A finished training run as what predicts: its network, and the settings that belong to it."""

import json
import pickle
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from kitsnb.data.nifti import CaseError
from kitsnb.files import Build
from kitsnb.inference.sliding_window import Window
from kitsnb.preprocessing.prepare import Preprocessing
from kitsnb.training.checkpoints import load_network
from kitsnb.training.settings import Training


@dataclass(frozen=True)
class Trained:
    """What a finished run predicts with; ``simulated``: was it trained on simulated CT? None where ``run.json`` does not say."""

    network: nn.Module
    window: Window
    preprocessing: Preprocessing
    simulated: bool | None


def load_run(folder: Path) -> Trained:
    """The network of a training run's ``folder``, with the settings that belong to it.

    They are in ``run.json`` there, and in ``preprocessed/report.json`` of the profile's folder two levels up. Raises
    CaseError, which names the run, where something is missing or the checkpoint belongs to other settings.
    """
    folder = folder.resolve()
    build = Build(folder.parent.parent)
    if not (folder / "run.json").is_file() and (folder / "runs").is_dir():
        found = ", ".join(sorted(path.parent.name for path in (folder / "runs").glob("*/run.json"))) or "none yet"
        raise CaseError(folder.name, "run.json", "is missing in a profile's folder", f"give one of its runs ({found})")
    record = _json(folder.name, folder / "run.json", "give the folder of a finished run, such as build/quick/runs/dice-seed0")
    settings = record.get("settings", {})
    lacking = [key for key in ("network", "patch_size", "overlap") if key not in settings]
    if lacking:
        raise CaseError(folder.name, "run.json", f"settings lack {', '.join(lacking)}", "train anew with this version of kitsnb")
    report = _json(folder.name, build.preprocessed / "report.json", "run the profile's notebook 02_preprocessing")
    try:
        preprocessing = Preprocessing.checked(report["settings"])
    except (KeyError, TypeError, ValueError) as error:
        raise CaseError(folder.name, "report.json", f"{error}", "run the profile's notebook 02_preprocessing anew") from error
    window = Window(patch_size=settings["patch_size"], overlap=settings["overlap"])
    return Trained(_network(folder, settings), window, preprocessing, record.get("simulated"))


def _json(name: str, path: Path, advice: str) -> dict:
    if not path.is_file():
        raise CaseError(name, path.name, f"{path} is missing", advice)
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise CaseError(name, path.name, f"{path} is no JSON: {error}", advice) from error


def _network(folder: Path, settings: dict) -> nn.Module:
    """The weights of the best epoch, once it is sure that they were trained with ``settings``."""
    started = _json(folder.name, folder / "settings.json", "train anew: nothing says what the checkpoints belong to")
    different = [f"{key}: {value} there, {settings[key]} in run.json" for key, value in started.items()
                 if key in settings and settings[key] != value]
    if different:
        raise CaseError(folder.name, "settings.json", f"the checkpoints belong to other settings ({'; '.join(different)})",
                        "finish that training, which writes run.json anew")
    checkpoint = folder / "checkpoints" / "best.ckpt"
    if not checkpoint.is_file():
        raise CaseError(folder.name, "best.ckpt", f"{checkpoint} is missing", "train the run anew")
    try:
        return load_network(folder, Training.checked({key: settings[key] for key in Training.model_fields if key in settings}))
    except (RuntimeError, TypeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise CaseError(folder.name, "best.ckpt", f"does not fit run.json's network: {reason}", "train the run anew") from error

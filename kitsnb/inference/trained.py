"""A finished training run as what predicts: its network, and the settings that belong to it."""

import json
import pickle
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from kitsnb.data.nifti import CaseError
from kitsnb.files import digest, write_json
from kitsnb.inference.window import Window
from kitsnb.preprocessing.prepare import Preprocessing
from kitsnb.training.checkpoints import load_network
from kitsnb.training.settings import Training

ANEW = "execute the run's notebook 04_training again, which writes run.json anew"


def write_run(folder: Path, facts: dict, preprocessing: dict, *settings: dict) -> dict:
    """Write ``run.json`` of a finished training in ``folder``: ``facts`` of it, and all settings that belong to it."""
    record = {**facts, "preprocessing": preprocessing,
              "settings": {key: value for part in settings for key, value in part.items()}}
    write_json(folder / "run.json", record)
    return record


@dataclass(frozen=True)
class Trained:
    """What a finished run predicts with. ``simulated``: was it trained on simulated CT? None: that is not known."""

    network: nn.Module
    window: Window
    preprocessing: Preprocessing
    simulated: bool | None
    checkpoint: str = ""  # its digest


def load_run(folder: Path) -> Trained:
    """The network of a training run's ``folder``, wherever that lies, with the settings that belong to it.

    Raises CaseError, which names the run, where something is missing or the checkpoint belongs to other settings.
    """
    folder = folder.resolve()
    if not (folder / "run.json").is_file() and (folder / "runs").is_dir():
        found = ", ".join(sorted(path.parent.name for path in (folder / "runs").glob("*/run.json"))) or "none yet"
        raise CaseError(folder.name, "run.json", "is missing in a profile's folder", f"give one of its runs ({found})")
    record = _json(folder, "run.json", "give the folder of a finished run, such as build/quick/runs/dice-seed0")
    started = _json(folder, "settings.json", "train anew: nothing says what the checkpoints belong to")
    try:
        settings = record["settings"]
        preprocessing = Preprocessing.checked(record["preprocessing"])
        window = Window.checked({key: settings[key] for key in ("patch_size", "overlap")})
        training = Training.among(settings)
    except KeyError as error:
        raise CaseError(folder.name, "run.json", f"does not say {error}", ANEW) from error
    except (TypeError, ValueError) as error:
        raise CaseError(folder.name, "run.json", str(error), ANEW) from error
    different = [f"{key}: {value} there, {settings[key]} in run.json" for key, value in started.items()
                 if settings.get(key, value) != value]
    if different:
        reason = f"the checkpoints belong to other settings ({'; '.join(different)})"
        raise CaseError(folder.name, "settings.json", reason, "finish that training, which writes run.json anew")
    checkpoint = folder / "checkpoints" / "best.ckpt"
    if not checkpoint.is_file():
        raise CaseError(folder.name, "best.ckpt", f"{checkpoint} is missing", "train the run anew")
    try:
        network = load_network(folder, training)
    except (RuntimeError, TypeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
        reason = f"does not fit run.json's network: {(str(error).strip().splitlines() or ['damaged'])[-1].strip()}"
        raise CaseError(folder.name, "best.ckpt", reason, "train the run anew") from error
    return Trained(network, window, preprocessing, record.get("simulated"), digest(checkpoint))


def _json(folder: Path, name: str, advice: str) -> dict:
    path = folder / name
    if not path.is_file():
        raise CaseError(folder.name, name, f"{path} is missing", advice)
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise CaseError(folder.name, name, f"{path} is no JSON: {error}", advice) from error

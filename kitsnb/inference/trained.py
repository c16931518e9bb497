"""A finished training run as what predicts: its network, and the settings that belong to it."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError
from torch import nn

from kitsnb.data.nifti import CaseError
from kitsnb.data.settings import DataSettings
from kitsnb.files import read_json, write_json
from kitsnb.inference.settings import Prediction
from kitsnb.preprocessing.settings import Preprocessing
from kitsnb.settings import Settings, problems
from kitsnb.training.checkpoints import load_network
from kitsnb.training.settings import Training

AGAIN = "execute the run's notebook 04_training again, which writes it"


class Sections(Settings):
    """The settings of a run, by room."""

    data: DataSettings
    preprocessing: Preprocessing
    training: Training
    prediction: Prediction


class Record(BaseModel):
    """What ``run.json`` must say; other facts of the run stand beside."""

    title: str
    simulated: bool
    training_cases: int
    settings: Sections

    @property
    def summary(self) -> str:
        kind = "simulated" if self.simulated else "real"
        return f"{self.title}: trained on {self.training_cases} cases of {kind} CT (source: {self.settings.data.source})"


@dataclass(frozen=True)
class Trained:
    """What a finished run predicts with, and what it says of its training."""

    folder: Path
    network: nn.Module
    record: Record


def write_run(folder: Path, facts: Mapping, sections: Mapping[str, Settings]) -> dict:
    """Write ``run.json`` of a finished training in ``folder``: ``facts``, and the settings of each room."""
    record = {**facts, "settings": {name: settings.as_json() for name, settings in sections.items()}}
    write_json(folder / "run.json", record)
    return record


def load_run(folder: Path) -> Trained:
    """Load the network of a training run's ``folder``, wherever that lies, with the settings that belong to it.

    Raises CaseError, which names the run, where something is missing or the checkpoint belongs to other settings.
    """
    folder = folder.resolve()
    if not (folder / "run.json").is_file():
        runs = ", ".join(sorted(path.parent.name for path in folder.glob("runs/*/run.json")))
        advice = f"give one of {folder}'s runs ({runs})" if runs else "give the folder of a finished run"
        raise CaseError(folder.name, "run.json", f"is missing in {folder}", advice)
    try:
        record = Record.model_validate(read_json(folder / "run.json"))
        training = record.settings.training
        record.settings.prediction.check(training.patch_size)
    except ValidationError as error:
        raise CaseError(folder.name, "run.json", "; ".join(problems(error, Record)), AGAIN) from error
    except ValueError as error:
        raise CaseError(folder.name, "run.json", str(error), AGAIN) from error
    if read_json(folder / "settings.json") != training.as_json():
        reason = "is missing, or of other settings than run.json"
        advice = "finish that training, which writes run.json again"
        raise CaseError(folder.name, "settings.json", reason, advice)
    try:
        network = load_network(folder, training)
    except (OSError, RuntimeError, TypeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
        reason = f"is missing, damaged, or does not fit run.json's network ({error})"
        raise CaseError(folder.name, f"{training.weights}.ckpt", reason, "train the run again") from error
    return Trained(folder, network, record)

"""A finished training run as what predicts: its network, and the settings that belong to it."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import nn

from kitsnb.data.nifti import CaseError
from kitsnb.data.settings import DataSettings
from kitsnb.files import read_json, write_json
from kitsnb.inference.settings import Prediction
from kitsnb.preprocessing.settings import Preprocessing
from kitsnb.settings import Settings
from kitsnb.training.checkpoints import load_network
from kitsnb.training.settings import Training

AGAIN = "execute the run's notebook 04_training again, which writes it"


class Sections(Settings):
    """The settings of a run, by room."""

    data: DataSettings
    preprocessing: Preprocessing
    training: Training
    prediction: Prediction


class Record(Settings, extra="ignore"):
    """What ``run.json`` must say; other facts of the run stand beside."""

    title: str
    simulated: bool
    training_cases: int
    settings: Sections


class Trained(NamedTuple):
    """What a finished run predicts with."""

    folder: Path
    network: nn.Module
    record: Record


def write_run(folder: Path, facts: Mapping, sections: Mapping[str, Settings]) -> None:
    """Write ``run.json`` of a finished training in ``folder``: ``facts``, and the settings of each room."""
    settings = {name: section.as_json() for name, section in sections.items()}
    write_json(folder / "run.json", {**facts, "settings": settings})


def load_run(folder: Path) -> Trained:
    """Load the network of a run's ``folder`` and its settings; CaseError where they are missing or not of one run."""
    folder = folder.resolve()
    if not (folder / "run.json").is_file():
        advice = "give the folder of a finished run, such as build/quick/runs/dice-seed0"
        raise CaseError(folder.name, "run.json", f"is missing in {folder}", advice)
    try:
        record = Record.checked(read_json(folder / "run.json"))
    except ValueError as error:
        raise CaseError(folder.name, "run.json", str(error), AGAIN) from error
    training = record.settings.training
    if read_json(folder / "settings.json") != training.as_json():
        raise CaseError(folder.name, "settings.json", "is missing, or of other settings than run.json", AGAIN)
    try:
        network = load_network(folder, training)
    except (RuntimeError, LookupError, TypeError) as error:
        reason = f"is missing, damaged, or does not fit run.json's network ({error})"
        raise CaseError(folder.name, f"{training.weights}.ckpt", reason, "train the run again") from error
    return Trained(folder, network, record)

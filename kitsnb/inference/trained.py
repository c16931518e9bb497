"""A finished training run as what predicts: its network, and the settings that belong to it."""

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from kitsnb.data.nifti import CaseError
from kitsnb.data.settings import DataSettings
from kitsnb.files import read_json, write_json
from kitsnb.inference.settings import Prediction
from kitsnb.preprocessing.settings import Preprocessing
from kitsnb.settings import Settings
from kitsnb.training.checkpoints import load_network
from kitsnb.training.settings import Training


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


def write_run(folder: Path, facts: Mapping, sections: Mapping[str, Settings]) -> None:
    """Write ``run.json`` of a finished training in ``folder``: ``facts``, and the settings of each room."""
    settings = {name: section.as_json() for name, section in sections.items()}
    write_json(folder / "run.json", {**facts, "settings": settings})


def load_run(folder: Path) -> tuple[nn.Module, Record]:
    """Load the network of a run's ``folder`` and its record; CaseError where they are missing or not of one run."""
    facts = read_json(folder / "run.json")
    try:
        if not facts:
            raise ValueError("is missing or damaged")
        record = Record.checked(facts)
        training = record.settings.training
        if read_json(folder / "settings.json") != training.as_json():
            raise ValueError("settings.json is missing, or of other settings")
        return load_network(folder, training), record
    except (RuntimeError, ValueError) as error:
        advice = "give the folder of a finished run, such as build/quick/runs/dice-seed0, or train it again"
        raise CaseError(str(folder), "run.json", str(error), advice) from error

"""The finished runs of a build, read from their folders and checked, and what their ``run.json`` say of the study."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from kitsnb.files import Build
from kitsnb.receipts import differences, flat

#: Distances between surfaces, columns of ``scores.csv``: HD95 in mm and normalized surface Dice.
SURFACES = ("hd95_kidney_and_tumour", "nsd_kidney_and_tumour", "hd95_tumour", "nsd_tumour")
#: What differs between the runs of a study by design; every other setting must be equal.
PER_RUN = ("training.loss", "training.loss_parameters", "training.seed")
#: What a study keeps of each run.
COSTS = ("epochs", "seconds", "peak_memory_mb", "patches_per_second", "precision", "device", "machine", "threads")


class Record(BaseModel):
    """What ``run.json`` must say; more is allowed, and kept."""

    model_config = ConfigDict(extra="allow")

    simulated: bool
    training_cases: int
    seconds: float
    device: str
    precision: str
    settings: dict[Literal["data", "preprocessing", "training", "prediction"], dict]


@dataclass(frozen=True)
class Run:
    """An experiment with a seed, and what 04_training wrote; ``scores`` are indexed by case."""

    experiment: str
    seed: int
    folder: Path
    info: dict
    history: pd.DataFrame
    scores: pd.DataFrame


def load_runs(build: Build, experiments: Sequence[Mapping], seeds: Sequence[int]) -> list[Run]:
    """Load every run of ``experiments`` x ``seeds``, in this order.

    Raises FileNotFoundError that names all missing runs, and ValueError where one is not what the profile asks for, or
    where runs of one seed were not scored on the same cases.
    """
    wanted = list(itertools.product(experiments, seeds))
    folders = [build.run(row["name"], seed) for row, seed in wanted]
    missing = [folder.name for folder in folders if not (folder / "run.json").is_file()]
    if missing:
        raise FileNotFoundError(f"{build.runs}: {', '.join(missing)} not finished; run its profile")
    runs = []
    first: dict[int, Run] = {}
    for folder, (row, seed) in zip(folders, wanted):
        run = _load_run(folder, row, seed)
        other = first.setdefault(seed, run)
        odd = sorted(set(run.scores.index) ^ set(other.scores.index))
        if odd:
            raise ValueError(f"{folder.name} and {other.folder.name} were scored on different cases "
                             f"({', '.join(odd[:5])}); train both again")
        runs.append(run)
    return runs


def _load_run(folder: Path, experiment: Mapping, seed: int) -> Run:
    info = read_stage(folder / "run.json", "04_training")
    try:
        training = Record(**info).settings.get("training", {})
    except ValidationError as error:
        raise ValueError(f"{folder}/run.json: {error}; train it again") from error
    asked = {"loss": experiment["loss"], **(experiment.get("parameters") or {})}
    trained = {**(training.get("loss_parameters") or {}), "loss": training.get("loss")}
    if odd := differences({key: trained.get(key) for key in asked}, asked):
        raise ValueError(f"{folder}/run.json: trained with another loss than the profile asks for, as "
                         f"{', '.join(odd)}; train it again")
    scores = pd.read_csv(folder / "scores.csv", index_col="case")
    return Run(experiment["name"], seed, folder, info, pd.read_csv(folder / "history.csv"), scores)


def read_stage(path: Path, notebook: str) -> dict:
    """Read JSON that ``notebook`` wrote. Raises FileNotFoundError or, if damaged, ValueError, which name both."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; {notebook} writes it, so run that first")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: is damaged ({error}); {notebook} writes it, so run that again") from error


def all_scores(runs: Sequence[Run]) -> pd.DataFrame:
    """Join the scores of a study to one tidy table: a row per run and case, ``experiment`` and ``seed`` in front."""
    scores = {(run.experiment, run.seed): run.scores for run in runs}
    return pd.concat(scores, names=["experiment", "seed"]).reset_index()


def compare_settings(old: Mapping, new: Mapping, allowed: Sequence[str] = PER_RUN) -> list[str]:
    """Say in words which settings differ, those named in or below ``allowed`` apart."""
    prefixes = tuple(f"{path}." for path in allowed)
    kept = []
    for settings in (old, new):
        kept.append({path: value for path, value in flat(settings).items() if not f"{path}.".startswith(prefixes)})
    return differences(*kept)


def shared_settings(runs: Sequence[Run]) -> dict:
    """Return the settings, by section, that all runs share. Raises ValueError where others than ``PER_RUN`` differ."""
    first, *others = runs
    settings = first.info["settings"]
    for run in others:
        odd = compare_settings(settings, run.info["settings"])
        if odd:
            raise ValueError(f"{first.folder.name} and {run.folder.name} were trained with different settings: "
                             f"{', '.join(odd)}; run the profile again")
    training = {key: value for key, value in settings["training"].items() if f"training.{key}" not in PER_RUN}
    return settings | {"training": training}


def describe_runs(runs: Sequence[Run]) -> dict:
    """Say of a study what its ``runs`` share and cost."""
    trainings = []
    for run in runs:
        costs = {key: run.info[key] for key in COSTS if run.info.get(key) is not None}
        trainings.append({"experiment": run.experiment, "seed": run.seed, **costs})
    return {
        "simulated": runs[0].info["simulated"], "settings": shared_settings(runs),
        "training_cases": min(run.info["training_cases"] for run in runs), "trainings": trainings,
        "seconds": sum(run.info["seconds"] for run in runs),
    }

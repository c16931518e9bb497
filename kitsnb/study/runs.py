"""The finished runs of a build, read from their folders and checked, and what their ``run.json`` say of the study."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from kitsnb.files import Build
from kitsnb.metric import SCORES

#: Columns that ``scores.csv`` must have beside the scores.
VOLUMES = ("kidney_ml", "tumour_ml", "predicted_tumour_ml")
#: Distances between surfaces, columns of ``scores.csv``: HD95 in mm and normalized surface Dice.
SURFACES = ("hd95_kidney_and_tumour", "nsd_kidney_and_tumour", "hd95_tumour", "nsd_tumour")
#: What differs between the runs of a study by design; every other setting must be equal.
PER_RUN = ("training.loss", "training.loss_parameters", "training.seed")
#: What a study keeps of each run, and of these what all runs should share.
COSTS = ("experiment", "seed", "epochs", "seconds", "peak_memory_mb", "patches_per_second", "precision", "device",
         "machine", "threads")
CONDITIONS = COSTS[-4:]


class Sections(BaseModel):
    """The settings of a run by section, each a mapping as its room writes it."""

    data: dict
    preprocessing: dict
    training: dict
    prediction: dict


class Record(BaseModel):
    """What ``run.json`` must say; more is allowed, and kept."""

    model_config = ConfigDict(extra="allow")

    simulated: bool
    training_cases: int
    seconds: float
    device: str
    precision: str
    settings: Sections


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

    Raises FileNotFoundError that names all missing runs, and ValueError where a run's files are not what the profile
    asks for, or where runs of one seed were not scored on the same cases (a paired comparison needs that).
    """
    wanted = [(row, seed, build.run(row["name"], seed)) for row in experiments for seed in seeds]
    if not wanted:
        raise ValueError("there is nothing to load: give at least one experiment and one seed")
    missing = [f"{folder.name} (no {name})" for _, _, folder in wanted
               for name in ("run.json", "history.csv", "scores.csv") if not (folder / name).is_file()]
    if missing:
        advice = f"run the profile of {build.folder.name}, or 04_training with these experiments and seeds"
        raise FileNotFoundError(f"{build.runs}: missing {', '.join(missing)}; {advice}")
    runs = [_load_run(folder, row, seed) for row, seed, folder in wanted]
    by_seed = {run.seed: run for run in reversed(runs)}
    for run in runs:
        first = by_seed[run.seed]
        odd = sorted(set(run.scores.index) ^ set(first.scores.index))
        if odd:
            raise ValueError(f"{run.folder.name} and {first.folder.name} were scored on different cases "
                             f"({', '.join(odd[:5])}); train both again")
    return runs


def _load_run(folder: Path, experiment: Mapping, seed: int) -> Run:
    info = read_stage(folder / "run.json", "04_training")
    try:
        training = Record(**info).settings.training
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg'].lower()}" for one in error.errors())
        raise ValueError(f"{folder}/run.json: {said}; train it again") from error
    asked = experiment.get("parameters") or {}
    trained = training.get("loss_parameters") or {}
    if training.get("loss") != experiment["loss"] or any(trained.get(key) != value for key, value in asked.items()):
        raise ValueError(f"{folder}/run.json: trained with {training.get('loss')} {trained}, but the profile asks for "
                         f"{experiment['loss']} {asked}; train it again")
    scores = pd.read_csv(folder / "scores.csv")
    lacking = [name for name in ("case", *SCORES, *SURFACES, *VOLUMES) if name not in scores]
    if lacking or scores.empty or scores.case.duplicated().any():
        raise ValueError(f"{folder}/scores.csv: needs one row per case, and lacks {lacking or 'none'}; train it again")
    scores = scores.set_index("case").astype(dict.fromkeys(SCORES, float))
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
    parts = [run.scores.reset_index().assign(experiment=run.experiment, seed=run.seed) for run in runs]
    scores = pd.concat(parts, ignore_index=True)
    return scores[["experiment", "seed", *scores.columns.drop(["experiment", "seed"])]]


def by_path(settings: Mapping, name: str = "") -> dict[str, object]:
    """Name single settings by their path: {"training.epochs": 3} of {"training": {"epochs": 3}}."""
    found = {}
    for key, value in settings.items():
        path = f"{name}.{key}" if name else str(key)
        found |= by_path(value, path) if isinstance(value, Mapping) and value else {path: value}
    return found


def shared_settings(runs: Sequence[Run]) -> dict:
    """Return the settings, by section, that all runs share. Raises ValueError where others than ``PER_RUN`` differ."""
    first, *others = runs
    settings = first.info["settings"]
    for run in others:
        odd = compare_settings(settings, run.info["settings"], PER_RUN)
        if odd:
            raise ValueError(f"{run.folder.name} and {first.folder.name} were trained with different "
                             f"{', '.join(odd)}; run the profile again")
    own = [path.removeprefix("training.") for path in PER_RUN]
    return settings | {"training": {key: value for key, value in settings["training"].items() if key not in own}}


def compare_settings(settings: Mapping, others: Mapping, allowed: Sequence[str] = ()) -> list[str]:
    """Name the settings that differ, those below ``allowed`` apart; null and an empty list are different things."""
    here = by_path(settings)
    there = by_path(others)
    prefixes = tuple(f"{path}." for path in allowed)
    return [path for path in {**here, **there}
            if here.get(path) != there.get(path) and not f"{path}.".startswith(prefixes)]


def describe_runs(runs: Sequence[Run]) -> dict:
    """Say of a study what its ``runs`` share and cost, and in which ``CONDITIONS`` they differ (``unlike``)."""
    costs = [{"experiment": run.experiment, "seed": run.seed, **run.info} for run in runs]
    unlike = {}
    for name in CONDITIONS:
        values = sorted({str(run.info[name]) for run in runs if run.info.get(name) is not None})
        if len(values) > 1:
            unlike[name] = values
    return {
        "simulated": runs[0].info["simulated"], "settings": shared_settings(runs),
        "training_cases": min(run.info["training_cases"] for run in runs), "unlike": unlike,
        "trainings": [{key: one[key] for key in COSTS if one.get(key) is not None} for one in costs],
        "seconds": sum(run.info["seconds"] for run in runs),
    }

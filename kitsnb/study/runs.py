"""The finished runs of a build, read from their folders and checked, and what their ``run.json`` say of the study."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kitsnb.files import Build, read_json
from kitsnb.receipts import differences

#: Distances between surfaces, columns of ``scores.csv``: HD95 in mm and normalized surface Dice.
SURFACES = ("hd95_kidney_and_tumour", "nsd_kidney_and_tumour", "hd95_tumour", "nsd_tumour")
#: What differs between the runs of a study by design; every other setting must be equal.
PER_RUN = ("training.loss", "training.loss_parameters", "training.seed")
#: What ``run.json`` must say.
NEEDED = {"simulated", "training_cases", "seconds", "device", "precision", "settings"}
#: What a study keeps of each run.
COSTS = ("epochs", "seconds", "peak_memory_mb", "patches_per_second", "precision", "device", "machine", "threads")


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

    Raises FileNotFoundError that names all missing runs, and ValueError where one is not what the profile asks for.
    """
    runs = []
    missing = []
    for experiment, seed in itertools.product(experiments, seeds):
        folder = build.run(experiment["name"], seed)
        if (folder / "run.json").is_file():
            runs.append(_load_run(folder, experiment, seed))
        else:
            missing.append(folder.name)
    if missing:
        raise FileNotFoundError(f"{build.runs}: {', '.join(missing)} not finished; run its profile")
    return runs


def _load_run(folder: Path, experiment: Mapping, seed: int) -> Run:
    info = read_json(folder / "run.json")
    lacking = NEEDED - info.keys()
    if lacking:
        raise ValueError(f"{folder}/run.json: lacks {', '.join(sorted(lacking))}; train it again")
    training = info["settings"].get("training", {})  # older code had other sections
    trained = {**training.get("loss_parameters", {}), "loss": training.get("loss")}
    asked = {**experiment["parameters"], "loss": experiment["loss"]}
    odd = differences({key: trained.get(key) for key in asked}, asked)
    if odd:
        raise ValueError(f"{folder}/run.json: another loss than the profile asks for: {', '.join(odd)}; train it again")
    scores = pd.read_csv(folder / "scores.csv", index_col="case")
    return Run(experiment["name"], seed, folder, info, pd.read_csv(folder / "history.csv"), scores)


def all_scores(runs: Sequence[Run]) -> pd.DataFrame:
    """Join the scores of a study to one tidy table: a row per run and case, ``experiment`` and ``seed`` in front."""
    scores = {(run.experiment, run.seed): run.scores for run in runs}
    return pd.concat(scores, names=["experiment", "seed"]).reset_index()


def compare_settings(old: Mapping, new: Mapping, allowed: Sequence[str] = PER_RUN) -> list[str]:
    """Say in words which settings differ, those named in or below ``allowed`` apart."""
    prefixes = tuple(f"{path}." for path in allowed)
    found = []
    for difference in differences(old, new):
        name, _ = difference.split(maxsplit=1)
        if not f"{name}.".startswith(prefixes):
            found.append(difference)
    return found


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
        "simulated": runs[0].info["simulated"],
        "settings": shared_settings(runs),
        "training_cases": min(run.info["training_cases"] for run in runs),
        "trainings": trainings,
        "seconds": sum(run.info["seconds"] for run in runs),
    }

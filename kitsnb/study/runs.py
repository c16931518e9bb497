"""The training runs of a profile, read from their folders and checked; folds merged into one set of scores."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from kitsnb.files import Build
from kitsnb.metric.score import SCORES

#: Columns that ``scores.csv`` must have beside the scores.
VOLUMES = ("kidney_ml", "tumour_ml", "predicted_tumour_ml")
#: Distances between surfaces, columns of ``scores.csv``: HD95 in mm and normalized surface Dice.
SURFACES = ("hd95_kidney_and_tumour", "nsd_kidney_and_tumour", "hd95_tumour", "nsd_tumour")
#: What differs between the runs of one profile by design; every other setting must be equal.
PER_RUN = ("build", "experiment", "title", "loss", "loss_parameters", "seed", "fold")
#: What a run cost, where ``run.json`` says so; older runs lack some.
COSTS = ("epochs", "seconds", "device", "precision", "peak_memory_mb", "patches_per_second")


@dataclass(frozen=True)
class Run:
    """An experiment with a seed: its name, the seed, and what 04_training wrote (``scores`` is indexed by case).

    With folds, ``folds`` holds the run of each, ``scores`` those of all (every case once), and the rest is the first
    fold's.
    """

    experiment: str
    seed: int
    folder: Path
    info: dict
    history: pd.DataFrame
    scores: pd.DataFrame
    folds: tuple["Run", ...] = ()

    @property
    def trained(self) -> tuple["Run", ...]:
        """The trainings that it consists of: itself, or its folds."""
        return self.folds or (self,)

    def holding_out(self, case: str) -> "Run":
        """The training that was scored on ``case``, and has its prediction."""
        return next(run for run in self.trained if case in run.scores.index)


def planned(
    build: Build, experiments: Sequence[Mapping], seeds: Sequence[int], folds: int | None
) -> list[tuple[Mapping, int, int | None, Path]]:
    """Row, seed, fold (None without) and folder of every training that a profile asks for, in order."""
    numbers = [None] if folds is None else range(folds)
    return [(row, seed, fold, build.run(row["name"], seed, fold))
            for row in experiments for seed in seeds for fold in numbers]


def load_runs(
    build: Build, experiments: Sequence[Mapping], seeds: Sequence[int], folds: int | None = None
) -> list[Run]:
    """Every run of ``experiments`` x ``seeds``, in this order; the ``folds`` of each are merged into one.

    Raises FileNotFoundError that names all missing runs, and ValueError where a run's files are not what the profile
    asks for or where runs were not scored on the same cases (a paired comparison needs that).
    """
    if not experiments or not seeds:
        raise ValueError("there is nothing to load: give at least one experiment and one seed")
    wanted = planned(build, experiments, seeds, folds)
    missing = [f"{folder.name} (no {name})" for *_, folder in wanted
               for name in ("run.json", "history.csv", "scores.csv") if not (folder / name).is_file()]
    if missing:
        advice = f"run the profile of {build.folder.name}, or 04_training with these experiments and seeds"
        raise FileNotFoundError(f"{build.runs}: missing {', '.join(missing)}; {advice}")
    runs = [_load_run(folder, row, seed, fold, folds) for row, seed, fold, folder in wanted]
    if folds is not None:
        runs = [_merge(runs[first : first + folds]) for first in range(0, len(runs), folds)]
    for run in runs[1:]:
        if odd := sorted(set(run.scores.index) ^ set(runs[0].scores.index)):
            pair = f"{run.folder.name} and {runs[0].folder.name}"
            raise ValueError(f"{pair} were scored on different cases ({', '.join(odd[:5])}); train both again")
    return runs


def _load_run(folder: Path, experiment: Mapping, seed: int, fold: int | None, folds: int | None) -> Run:
    info = read_stage(folder / "run.json", "04_training")
    asked, trained = experiment.get("parameters") or {}, info.get("loss_parameters") or {}
    settings, scores = info.get("settings"), pd.read_csv(folder / "scores.csv")
    wrong = None
    if info.get("loss") != experiment["loss"] or any(trained.get(key) != value for key, value in asked.items()):
        used = f"trained with {info.get('loss')} {trained}"
        wrong = f"run.json: {used}, but the profile asks for {experiment['loss']} {asked}"
    elif not isinstance(settings, dict):
        wrong = "run.json: has no 'settings' (04_training's parameters by name)"
    elif (split := (settings.get("fold"), settings.get("folds"))) != (fold, folds):
        wrong = f"run.json: is fold {split[0]} of {split[1]}, not {fold} of {folds}"
    elif lacking := [name for name in ("case", *SCORES, *SURFACES, *VOLUMES) if name not in scores]:
        wrong = f"scores.csv: lacks {', '.join(lacking)}"
    elif scores.empty or scores.case.duplicated().any():
        wrong = "scores.csv: needs one row a case, at least one"
    elif ((scores[list(SCORES)] < 0) | (scores[list(SCORES)] > 1)).any(axis=None):
        wrong = "scores.csv: holds a score outside [0, 1]"
    if wrong:
        raise ValueError(f"{folder}/{wrong}; train it again")
    scores = scores.set_index("case").astype({name: float for name in SCORES})
    return Run(experiment["name"], seed, folder, info, pd.read_csv(folder / "history.csv"), scores)


def _merge(parts: Sequence[Run]) -> Run:
    """One run from its folds. Raises ValueError where a case was held out by two folds, or by none."""
    scores = pd.concat([part.scores for part in parts])
    names = ", ".join(part.folder.name for part in parts)
    if twice := sorted(set(scores.index[scores.index.duplicated()])):
        raise ValueError(f"{names}: held out more than once: {', '.join(twice[:5])}; train them again")
    for part in parts:
        if (known := part.info["training_cases"] + len(part.scores)) != len(scores):
            raise ValueError(f"{part.folder.name} knows {known} cases, but {len(scores)} were scored in all folds "
                             f"({names}): some were never held out; train them again")
    return replace(parts[0], scores=scores.sort_index(), folds=tuple(parts))


def read_stage(path: Path, notebook: str) -> dict:
    """JSON that ``notebook`` wrote. Raises FileNotFoundError or, for a damaged file, ValueError, which name both."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; {notebook} writes it, so run that first")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: is damaged ({error}); {notebook} writes it, so run that again") from error


def all_scores(runs: Sequence[Run]) -> pd.DataFrame:
    """The scores of a study as one tidy table: a row a run and case, with ``experiment`` and ``seed`` in front."""
    tables = [run.scores.reset_index().assign(experiment=run.experiment, seed=run.seed) for run in runs]
    scores = pd.concat(tables, ignore_index=True)
    return scores[["experiment", "seed", *scores.columns.drop(["experiment", "seed"])]]


def trainings(runs: Sequence[Run]) -> list[Run]:
    """Every training of ``runs``, a fold each where there are folds."""
    return [one for run in runs for one in run.trained]


def shared_settings(runs: Sequence[Run]) -> dict:
    """Settings of the training notebook that all runs share. Raises ValueError where they differ: unfair comparison."""
    first, *others = trainings(runs)
    settings = {key: value for key, value in first.info["settings"].items() if key not in PER_RUN}
    for run in others:
        other = {key: value for key, value in run.info["settings"].items() if key not in PER_RUN}
        if odd := sorted(key for key in settings | other if settings.get(key) != other.get(key)):
            pair = f"{run.folder.name} and {first.folder.name}"
            raise ValueError(f"{pair} were trained with different {', '.join(odd)}; run the profile again")
    return settings

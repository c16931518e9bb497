"""From ``scores``, a study's tidy table with a row per run and case, to Table 1; and the way numbers are written.

Scores are Dice coefficients, NaN where undefined. What is said of cases is said of means over seeds.
"""

import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version

import numpy as np
import pandas as pd

from kitsnb.metric import SCORES, SIZES, lesion_size, summarise
from kitsnb.study.runs import SURFACES
from kitsnb.study.statistics import bounds, estimate

SOFTWARE = ("torch", "torchio", "nibabel", "numpy", "scipy", "pandas", "papermill", "typst")


def average_seeds(scores: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """Average scores and volumes of every case over the experiment's seeds; undefined scores do not count."""
    own = scores[scores.experiment == experiment].drop(columns="seed")
    return own.groupby("case").mean(numeric_only=True)


def make_grids(scores: pd.DataFrame, experiments: Iterable[str]) -> dict[str, dict[str, np.ndarray]]:
    """Arrange what claims are about as grids [seeds, cases] (``kitsnb.study.statistics``), by score and experiment.

    Raises ValueError where a seed or a case of some rows lacks in another.
    """
    everyone = set(scores.experiment)
    for (seed, case), own in scores.groupby(["seed", "case"]).experiment:
        lacking = everyone.difference(own)
        if lacking:
            raise ValueError(f"{', '.join(sorted(lacking))}: no score of {case} with seed {seed}, which other rows "
                             "have; rows are paired, so train the same seeds on the same cases for all")
    grids = {}
    for score in (*SCORES, "predicted_tumour_ml"):
        wide = scores.pivot(index=["experiment", "seed"], columns="case", values=score)
        grids[score] = {name: wide.loc[name].to_numpy(float) for name in experiments}
    return grids


def make_table(scores: pd.DataFrame, experiments: Sequence[Mapping], grids: Mapping,
               theirs: Sequence[Mapping]) -> list[dict]:
    """Make Table 1: a row per experiment with ``scores``, ``distances``, ``sizes``, and the seed ``paper``'s row.

    ``theirs`` are the seed paper's rows. Each score is described by ``metric.summarise`` and ``statistics.estimate``;
    ``sizes`` has tumour Dice by class of ``metric.lesion_size``.
    """
    published = {row["experiment"]: row for row in theirs}
    table = []
    for row in experiments:
        name = row["name"]
        cases = average_seeds(scores, name)
        by_size = dict(list(cases.tumour.groupby(cases.tumour_ml.map(lesion_size))))
        table.append({
            "experiment": name,
            "title": row["title"],
            "loss": row["loss"],
            "seeds": len(grids["tumour"][name]),
            "loss_parameters": row["parameters"],
            "paper": published.get(name),
            "scores": {score: estimate(grids[score][name]) | summarise(cases[score]) for score in SCORES},
            "distances": {surface: summarise(cases[surface]) for surface in SURFACES},
            "sizes": {size: summarise(by_size[size]) for size in SIZES if size in by_size},
        })
    return table


def composites(table: Sequence[Mapping]) -> pd.Series:
    """Return the mean composite of each experiment of Table 1."""
    return pd.Series({row["experiment"]: row["scores"]["composite"]["mean"] for row in table}, dtype=float)


def ranked(table: Sequence[Mapping]) -> list[str]:
    """Order experiments by the mean composite, highest first; one without any defined score comes last."""
    return list(composites(table).sort_values(ascending=False, kind="stable").index)


def extremes(scores: pd.DataFrame) -> dict[str, str]:
    """Name the "worst", "median" and "best" case of ``scores`` (a row per case): a rule, so that nobody picks one.

    By tumour Dice of those with a tumour, by kidney Dice where there is none. Each case is named once.
    """
    used = scores[scores.tumour_ml > 0]
    if used.empty:
        used = scores
    names = used.sort_values(["tumour", "kidney"], kind="stable").index
    places = {0: "worst", len(names) - 1: "best", (len(names) - 1) // 2: "median"}
    return {places[at]: str(names[at]) for at in sorted(places)}


def software() -> dict[str, str]:
    """Name the versions of Python and of the packages that results depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in SOFTWARE}


def number(value: float | None, digits: int = 3, signed: bool = False) -> str:
    """Write ``value`` as people do: a dash where it is undefined, a true minus, and no minus before a zero."""
    if value is None or math.isnan(value):
        return "–"
    shown = round(value, digits) + 0.0
    sign = "+" if signed and shown else ""
    return f"{shown:{sign}.{digits}f}".replace("-", "−")


def interval(difference: Mapping[str, float]) -> str:
    """Write a difference with the interval that claims rest on (``bounds``), "+0.029 (−0.013 to +0.066)"."""
    mean, low, high = (number(value, signed=True) for value in (difference["mean"], *bounds(difference)))
    return f"{mean} ({low} to {high})"


def plural(n: int, one: str) -> str:
    """Write a count, "1 case", "2 cases"."""
    return f"{n} {one if n == 1 else one + 's'}"

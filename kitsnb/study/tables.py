"""From scores to tables: Table 1 with distances and sizes, and the way numbers are written.

``scores`` is always the tidy table of a study, a row per run and case (``runs.all_scores``, or the CSV of a published
study). Scores are Dice coefficients in [0, 1], NaN where undefined (see ``kitsnb.metric``). What is said of cases is
said of means over seeds; intervals and tests are those of ``kitsnb.study.statistics``.
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


def grids(scores: pd.DataFrame, score: str, experiments: Iterable[str]) -> dict[str, np.ndarray]:
    """Arrange ``score`` of ``experiments`` as grids [seeds, cases], as ``kitsnb.study.statistics`` takes them."""
    wide = scores.pivot(index=["experiment", "seed"], columns="case", values=score)
    return {name: wide.loc[name].to_numpy(float) for name in experiments}


def compare(scores: pd.DataFrame, first: str, second: str, score: str) -> dict[str, float]:
    """Estimate the paired difference ``first`` - ``second`` (``statistics.estimate``)."""
    found = grids(scores, score, (first, second))
    return estimate(found[first], found[second])


def make_table(scores: pd.DataFrame, experiments: Sequence[Mapping], seed_paper: Mapping) -> list[dict]:
    """Make Table 1: a row per experiment with ``scores``, ``distances``, ``sizes``, and the seed paper's row or None.

    Each score has mean, sd over cases (n - 1), n cases and number of ``undefined`` ones (``metric.summarise``), and the
    intervals of ``statistics.estimate``. ``sizes`` has tumour Dice of each size class of ``metric.lesion_size``.
    """
    published = {row["experiment"]: row for row in seed_paper["table"]}
    table = []
    for row in experiments:
        name = row["name"]
        cases = average_seeds(scores, name)
        found = {score: estimate(grids(scores, score, [name])[name]) | summarise(cases[score]) for score in SCORES}
        by_size = dict(list(cases.tumour.groupby(cases.tumour_ml.map(lesion_size))))
        table.append({
            "experiment": name, "title": row["title"], "loss": row["loss"], "seeds": found["tumour"]["seeds"],
            "loss_parameters": row.get("parameters") or {}, "paper": published.get(name), "scores": found,
            "distances": {surface: summarise(cases[surface]) for surface in SURFACES},
            "sizes": {size: summarise(by_size[size]) for size in SIZES if size in by_size},
        })
    return table


def ranked(table: Sequence[Mapping]) -> list[str]:
    """Order experiments by the mean composite, highest first; one without any defined score comes last."""
    means = pd.Series({row["experiment"]: row["scores"]["composite"]["mean"] for row in table}, dtype=float)
    return list(means.sort_values(ascending=False, kind="stable").index)


def extremes(scores: pd.DataFrame) -> dict[str, str]:
    """Name the "worst", "median" and "best" case of ``scores`` (a row per case): a rule, so that nobody picks one.

    By tumour Dice of those with a tumour, by kidney Dice where there is none; the median is the lower one. Of one case,
    and of two, each is named once.
    """
    used = scores[(scores.tumour_ml > 0) & scores.tumour.notna()].sort_values(["tumour", "kidney"], kind="stable")
    if used.empty:
        used = scores.sort_values("kidney", kind="stable")
    places = {0: "worst", len(used) - 1: "best", (len(used) - 1) // 2: "median"}
    return {places[at]: str(used.index[at]) for at in sorted(places)}


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

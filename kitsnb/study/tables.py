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

#: The columns of the seed paper's Table 1.
PAPER_COLUMNS = ("kidney_and_tumour", "kidney", "tumour")
SOFTWARE = ("torch", "torchio", "nibabel", "numpy", "scipy", "pandas", "papermill", "typst")


def average_seeds(scores: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """Average scores and volumes of every case over the experiment's seeds; undefined scores do not count."""
    own = scores[scores.experiment == experiment].drop(columns="seed")
    return own.groupby("case").mean(numeric_only=True)


def keep_shared_seeds(scores: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, list[int]]]:
    """Keep the seeds that all experiments have; name those that were left out, by experiment.

    Raises ValueError where the experiments share no seed.
    """
    seeds = scores.groupby("experiment").seed.unique().map(set)
    shared = set.intersection(*seeds)
    if not shared:
        raise ValueError(f"the rows {', '.join(seeds.index)} share no seed, so they cannot be paired; "
                         "train a seed for all")
    left_out = {name: sorted(map(int, own - shared)) for name, own in seeds.items() if own - shared}
    return scores[scores.seed.isin(shared)], left_out


def grids(scores: pd.DataFrame, score: str, experiments: Iterable[str]) -> dict[str, np.ndarray]:
    """Arrange ``score`` of ``experiments`` as grids [seeds, cases], as ``kitsnb.study.statistics`` takes them."""
    wide = scores.pivot(index=["experiment", "seed"], columns="case", values=score)
    return {name: wide.loc[name].to_numpy(float) for name in experiments}


def compare(scores: pd.DataFrame, first: str, second: str, score: str, paired: bool = True) -> dict[str, float]:
    """Estimate the difference ``first`` - ``second`` (``statistics.estimate``)."""
    found = grids(scores, score, (first, second))
    return estimate(found[first], found[second], paired)


def make_table(scores: pd.DataFrame, experiments: Sequence[Mapping], seed_paper: Mapping, pairs: Mapping) -> list[dict]:
    """Make Table 1: a row per experiment with ``scores``, ``distances``, ``sizes``, and the seed paper's row or None.

    Each score has mean, sd over cases (n - 1), n cases and number of ``undefined`` ones (``metric.summarise``), the
    intervals of ``statistics.estimate``, and whether it is among the ``best`` (``find_leaders`` of ``pairs``).
    """
    published = {row["experiment"]: {name: row[name] for name in PAPER_COLUMNS} for row in seed_paper["table"]}
    table = []
    for row in experiments:
        name = row["name"]
        cases = average_seeds(scores, name)
        found = {}
        for score in SCORES:
            grid = grids(scores, score, [name])[name]
            found[score] = estimate(grid) | summarise(cases[score]) | {"best": name in find_leaders(pairs[score])}
        table.append({
            "experiment": name, "title": row["title"], "loss": row["loss"], "seeds": found["tumour"]["seeds"],
            "loss_parameters": row.get("parameters") or {}, "paper": published.get(name), "scores": found,
            "distances": {surface: summarise(cases[surface]) for surface in SURFACES}, "sizes": by_size(cases),
        })
    return table


def by_size(cases: pd.DataFrame) -> dict[str, dict]:
    """Summarise tumour Dice over the ``cases`` of each size class of ``metric.lesion_size`` that occurs."""
    classes = cases.tumour_ml.map(lesion_size)
    return {size: summarise(cases.tumour[classes == size]) for size in SIZES if (classes == size).any()}


def find_leaders(pairs: Sequence[Mapping]) -> set[str]:
    """Find the losses that no other is above by the verdicts of ``compare_all``; none where no pair is apart."""
    apart = [pair for pair in pairs if pair["verdict"]]
    if not apart:
        return set()
    everyone = {pair[side] for pair in pairs for side in ("first", "second")}
    return everyone - {pair["second"] for pair in apart}


def ranked(table: Sequence[Mapping], score: str = "composite") -> list[str]:
    """Order experiments by the mean of ``score``, highest first; one without any defined score comes last."""
    means = {row["experiment"]: row["scores"][score]["mean"] for row in table}
    return sorted(means, key=lambda name: -math.inf if math.isnan(means[name]) else means[name], reverse=True)


def choose_pair(table: Sequence[Mapping], baseline: str) -> tuple[str | None, str]:
    """Choose the best row but the reference, and the reference: ``baseline``, or the last row by the composite."""
    order = ranked(table)
    reference = baseline if baseline in order else order[-1]
    return next((name for name in order if name != reference), None), reference


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


def interval(difference: Mapping[str, float], digits: int = 3) -> str:
    """Write a difference with the interval that claims rest on (``bounds``), "+0.029 (−0.013 to +0.066)"."""
    low, high = bounds(difference)
    mean, low, high = (number(value, digits, signed=True) for value in (difference["mean"], low, high))
    return f"{mean} ({low} to {high})"


def plural(n: int, one: str, many: str | None = None) -> str:
    """Write a count, "1 loss", "2 losses"."""
    return f"{n} {one if n == 1 else many or one + 's'}"

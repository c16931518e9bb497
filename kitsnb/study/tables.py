"""From scores to results: Table 1 and the other tables of the paper.

``scores`` is always the tidy table of a study, a row a run and case (``runs.all_scores``, or the CSV of a published
study). Scores are Dice coefficients in [0, 1], NaN where undefined (see ``kitsnb.metric``). Seeds are averaged per case
for what is said of cases; intervals and tests are those of ``kitsnb.study.statistics``.
"""

import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version

import numpy as np
import pandas as pd

from kitsnb.metric.score import SCORES, lesion_size, summarise
from kitsnb.metric.score import SIZES as LESIONS
from kitsnb.study.runs import SURFACES
from kitsnb.study.statistics import ends, estimate

#: The columns of the seed paper's Table 1.
PAPER_COLUMNS = ("kidney_and_tumour", "kidney", "tumour")
SOFTWARE = ("torch", "torchio", "pytorch-lightning", "nibabel", "numpy", "scipy", "statsmodels", "pandas", "papermill",
            "typst")


def scores_of(scores: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """Scores and volumes of every case, averaged over the experiment's seeds; undefined scores do not count."""
    own = scores[scores.experiment == experiment].drop(columns="seed")
    return own.groupby("case").mean(numeric_only=True)


def grids(scores: pd.DataFrame, score: str, experiments: Iterable[str]) -> dict[str, np.ndarray]:
    """``score`` of ``experiments`` as a grid [seeds, cases], as ``kitsnb.study.statistics`` takes them."""
    wide = scores.pivot(index=["experiment", "seed"], columns="case", values=score)
    return {name: wide.loc[name].to_numpy(float) for name in experiments}


def compare(scores: pd.DataFrame, first: str, second: str, score: str) -> dict[str, float]:
    """Paired difference ``first`` - ``second`` (``statistics.estimate``)."""
    found = grids(scores, score, (first, second))
    return estimate(found[first], found[second])


def make_table(scores: pd.DataFrame, experiments: Sequence[Mapping], seed_paper: Mapping, pairs: Mapping) -> list[dict]:
    """Table 1: one row an experiment.

    Per score: mean, sd over cases (n - 1), n cases and number of ``undefined`` ones (``metric.summarise``), the
    intervals of ``statistics.estimate``, and whether it is among the best (``leaders`` of ``pairs``, by score).
    ``paper`` is the seed paper's row or None.
    """
    published = {row["experiment"]: {name: row[name] for name in PAPER_COLUMNS} for row in seed_paper["table"]}
    by_score = {name: grids(scores, name, [row["name"] for row in experiments]) for name in SCORES}
    best = {name: leaders(pairs[name]) for name in SCORES}
    table = []
    for row in experiments:
        cases, key = scores_of(scores, row["name"]), row["name"]
        table.append({
            "experiment": key, "title": row["title"], "loss": row["loss"],
            "loss_parameters": row.get("parameters") or {},
            "seeds": len(by_score[SCORES[0]][key]), "paper": published.get(key),
            "scores": {name: estimate(by_score[name][key]) | summarise(cases[name]) | {"best": key in best[name]}
                       for name in SCORES},
        })
    return table


def leaders(pairs: Sequence[Mapping]) -> set[str]:
    """The losses that no other is above by the verdicts of ``statistics.all_pairs``; none where no pair is settled."""
    if not any(pair["verdict"] for pair in pairs):
        return set()
    return {pair[side] for pair in pairs for side in ("first", "second")} - {pair["second"] for pair in pairs
                                                                             if pair["verdict"]}


def ranked(table: Sequence[Mapping], score: str = "composite") -> list[str]:
    """Experiments by the mean of ``score``, highest first; one without any defined score comes last."""
    means = {row["experiment"]: row["scores"][score]["mean"] for row in table}
    return sorted(means, key=lambda name: -math.inf if math.isnan(means[name]) else means[name], reverse=True)


def agreement(table: Sequence[Mapping]) -> dict[str, float]:
    """Kendall's tau (b) of the measured and the seed paper's means, per column, over the rows of both.

    1: the same order, -1: the reverse. NaN where fewer than two means are defined, or where all are tied.
    """
    both = [row for row in table if row["paper"]]
    found = {}
    for name in PAPER_COLUMNS:
        here = pd.Series([row["scores"][name]["mean"] for row in both], dtype=float)
        found[name] = float(here.corr(pd.Series([row["paper"][name] for row in both], dtype=float), "kendall", 2))
    return found


def distances(scores: pd.DataFrame, experiments: Sequence[Mapping]) -> list[dict]:
    """Per experiment: each of ``SURFACES`` summarised over cases (``metric.summarise``); undefined ones are counted."""
    return [
        {"experiment": row["name"], "title": row["title"]}
        | {name: summarise(cases[name]) for name in SURFACES for cases in [scores_of(scores, row["name"])]}
        for row in experiments
    ]


def by_size(scores: pd.DataFrame, experiments: Sequence[Mapping]) -> list[dict]:
    """Per experiment: tumour Dice over the cases of each size class of ``metric.lesion_size``, smallest first."""
    table = []
    for row in experiments:
        cases = scores_of(scores, row["name"])
        classes = cases.tumour_ml.map(lesion_size)
        sizes = {size: summarise(cases.tumour[classes == size]) for size in LESIONS if (classes == size).any()}
        table.append({"experiment": row["name"], "title": row["title"], "sizes": sizes})
    return table


def extremes(scores: pd.DataFrame) -> dict[str, str]:
    """The "worst", "median" and "best" case of ``scores`` (a row a case): a rule, so that nobody picks one.

    By tumour Dice of those with a tumour, by kidney Dice where there is none; the median is the lower one. Of one case,
    and of two, each is named once.
    """
    used = scores[(scores.tumour_ml > 0) & scores.tumour.notna()].sort_values(["tumour", "kidney"], kind="stable")
    used = used if len(used) else scores.sort_values("kidney", kind="stable")
    places = {0: "worst", len(used) - 1: "best", (len(used) - 1) // 2: "median"}
    return {places[at]: str(used.index[at]) for at in sorted(places)}


def software() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in SOFTWARE}


# ---- for people ------------------------------------------------------------------------------------------------------


def number(value: float | None, digits: int = 3, signed: bool = False) -> str:
    """``value`` as people write it: a dash where it is undefined, a true minus, and no minus before a zero."""
    if value is None or math.isnan(value):
        return "–"
    shown = round(value, digits) + 0.0
    return f"{shown:{'+' if signed and shown else ''}.{digits}f}".replace("-", "−")


def interval(difference: Mapping[str, float], digits: int = 3) -> str:
    """A paired difference with the interval that claims rest on (``ends``), "+0.029 (−0.013 to +0.066)"."""
    mean, low, high = (number(value, digits, signed=True) for value in (difference["mean"], *ends(difference)))
    return f"{mean} ({low} to {high})"


def plural(n: int, one: str, many: str | None = None) -> str:
    return f"{n} {one if n == 1 else many or one + 's'}"

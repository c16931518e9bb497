"""From runs to results: Table 1, paired comparisons, the audit of the seed paper, and ``results.json``.

Scores are Dice coefficients in [0, 1]. Seeds are averaged per case before anything else, so that a mean, its spread and
a paired difference all speak of cases. All arithmetic is float64. NaN stands for an undefined score (see ``metric``).
"""

import json
import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import kendalltau, spearmanr

from kitsnb.files import Build
from kitsnb.messages import nearest
from kitsnb.metric.score import SCORES, lesion_size, summarise
from kitsnb.metric.score import SIZES as LESIONS
from kitsnb.study.runs import SURFACES, Run

#: The columns of the seed paper's Table 1.
PAPER_COLUMNS = ("kidney_and_tumour", "kidney", "tumour")
SOFTWARE = ("torch", "torchio", "pytorch-lightning", "nibabel", "numpy", "scipy", "pandas", "papermill", "typst")
RESAMPLES = 10_000
#: Comparisons that the seed paper draws conclusions from: (higher, lower, score), sections 5 and 6.
CLAIMS = (
    ("dice", "log_cosh_dice", "tumour"),
    ("focal_tversky", "focal_tversky_5", "tumour"),
    ("focal_tversky", "log_cosh_focal_tversky", "tumour"),
    ("weighted_dice", "dice", "tumour"),
    ("weighted_dice", "log_cosh_dice", "kidney_and_tumour"),
    ("weighted_dice", "log_cosh_dice", "tumour"),
)


def scores_of(runs: Iterable[Run], experiment: str) -> pd.DataFrame:
    """Scores and volumes of every case, averaged over the experiment's seeds; undefined scores do not count."""
    tables = [run.scores for run in runs if run.experiment == experiment]
    return pd.concat(tables).groupby(level="case").mean(numeric_only=True)


def make_table(runs: Sequence[Run], experiments: Sequence[Mapping], seed_paper: Mapping) -> list[dict]:
    """Table 1: one row an experiment.

    Per score: mean, sd over cases (n - 1), n cases and number of ``undefined`` ones (``metric.summarise``), and
    ``seed_sd`` and ``fold_sd``, the standard deviations (n - 1) of the seeds' and of the folds' means, NaN with fewer than
    two. ``paper`` is the seed paper's row or None.
    """
    published = {row["experiment"]: {name: row[name] for name in PAPER_COLUMNS} for row in seed_paper["table"]}
    table = []
    for experiment in experiments:
        own = [run for run in runs if run.experiment == experiment["name"]]
        cases = scores_of(own, experiment["name"])
        scores = {
            name: summarise(cases[name])
            | {"seed_sd": summarise(run.scores[name].mean() for run in own)["sd"], "fold_sd": _fold_sd(own, cases, name)}
            for name in SCORES
        }
        table.append(
            {
                "experiment": experiment["name"],
                "title": experiment["title"],
                "loss": experiment["loss"],
                "loss_parameters": experiment.get("parameters") or {},
                "seeds": len(own),
                "scores": scores,
                "paper": published.get(experiment["name"]),
            }
        )
    return table


def _fold_sd(runs: Sequence[Run], cases: pd.DataFrame, score: str) -> float:
    """Standard deviation of the folds' means of ``score``, after seeds were averaged in ``cases``; NaN without folds."""
    return summarise(cases.loc[fold.scores.index, score].mean() for fold in runs[0].folds)["sd"] if runs[0].folds else math.nan


def ranked(table: Sequence[Mapping], score: str = "composite") -> list[str]:
    """Experiments by the mean of ``score``, highest first; one without any defined score comes last."""
    means = {row["experiment"]: row["scores"][score]["mean"] for row in table}
    return sorted(means, key=lambda name: -math.inf if math.isnan(means[name]) else means[name], reverse=True)


def find_baseline(name: str, table: Sequence[Mapping], seed_paper: Mapping) -> str | None:
    """``name`` where the profile has it, None where only the seed paper has. Raises ValueError for any other name."""
    experiments = [row["experiment"] for row in table]
    if name in experiments:
        return name
    if name in (row["experiment"] for row in seed_paper["table"]):
        return None
    raise ValueError(f"baseline {name!r} is no experiment of this profile; {nearest(name, experiments)}")


def paired_difference(first: pd.Series, second: pd.Series, seed: int = 0) -> dict[str, float]:
    """Mean of ``first`` - ``second`` over the cases that both define, with a 95 % percentile bootstrap interval.

    Cases are resampled. NaN where undefined: no common case, or for the interval fewer than two. The same ``seed`` gives
    the same interval.
    """
    values = (first.astype(float) - second.astype(float)).dropna().sort_index().to_numpy()
    low = high = math.nan
    if values.size > 1:
        drawn = np.random.default_rng(seed).integers(values.size, size=(RESAMPLES, values.size))
        low, high = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    mean = float(values.mean()) if values.size else math.nan
    return {"mean": mean, "low": float(low), "high": float(high), "n": int(values.size)}


def compare(runs: Sequence[Run], first: str, second: str, scores: Sequence[str] = SCORES) -> dict[str, dict]:
    """Paired difference ``first`` - ``second`` of each of ``scores``."""
    one, other = scores_of(runs, first), scores_of(runs, second)
    return {name: paired_difference(one[name], other[name]) for name in scores}


def order_agreement(table: Sequence[Mapping]) -> dict[str, float]:
    """Kendall's tau (b) between the measured and the seed paper's means, per column, over the rows that have both.

    1: the same order, -1: the reverse. NaN with fewer than two rows or where all values are tied.
    """
    agreement = {}
    for name in PAPER_COLUMNS:
        pairs = [(row["scores"][name]["mean"], row["paper"][name]) for row in table if row["paper"]]
        pairs = [pair for pair in pairs if not math.isnan(pair[0])]
        agreement[name] = float(kendalltau(*zip(*pairs, strict=True)).statistic) if len(pairs) > 1 else math.nan
    return agreement


def check_claims(runs: Sequence[Run], seed_paper: Mapping) -> list[dict]:
    """The seed paper's comparisons (``CLAIMS``) that the profile's experiments allow, beside what was measured.

    ``verdict``: "agrees" or "disagrees" where the interval of the paired difference leaves out zero, else "undecided".
    """
    published = {row["experiment"]: row for row in seed_paper["table"]}
    here = {run.experiment for run in runs}
    checked = []
    for higher, lower, score in CLAIMS:
        if not {higher, lower} <= here:
            continue
        found = compare(runs, higher, lower, [score])[score]
        verdict = "agrees" if found["low"] > 0 else "disagrees" if found["high"] < 0 else "undecided"
        stated = round(published[higher][score] - published[lower][score], 3)  # the table has three decimals
        names = {"higher": higher, "lower": lower, "score": score}
        checked.append(names | {"paper": stated, "difference": found, "verdict": verdict})
    return checked


def distances(runs: Sequence[Run], experiments: Sequence[Mapping]) -> list[dict]:
    """Per experiment: each of ``SURFACES`` summarised over cases (``metric.summarise``); undefined ones are counted."""
    return [
        {"experiment": row["name"], "title": row["title"]}
        | {name: summarise(cases[name]) for name in SURFACES for cases in [scores_of(runs, row["name"])]}
        for row in experiments
    ]


def by_size(runs: Sequence[Run], experiments: Sequence[Mapping]) -> list[dict]:
    """Per experiment: tumour Dice summarised over the cases of each size class of ``metric.lesion_size``, smallest first."""
    table = []
    for row in experiments:
        cases = scores_of(runs, row["name"])
        classes = cases.tumour_ml.map(lesion_size)
        sizes = {size: summarise(cases.tumour[classes == size]) for size in LESIONS if (classes == size).any()}
        table.append({"experiment": row["name"], "title": row["title"], "sizes": sizes})
    return table


def describe_cases(runs: Sequence[Run]) -> pd.DataFrame:
    """Per case, hardest first: tumour volume (ml), mean of each score and range of tumour Dice over the experiments."""
    tables = {name: scores_of(runs, name) for name in dict.fromkeys(run.experiment for run in runs)}
    stacked = pd.concat(tables, names=["experiment"])
    by_case = stacked.groupby(level="case")
    described = by_case[["tumour_ml", *SCORES]].mean()
    described["tumour_low"], described["tumour_high"] = by_case.tumour.min(), by_case.tumour.max()
    return described.sort_values(["composite", "kidney_and_tumour"], na_position="last")


def volume_correlation(cases: pd.DataFrame) -> float:
    """Spearman's rho between tumour volume and tumour Dice over cases with a tumour; NaN below three cases."""
    used = cases[cases.tumour_ml > 0].dropna(subset=["tumour"])
    if len(used) < 3 or used.tumour.nunique() < 2 or used.tumour_ml.nunique() < 2:
        return math.nan
    return float(spearmanr(used.tumour_ml, used.tumour).statistic)


def choose_case(scores: pd.DataFrame) -> str:
    """The case whose tumour Dice is the (lower) median of those with a tumour: a rule, so that nobody picks one."""
    used = scores[(scores.tumour_ml > 0) & scores.tumour.notna()].sort_values(["tumour", "kidney"], kind="stable")
    used = used if len(used) else scores.sort_values("kidney", kind="stable")
    return str(used.index[(len(used) - 1) // 2])


def read_stage(path: Path, notebook: str) -> dict:
    """JSON that an earlier ``notebook`` wrote. Raises FileNotFoundError that names it."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; {notebook} writes it, so run that first")
    return json.loads(path.read_text())


def describe_data(build: Build, runs: Sequence[Run]) -> dict:
    """What the runs learned from and were scored on; ``refused``: the cases that 01 or 02 refused, with the reason.

    ``training`` and ``validation`` are numbers of cases. With ``folds`` (else None), ``validation`` counts all cases, since
    each is held out once, and ``training`` those that the smallest fold leaves to learn from, ``training_most`` the largest.
    """
    found = read_stage(build.data_analysis / "summary.json", "01_data_analysis")
    learned = [run.info["training_cases"] for run in runs[0].trained]
    prepared = read_stage(build.preprocessed / "report.json", "02_preprocessing")
    return {
        "simulated": found["simulated"],
        "training": min(learned),
        "training_most": max(learned),
        "folds": len(runs[0].folds) or None,
        "validation": len(runs[0].scores),
        "spacing": prepared["spacing"],
        "shares_percent": found["shares_percent"],
        "refused": found["refused"] | prepared["refused"],
    }


def software() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in SOFTWARE}


def to_plain(value: object) -> object:
    """``value`` as JSON can hold it: NaN becomes None, numpy and tuples Python and lists. Infinity: ValueError."""
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [to_plain(item) for item in value]
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, float) and math.isinf(value):
        raise ValueError("infinity is no result; look for a division by zero")
    return value


def write_results(path: Path, results: Mapping) -> None:
    """Write strict JSON; the file is replaced in one step, so a reader never sees half of it."""
    text = json.dumps(to_plain(results), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".json.part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)

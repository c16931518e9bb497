"""What a study shows: from its tidy table of scores to everything that a paper says of it, in one mapping.

The same functions serve a build's own runs and a published study, so that a test can work out each number of a paper
again from the published CSV.
"""

import math
from collections.abc import Mapping

import pandas as pd

from kitsnb.metric import SCORES
from kitsnb.study import tables
from kitsnb.study.audit import audit, count_network
from kitsnb.study.claims import check, load_seed_paper, state_comparisons
from kitsnb.study.statistics import compare_all
from kitsnb.study.variance import smallest_difference, variance_components

def report(about: Mapping, scores: pd.DataFrame) -> dict:
    """Join what is known ``about`` a study (as in study.json) and all that a paper says of its ``scores``.

    Rows of ``table`` have their difference in tumour Dice ``to_reference``: the baseline, or else the last row by the
    composite. ``needed`` is the smallest difference that the seed paper's design shows: its cases, one seed, nothing
    shared that is stated; ``takes`` has the same for more seeds, shared by the losses or not. Raises ValueError where
    rows have different seeds, which cannot be paired.
    """
    seed_paper = load_seed_paper()
    names = [row["name"] for row in about["experiments"]]
    check_seeds(scores)
    by_score = {score: tables.grids(scores, score, names) for score in SCORES}
    components = {score: variance_components(found) for score, found in by_score.items()}
    design = seed_paper["claims"]["validation_cases"]
    needed = {score: smallest_difference(found, design, 1, paired=False) for score, found in components.items()}
    table = tables.make_table(scores, about["experiments"], seed_paper)
    order = tables.ranked(table)
    reference = about["baseline"] if about["baseline"] in order else order[-1]
    for row in table:
        row["to_reference"] = tables.compare(scores, row["experiment"], reference, "tumour")
    seeds = table[0]["seeds"]
    found = {
        "about": about, "seeds": seeds, "cases": int(scores.case.nunique()), "design": design,
        "runs": seeds * len(table), "best": order[0], "worst": order[-1], "reference": reference,
        "table": table, "pairs": {score: compare_all(grids) for score, grids in by_score.items()},
        "components": components, "needed": needed, "takes": [],
        "claims": check([*state_comparisons(seed_paper), *about["hypotheses"]], scores),
        "size_correlation": float(describe_cases(scores).corr("spearman", min_periods=3).iloc[0, 1]),
        "audit": audit(seed_paper, about["labels"]),
        "network": count_network(about["settings"]["training"]["network"]),
    }
    if seeds > 1 and not math.isnan(needed["tumour"]):
        for number in (1, 3, 5, 10):
            shared = smallest_difference(components["tumour"], design, number)
            apart = smallest_difference(components["tumour"], design, number, paired=False)
            found["takes"].append({"seeds": number, "paired": shared, "unpaired": apart})
    return {**found, "findings": [finding(found)]}


def check_seeds(scores: pd.DataFrame) -> None:
    """Raise ValueError that names the rows whose seeds are not those of the first."""
    seeds = scores.groupby("experiment").seed.agg(lambda own: sorted(set(own)))
    odd = [f"{name} has {own}" for name, own in seeds.items() if own != seeds.iloc[0]]
    if odd:
        raise ValueError(f"rows are paired by seed: {seeds.index[0]} has {seeds.iloc[0]}, but {', '.join(odd)}; "
                         "train the same seeds for all")


def describe_cases(scores: pd.DataFrame) -> pd.DataFrame:
    """Average ``tumour_ml`` and tumour Dice of each case with a tumour over all runs."""
    return scores[scores.tumour_ml > 0].groupby("case")[["tumour_ml", "tumour"]].mean()


def finding(found: Mapping) -> str:
    """Say in two sentences what ``report`` found by the composite score: what can be told apart, what cannot."""
    pairs = found["pairs"]["composite"]
    titles = {row["experiment"]: row["title"] for row in found["table"]}
    if not pairs:
        mean = tables.number(found["table"][0]["scores"]["composite"]["mean"])
        return f"{titles[found['best']]} is the only row, so nothing is compared; its mean composite Dice is {mean}."
    apart = [pair for pair in pairs if pair["verdict"]]
    basis = f"cases and {found['seeds']} seeds" if found["seeds"] > 1 else "cases, with one seed"
    text = f"Of {tables.plural(len(pairs), 'pair')} of losses, {len(apart)} can be told apart over {basis}"
    if apart:
        largest = max(apart, key=lambda pair: pair["mean"])
        text += (f"; the largest difference of composite Dice is {tables.interval(largest)}, of "
                 f"{titles[largest['first']]} over {titles[largest['second']]}")
    if len(apart) < len(pairs):
        text += ". The others stay open, which does not show that these losses are alike"
    return f"{text}."

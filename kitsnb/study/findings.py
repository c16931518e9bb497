"""What a study shows: from its tidy table of scores to everything that a paper says of it, in one mapping."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from kitsnb.metric import SCORES
from kitsnb.study.audit import audit, count_network
from kitsnb.study.claims import check, load_seed_paper, state_comparisons
from kitsnb.study.statistics import compare_all, estimate
from kitsnb.study.tables import interval, make_grids, make_table, number, plural, ranked
from kitsnb.study.variance import smallest_difference, variance_components


def report(about: Mapping, scores: pd.DataFrame) -> dict:
    """Join what is known ``about`` a study (as in study.json) and all that a paper says of its ``scores``.

    ``to_reference``: the difference in tumour Dice to the baseline, or else to the last row. ``needed``: the smallest
    difference that the seed paper's design shows (its cases, one seed, nothing shared); ``takes``: the same for more
    seeds, shared by the losses or not. Raises ValueError where rows have different seeds.
    """
    seed_paper = load_seed_paper()
    grids = make_grids(scores, [row["name"] for row in about["experiments"]])
    components = {score: variance_components(grids[score]) for score in SCORES}
    design = seed_paper["claims"]["validation_cases"]
    needed = {score: smallest_difference(found, design, 1, paired=False) for score, found in components.items()}
    table = make_table(scores, about["experiments"], grids, seed_paper["table"])
    order = ranked(table)
    reference = about["baseline"] if about["baseline"] in order else order[-1]
    tumour = grids["tumour"]
    for row in table:
        row["to_reference"] = estimate(tumour[row["experiment"]] - tumour[reference])
    seeds = table[0]["seeds"]
    known = seeds > 1 and not math.isnan(needed["tumour"])
    pairs = {score: compare_all(grids[score]) for score in ("composite", "tumour")}
    return {
        "about": about,
        "seeds": seeds,
        "cases": int(scores.case.nunique()),
        "design": design,
        "best": order[0],
        "worst": order[-1],
        "reference": reference,
        "table": table,
        "pairs": pairs,
        "components": components,
        "needed": needed,
        "takes": what_seeds_show(components["tumour"], design) if known else [],
        "claims": check([*state_comparisons(seed_paper), *about["hypotheses"]], grids),
        "size_correlation": float(describe_cases(scores).corr("spearman", min_periods=3).iloc[0, 1]),
        "audit": audit(seed_paper, about["labels"]),
        "findings": [finding(table, pairs["composite"])],
        "network": count_network(about["settings"]["training"]["network"]),
    }


def what_seeds_show(components: Mapping, cases: int) -> list[dict]:
    """Return the smallest difference that numbers of seeds show on so many cases, shared by the losses or not."""
    designs = []
    for seeds in (1, 3, 5, 10):
        shared = smallest_difference(components, cases, seeds)
        apart = smallest_difference(components, cases, seeds, paired=False)
        designs.append({"seeds": seeds, "paired": shared, "unpaired": apart})
    return designs


def describe_cases(scores: pd.DataFrame) -> pd.DataFrame:
    """Average ``tumour_ml`` and tumour Dice of each case with a tumour over all runs."""
    return scores[scores.tumour_ml > 0].groupby("case")[["tumour_ml", "tumour"]].mean()


def finding(table: Sequence[Mapping], pairs: Sequence[Mapping]) -> str:
    """Say in two sentences what ``pairs`` of rows can be told apart by the composite score, and what cannot."""
    titles = {row["experiment"]: row["title"] for row in table}
    if not pairs:
        mean = number(table[0]["scores"]["composite"]["mean"])
        return f"{table[0]['title']} is the only row, so nothing is compared; its mean composite Dice is {mean}."
    seeds = table[0]["seeds"]
    basis = f"cases and {seeds} seeds" if seeds > 1 else "cases, with one seed"
    apart = [pair for pair in pairs if pair["verdict"]]
    text = f"Of {plural(len(pairs), 'pair')} of losses, {len(apart)} can be told apart over {basis}"
    if apart:
        largest = max(apart, key=lambda pair: pair["mean"])
        text += (f"; the largest difference of composite Dice is {interval(largest)}, of "
                 f"{titles[largest['first']]} over {titles[largest['second']]}")
    if len(apart) < len(pairs):
        text += ". The others stay open, which does not show that these losses are alike"
    return f"{text}."

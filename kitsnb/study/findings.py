"""What a study shows: from its tidy table of scores to everything that a paper says of it, in one mapping.

The same functions serve a build's own runs and a published study, so that a test can work out each number of a paper
again from the published CSV.
"""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from kitsnb.metric import SCORES
from kitsnb.study import tables
from kitsnb.study.audit import audit, count_network
from kitsnb.study.claims import check, load_seed_paper, state_comparisons
from kitsnb.study.statistics import compare_all, rank_shares
from kitsnb.study.variance import smallest_difference, variance_components

#: The row that others are compared with, where a study has it: the seed paper's baseline.
BASELINE = "log_cosh_dice"
#: Numbers of seeds for which results say what a design can show.
DESIGNS = (1, 3, 5, 10)


def describe(scores: pd.DataFrame, experiments: Sequence[Mapping], seed_paper: Mapping,
             hypotheses: Sequence[Mapping] = (), paired: bool = True, baseline: str = BASELINE) -> dict:
    """Describe a study: Table 1 with intervals, all pairs, ranks, variance components, what it takes, claims.

    ``experiments`` are rows (``name``, ``title``, ``loss``, ``parameters``) in the order of the table. ``needed`` is
    the smallest difference that the seed paper's design shows: its cases, one seed, nothing shared that is stated;
    ``takes`` has the same for more seeds, paired and not. Rows of the table also have their difference in tumour Dice
    ``to_reference``. Paired rows are compared by the seeds that all have; ``left_out`` names the others.
    """
    left_out = {}
    if paired:
        scores, left_out = tables.keep_shared_seeds(scores)
    design = seed_paper["claims"]["validation_cases"]
    by_score = {score: tables.grids(scores, score, [row["name"] for row in experiments]) for score in SCORES}
    pairs = {score: compare_all(found, paired) for score, found in by_score.items()}
    components = {score: variance_components(found, paired) for score, found in by_score.items()}
    needed = {score: smallest_difference(found, design, 1, paired=False) for score, found in components.items()}
    table = tables.make_table(scores, experiments, seed_paper, pairs)
    order = tables.ranked(table)
    rival, reference = tables.choose_pair(table, baseline)
    for row in table:
        row["to_reference"] = tables.compare(scores, row["experiment"], reference, "tumour", paired)
    seeds = min(row["seeds"] for row in table)
    by_size = describe_cases(scores)[["tumour_ml", "tumour"]].corr("spearman", min_periods=3)
    return {
        "paired": paired, "seeds": seeds, "left_out": left_out, "cases": int(scores.case.nunique()), "design": design,
        "runs": int(scores.groupby(["experiment", "seed"]).ngroups), "best": order[0], "worst": order[-1],
        "reference": reference, "rival": rival,
        "table": table, "pairs": pairs, "ranks": rank_shares(by_score["composite"], paired),
        "components": components, "needed": needed,
        "takes": _designs(components["tumour"], design, paired, seeds),
        "claims": check([*state_comparisons(seed_paper), *hypotheses], scores, paired),
        "size_correlation": float(by_size.iloc[0, 1]),
    }


def _designs(components: Mapping, cases: int, paired: bool, seeds: int) -> list[dict]:
    """List what ``cases`` and ``DESIGNS`` show in tumour Dice; nothing where one seed says nothing of seeds."""
    if seeds == 1 or math.isnan(smallest_difference(components, cases, 1)):
        return []
    designs = []
    for number in DESIGNS:
        row = {"cases": cases, "seeds": number, "unpaired": smallest_difference(components, cases, number, False)}
        if paired:
            row["paired"] = smallest_difference(components, cases, number)
        designs.append(row)
    return designs


def describe_cases(scores: pd.DataFrame) -> pd.DataFrame:
    """Describe the cases with a tumour: its volume (ml), tumour Dice as mean and range over the rows."""
    by_row = scores[scores.tumour_ml > 0].groupby(["case", "experiment"])[["tumour_ml", "tumour"]].mean()
    return by_row.groupby("case").agg(tumour_ml=("tumour_ml", "mean"), tumour=("tumour", "mean"),
                                      tumour_low=("tumour", "min"), tumour_high=("tumour", "max"))


def report(about: Mapping, scores: pd.DataFrame) -> dict:
    """Join what is known ``about`` a study (as in study.json) and all that a paper says of its ``scores``."""
    seed_paper = load_seed_paper()
    found = describe(scores, about["experiments"], seed_paper, about["hypotheses"], about["paired"],
                     about["baseline"])
    return {**found, "about": about, "findings": [finding(found)],
            "audit": audit(seed_paper, about["labels"], found),
            "network": count_network(about["settings"]["training"]["network"])}


def finding(found: Mapping) -> str:
    """Say in two sentences what ``describe`` found by the composite score: what can be told apart, what cannot."""
    pairs = found["pairs"]["composite"]
    if not pairs:
        (row,) = found["table"]
        mean = tables.number(row["scores"]["composite"]["mean"])
        return f"{row['title']} is the only row, so nothing is compared; its mean composite Dice is {mean}."
    titles = {row["experiment"]: row["title"] for row in found["table"]}
    apart = sorted((pair for pair in pairs if pair["verdict"]), key=lambda pair: -pair["mean"])
    basis = f"cases and {found['seeds']} seeds" if found["seeds"] > 1 else "cases, with one seed"
    text = f"Of {tables.plural(len(pairs), 'pair')} of losses, {len(apart)} can be told apart over {basis}"
    if apart:
        largest = apart[0]
        text += (f"; the largest difference of composite Dice is {tables.interval(largest)}, of "
                 f"{titles[largest['first']]} over {titles[largest['second']]}")
    text += "."
    if len(apart) < len(pairs):
        text += " The others stay open, which does not show that these losses are alike."
    return text

"""What a study shows: from its tidy table of scores to everything that the paper says of it, all in one mapping.

The same function serves a build's own runs and a published study, so that a test can work out each number of the paper
again from the published CSV.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from kitsnb.metric.score import SCORES
from kitsnb.study import tables
from kitsnb.study.claims import check, stated
from kitsnb.study.statistics import all_pairs, rank_shares, smallest_difference, variance_components


def describe(scores: pd.DataFrame, experiments: Sequence[Mapping], seed_paper: Mapping,
             hypotheses: Sequence[Mapping] = ()) -> dict:
    """Table 1 with intervals, all pairs, ranks, variance components, what the seed paper's design needs, claims.

    ``experiments`` are rows (``name``, ``title``, ``loss``, ``parameters``) in the order of the table. ``claims`` holds
    the seed paper's comparisons, then ``hypotheses``, each checked (``claims.check``); the former with ``needed``, the
    smallest difference that its design could show (``statistics.smallest_difference``).
    """
    stated_design = seed_paper["claims"]["validation_cases"], 1
    by_score = {score: tables.grids(scores, score, [row["name"] for row in experiments]) for score in SCORES}
    pairs = {score: all_pairs(found) for score, found in by_score.items()}
    components = {score: variance_components(found) for score, found in by_score.items()}
    needed = {score: smallest_difference(found, *stated_design) for score, found in components.items()}
    table = tables.make_table(scores, experiments, seed_paper, pairs)
    order = tables.ranked(table)
    claims = [one | ({"needed": needed[one["score"]]} if one["kind"] == "seed paper" else {})
              for one in check([*stated(seed_paper), *hypotheses], scores)]
    return {
        "seeds": min(row["seeds"] for row in table), "cases": int(scores.case.nunique()), "best": order[0],
        "worst": order[-1],
        "runs": int(scores.groupby(["experiment", "seed"]).ngroups), "table": table, "pairs": pairs,
        "ranks": {score: rank_shares(found) for score, found in by_score.items()}, "components": components,
        "needed": needed,
        "claims": claims, "order_agreement": tables.agreement(table),
        "distances": tables.distances(scores, experiments),
        "by_size": tables.by_size(scores, experiments),
    }


def sentences(found: Mapping, score: str = "composite") -> list[str]:
    """The findings of ``describe`` in words, for the notebook: which pairs are settled, and by what."""
    titles = {row["experiment"]: row["title"] for row in found["table"]}
    pairs = found["pairs"][score]
    if not pairs:
        (row,) = found["table"]
        return [f"{row['title']} is the only row, so nothing is compared; mean {score} "
                f"{tables.number(row['scores'][score]['mean'])}."]
    won = [pair for pair in pairs if pair["verdict"]]
    by = "cases and seeds"
    if found["seeds"] == 1:
        by = "cases alone: with one seed, what a run adds by chance is not known"
    lines = [f"Of {tables.plural(len(pairs), 'pair')} of losses, {len(won)} can be told apart in {score} (over {by})."]
    lines += [f"**{titles[pair['first']]}** is higher than **{titles[pair['second']]}** ({tables.interval(pair)}, "
              f"p = {pair['p_holm']:.2g} after Holm)." for pair in won[:5]]
    return lines + ([f"And {len(won) - 5} more pairs."] if len(won) > 5 else [])

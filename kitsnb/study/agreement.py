"""Does one study foretell another? How far two agree on the order of losses that both have, and on cases."""

from collections.abc import Mapping

import pandas as pd

from kitsnb.study.findings import describe_cases
from kitsnb.study.tables import composites


def agreement(here: Mapping, scores: pd.DataFrame, there: Mapping, their_scores: pd.DataFrame) -> dict | None:
    """Compare two studies (``findings.report``) on the rows and cases of both; None with fewer than three rows.

    ``order``: Kendall's rank correlation of mean composite Dice. Of the pairs of losses told apart ``there``, so many
    are told apart here in the ``same`` direction, or in the ``opposite`` one. ``cases``: how many both scored, and
    ``case_order``: Spearman's rank correlation of their tumour Dice, the mean over all rows and seeds.
    """
    both = pd.concat([composites(here["table"]), composites(there["table"])], axis=1).dropna()
    if len(both) < 3:
        return None
    ours = told_apart(here)
    theirs = {pair for pair in told_apart(there) if both.index.isin(pair).sum() == 2}
    cases = pd.concat([describe_cases(scores).tumour, describe_cases(their_scores).tumour], axis=1).dropna()
    return {
        "name": there["about"]["name"],
        "provenance": there["about"].get("provenance", ""),
        "rows": len(both),
        "order": float(both.corr("kendall").iloc[0, 1]),
        "apart": len(theirs),
        "same": len(ours & theirs),
        "opposite": len(ours & {pair[::-1] for pair in theirs}),
        "cases": len(cases),
        "case_order": float(cases.corr("spearman").iloc[0, 1]),
    }


def told_apart(found: Mapping) -> set[tuple[str, str]]:
    """List the pairs that a study tells apart by the composite, the higher row first."""
    return {(pair["first"], pair["second"]) for pair in found["pairs"]["composite"] if pair["verdict"]}

"""Does one study foretell another? How far two agree on the order of losses that both have, and on cases."""

from collections.abc import Mapping

import pandas as pd

from kitsnb.study.findings import describe_cases


def agreement(here: Mapping, scores: pd.DataFrame, there: Mapping, their_scores: pd.DataFrame) -> dict | None:
    """Compare two studies (``findings.report``) on the rows and cases of both; None with fewer than three rows.

    ``order``: Kendall's rank correlation of mean composite Dice. Of the pairs of losses told apart ``there``, so many
    are told apart here in the ``same`` direction, or in the ``opposite`` one. ``cases``: how many both scored, and
    ``case_order``: Spearman's rank correlation of their tumour Dice, the mean over all rows and seeds.
    """
    means = []
    for found in (here, there):
        means.append({row["experiment"]: row["scores"]["composite"]["mean"] for row in found["table"]})
    both = pd.DataFrame(means).dropna(axis=1).T
    if len(both) < 3:
        return None
    apart = []
    for found in (here, there):
        directed = set()
        for pair in found["pairs"]["composite"]:
            names = pair["first"], pair["second"]
            if pair["verdict"] and both.index.isin(names).sum() == 2:
                directed.add(names)
        apart.append(directed)
    ours, theirs = apart
    cases = pd.concat([describe_cases(scores).tumour, describe_cases(their_scores).tumour], axis=1).dropna()
    return {
        "name": there["about"]["name"],
        "provenance": there["about"].get("provenance", ""),
        "rows": len(both),
        "order": float(both.corr("kendall").iloc[0, 1]),
        "apart": len(theirs),
        "same": len(ours & theirs),
        "opposite": len(ours & {(second, first) for first, second in theirs}),
        "cases": len(cases),
        "case_order": float(cases.corr("spearman").iloc[0, 1]),
    }

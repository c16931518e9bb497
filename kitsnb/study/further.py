"""Further studies: published ones without all of the seed paper's rows, told in the paper of the study whose cases they scored."""

from collections.abc import Mapping, Sequence

import pandas as pd

from kitsnb.study.statistics import direction, estimate
from kitsnb.study.tables import make_grids

#: Scores that are told of a further row; a difference is that of the composite.
TOLD = ("kidney_and_tumour", "tumour")


def describe(about: Mapping, scores: pd.DataFrame, own: Sequence[str]) -> dict:
    """Describe the rows ``own`` of a study: means, and the difference to the row that each is ``compared_with``."""
    titles = {row["name"]: row["title"] for row in about["experiments"]}
    grids = make_grids(scores, titles)
    rows = []
    for row in about["experiments"]:
        if row["name"] not in own:
            continue
        told = {score: estimate(grids[score][row["name"]]) for score in TOLD}
        other = row.get("compared_with")
        difference = estimate(grids["composite"][row["name"]], grids["composite"][other]) if other else None
        rows.append({"title": row["title"], "parameters": row["parameters"], "loss": row["loss"], **told,
                     "against": titles.get(other), "difference": difference,
                     "direction": difference and direction(difference)})
    training = about["settings"]["training"]
    return {"name": about["name"], "title": about["title"], "seeds": len(scores.seed.unique()), "rows": rows,
            "steps": training["epochs"] * training["steps_per_epoch"], "varied": varied(rows)}


def varied(rows: Sequence[Mapping]) -> str | None:
    """Name the one parameter in which ``rows`` of one loss differ, such as "exponent"; None where there is no such."""
    names = {name for row in rows for name in row["parameters"]}
    differing = [name for name in names if len({str(row["parameters"].get(name)) for row in rows}) > 1]
    alike = len({row["loss"] for row in rows}) == 1
    return differing[0] if alike and len(differing) == 1 and len(rows) > 2 else None

"""Further studies: without all of the seed paper's rows, told in the paper of the study whose cases they scored."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from kitsnb.study.statistics import direction, estimate
from kitsnb.study.tables import make_grids

#: Scores that are told of a further row; a difference is that of the composite.
TOLD = ("kidney_and_tumour", "tumour")


def describe(about: Mapping, scores: pd.DataFrame, own: Collection[str]) -> dict:
    """Describe the rows ``own`` of a study: means, and the difference to the row that each is ``compared_with``."""
    titles = {row["name"]: row["title"] for row in about["experiments"]}
    grids = make_grids(scores, titles)
    composite = grids["composite"]
    rows = []
    for row in about["experiments"]:
        name = row["name"]
        if name not in own:
            continue
        told = {key: row[key] for key in ("title", "loss", "parameters")}
        for score in TOLD:
            told[score] = estimate(grids[score][name])
        other = row.get("compared_with")
        difference = estimate(composite[name] - composite[other]) if other else None
        told["against"] = titles.get(other)
        told["difference"] = difference
        told["direction"] = direction(difference) if difference else None
        rows.append(told)
    training = about["settings"]["training"]
    return {
        "name": about["name"],
        "title": about["title"],
        "seeds": scores.seed.nunique(),
        "steps": training["epochs"] * training["steps_per_epoch"],
        "rows": rows,
        "varied": varied(rows),
    }


def varied(rows: Sequence[Mapping]) -> str | None:
    """Name the one parameter in which ``rows`` of one loss differ, numbers in all; None where there is no such."""
    losses = {row["loss"] for row in rows}
    values = pd.DataFrame([row["parameters"] for row in rows])
    differing = values.columns[values.astype(str).nunique() > 1]
    if len(rows) < 3 or len(losses) > 1 or len(differing) != 1:
        return None
    for value in map(np.asarray, values[differing[0]]):
        if value.dtype.kind not in "if" or not np.isfinite(value).all():  # a text, or left to the loss
            return None
    return differing[0]

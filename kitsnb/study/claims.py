"""Claims on Table 1, and what became of them: the seed paper's, and what the losses alone let one expect.

Each is about an experiment against a reference row and says "higher", "lower" or "same" of a score, except for one that
names the lowest row. Hypotheses are written down by notebook 03 before the runs are looked at.
"""

from collections.abc import Mapping, Sequence

import pandas as pd
import yaml

from kitsnb.files import PAPER
from kitsnb.study.statistics import direction
from kitsnb.study.tables import compare


def load_seed_paper() -> dict:
    """Read the seed paper's table, comparisons and settings, as they are printed there."""
    return yaml.safe_load((PAPER / "seed_paper.yml").read_text(encoding="utf-8"))


def state_comparisons(seed_paper: Mapping) -> list[dict]:
    """Turn the seed paper's comparisons into claims; ``stated`` is the difference in its table."""
    table = {row["experiment"]: row for row in seed_paper["table"]}
    claims = []
    for one in seed_paper["comparisons"]:
        higher, lower, score = one["higher"], one["lower"], one["score"]
        stated = round(table[higher][score] - table[lower][score], 3)  # its table has three decimals
        claims.append({"kind": "seed paper", "experiment": higher, "reference": lower, "score": score,
                       "expected": "higher", "stated": stated})
    return claims


def check(claims: Sequence[Mapping], scores: pd.DataFrame, paired: bool = True) -> list[dict]:
    """Add to each of ``claims`` the ``difference`` in a study's ``scores`` (``tables.compare``) and a ``verdict``.

    "held" or "refuted" where the interval leaves out zero, "undecided" where it does not; "same" can only be "refuted"
    or "not refuted". The lowest row "held" where it is below each other row by an interval, and is "refuted" where it
    is above one. Rows that were not run: "not run".
    """
    here = list(scores.experiment.unique())
    checked = []
    for one in claims:
        name, reference, score = one["experiment"], one["reference"], one["score"]
        difference = None
        if len(here) < 2 or name not in here or (reference and reference not in here):
            verdict = "not run"
        elif one["kind"] == "lowest":
            others = [compare(scores, name, other, score, paired) for other in here if other != name]
            verdict = decide_lowest(others)
        else:
            difference = compare(scores, name, reference, score, paired)
            verdict = decide(one["expected"], difference)
        checked.append({**one, "difference": difference, "verdict": verdict})
    return checked


def decide(expected: str, difference: Mapping[str, float]) -> str:
    """Judge "higher", "lower" or "same" by an interval (``statistics.direction``)."""
    found = direction(difference)
    if expected == "same":
        return "refuted" if found else "not refuted"
    if found is None:
        return "undecided"
    return "held" if found == expected else "refuted"


def decide_lowest(differences: Sequence[Mapping[str, float]]) -> str:
    """Judge that a row is the lowest by its ``differences`` to all others."""
    found = {direction(difference) for difference in differences}
    if "higher" in found:
        return "refuted"
    return "held" if found == {"lower"} else "undecided"

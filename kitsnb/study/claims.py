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
        score = one["score"]
        stated = table[one["higher"]][score] - table[one["lower"]][score]
        claims.append({"kind": "seed paper", "experiment": one["higher"], "reference": one["lower"], "score": score,
                       "expected": "higher", "stated": round(stated, 3)})  # its table has three decimals
    return claims


def check(claims: Sequence[Mapping], scores: pd.DataFrame) -> list[dict]:
    """Add to each of ``claims`` the ``difference`` in a study's ``scores`` (``tables.compare``) and a ``verdict``.

    "held" or "refuted" where the interval leaves out zero, "undecided" where it does not; "same" can only be "refuted"
    or "not refuted". The lowest row "held" where it is below each other row by an interval, and is "refuted" where it
    is above one. Rows that were not run: "not run".
    """
    rows = set(scores.experiment)
    checked = []
    for one in claims:
        name = one["experiment"]
        others = [one["reference"]] if one["reference"] else sorted(rows - {name})
        differences = []
        verdict = "not run"
        if others and rows.issuperset([name, *others]):
            differences = [compare(scores, name, other, one["score"]) for other in others]
            verdict = decide(one["expected"], {direction(difference) for difference in differences})
        difference = differences[0] if differences and one["reference"] else None
        checked.append({**one, "difference": difference, "verdict": verdict})
    return checked


def decide(expected: str, found: set[str | None]) -> str:
    """Judge "higher", "lower", "same" or "lowest" by the directions of its differences (``statistics.direction``)."""
    if expected == "same":
        return "not refuted" if found == {None} else "refuted"
    wanted = "lower" if expected == "lowest" else expected
    if found == {wanted}:
        return "held"
    return "undecided" if found <= {wanted, None} else "refuted"

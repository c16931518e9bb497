"""Claims on Table 1, and what became of them: the seed paper's, and what the losses alone let one expect.

Each is about an experiment against a reference row and says "higher", "lower" or "same" of a score, except for one that
names the lowest row. Hypotheses are written down by notebook 03 before the runs are looked at.
"""

from collections.abc import Mapping, Sequence

import pandas as pd
import yaml

from kitsnb.files import PAPER
from kitsnb.study.statistics import settled
from kitsnb.study.tables import compare


def load_seed_paper() -> dict:
    """The seed paper's table, comparisons and settings, as they are printed there."""
    return yaml.safe_load((PAPER / "seed_paper.yml").read_text(encoding="utf-8"))


def stated(seed_paper: Mapping) -> list[dict]:
    """The seed paper's own comparisons as claims of kind "seed paper", ``stated`` the difference in its table."""
    table = {row["experiment"]: row for row in seed_paper["table"]}
    return [{"kind": "seed paper", "experiment": one["higher"], "reference": one["lower"], "score": one["score"],
             "expected": "higher",  # its table has three decimals
             "stated": round(table[one["higher"]][one["score"]] - table[one["lower"]][one["score"]], 3)}
            for one in seed_paper["comparisons"]]


def check(claims: Sequence[Mapping], scores: pd.DataFrame) -> list[dict]:
    """``claims`` with the paired ``difference`` in a study's ``scores`` (``tables.compare``) and a ``verdict``.

    "held" or "refuted" where the interval leaves out zero, "undecided" where it does not; "same" can only be
    "refuted" or "not refuted". The lowest row has no difference of its own: it "held" where it is below each other
    row by an interval, is "refuted" where it is above one. Rows that were not run: "not run".
    """
    here, checked = list(scores.experiment.unique()), []
    for one in claims:
        name, reference, score, difference = one["experiment"], one["reference"], one["score"], None
        if not {name, reference or name} <= set(here):
            verdict = "not run"
        elif one["kind"] == "lowest":
            found = {settled(compare(scores, name, other, score)) for other in here if other != name}
            verdict = "refuted" if "higher" in found else "held" if found == {"lower"} else "undecided"
        else:
            difference = compare(scores, name, reference, score)
            verdict = decide(one["expected"], difference)
        checked.append({**one, "difference": difference, "verdict": verdict})
    return checked


def decide(expected: str, difference: Mapping[str, float]) -> str:
    """Verdict on "higher", "lower" or "same" from an interval (``statistics.settled``); without one there is none."""
    found = settled(difference)
    if expected == "same":
        return "refuted" if found else "not refuted"
    return "undecided" if found is None else "held" if found == expected else "refuted"

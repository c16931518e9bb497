"""Claims on Table 1, and what became of them: the seed paper's, and hypotheses that notebook 03 makes beforehand.

Each expects "higher", "lower" or "same" of a score of an experiment against a reference, or names the "lowest" row.
"""

from collections.abc import Mapping, Sequence

import yaml

from kitsnb.files import PAPER
from kitsnb.study.statistics import direction, estimate


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
        claims.append({
            "kind": "seed paper",
            "experiment": one["higher"],
            "reference": one["lower"],
            "score": score,
            "expected": "higher",
            "stated": round(stated, 3),  # its table has three decimals
        })
    return claims


def check(claims: Sequence[Mapping], grids: Mapping[str, Mapping]) -> list[dict]:
    """Add to each of ``claims`` the ``difference`` in a study's ``grids`` (``tables.make_grids``) and a ``verdict``.

    The lowest row is compared with all others ``among`` which it was expected to be. Where a row is missing, the
    verdict is "not run".
    """
    checked = []
    for one in claims:
        rows = grids[one["score"]]
        name = one["experiment"]
        others = {one["reference"]}
        if not one["reference"]:
            others = set(one.get("among") or rows) - {name}
        differences = []
        verdict = "not run"
        if others and rows.keys() >= {name, *others}:
            differences = [estimate(rows[name] - rows[other]) for other in others]
            verdict = decide(one["expected"], {direction(difference) for difference in differences})
            if not all(difference["n"] for difference in differences):
                verdict = "undecided"
        difference = differences[0] if differences and one["reference"] else None
        checked.append({**one, "difference": difference, "verdict": verdict})
    return checked


def decide(expected: str, found: set[str | None]) -> str:
    """Judge a claim by the directions of its differences (``statistics.direction``): "held", "refuted", "undecided".

    "same" can only be "refuted" or "not refuted". "lowest" is held where the row is below all others.
    """
    if expected == "same":
        return "not refuted" if found == {None} else "refuted"
    wanted = "lower" if expected == "lowest" else expected
    if found == {wanted}:
        return "held"
    return "undecided" if found <= {wanted, None} else "refuted"

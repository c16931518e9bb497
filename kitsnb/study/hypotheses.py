"""Predictions about Table 1 from the losses alone, and what became of them. Notebook 03 makes them, 05 checks them.

Each is about an experiment against a reference row and says "higher", "lower" or "same" of a score, except for one that
names the lowest row. The rules are the same for every loss, so a new one gets its predictions, too.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from kitsnb.study.runs import Run
from kitsnb.study.tables import compare, ranked

#: A measure of a loss counts as different from the reference's above this factor, or below its inverse.
FACTOR = 1.25
#: By kind: the measure of a loss, and the column of ``scores.csv`` that should follow it.
RULES = {
    "tumour": ("share of the gradient on tumour voxels, half-trained", "tumour"),
    "volume": ("price of a missed over an invented tumour", "predicted_tumour_ml"),
}
FALL = "gradient, trained over half-trained"


def predict(experiments: Sequence[str], shares: pd.DataFrame, price: pd.Series, reference: str) -> list[dict]:
    """Predictions for ``experiments``, from ``anatomy.gradient_shares`` and ``anatomy.price_of_missing``.

    Per row but the ``reference``, one of each of ``RULES``: ``kind``, ``experiment``, ``reference``, ``score``,
    ``expected``, ``measure`` and its ``ratio`` to the reference's. Then one of kind "lowest": the row whose gradient falls
    most as training goes on is the last by the composite; ``ratio`` is that fall. Raises KeyError for an unknown reference.
    """
    if reference not in experiments:
        raise KeyError(f"reference {reference!r} is none of the experiments {', '.join(experiments)}")
    by_stage = shares.set_index(["stage", "loss"])
    measures = {"tumour": by_stage.loc["half-trained"].share_2, "volume": price}
    made = []
    for kind, (measure, score) in RULES.items():
        for name in experiments:
            if name != reference:
                ratio = float(measures[kind][name] / measures[kind][reference])
                expected = "higher" if ratio > FACTOR else "lower" if ratio < 1 / FACTOR else "same"
                made.append({"kind": kind, "experiment": name, "reference": reference, "score": score,
                             "expected": expected, "measure": measure, "ratio": ratio})
    fall = (by_stage.loc["trained"].gradient / by_stage.loc["half-trained"].gradient)[list(experiments)]
    if len(experiments) > 1:
        made.append({"kind": "lowest", "experiment": str(fall.idxmin()), "reference": None, "score": "composite",
                     "expected": "lowest", "measure": FALL, "ratio": float(fall.min())})
    return made


def check(predictions: Sequence[Mapping], runs: Sequence[Run], table: Sequence[Mapping]) -> list[dict]:
    """``predictions`` with the paired ``difference`` that was measured (``results.compare``) and a ``verdict``.

    "held" or "refuted" where the interval leaves out zero, "undecided" where it does not; "same" can only be "refuted" or
    "not refuted". The lowest row is judged by means: "held" or "refuted". Rows that were not run: "not run".
    """
    run, checked = {row["experiment"] for row in table}, []
    for prediction in predictions:
        difference = None
        if not {prediction["experiment"], prediction["reference"] or prediction["experiment"]} <= run:
            verdict = "not run"
        elif prediction["kind"] == "lowest":
            verdict = "held" if ranked(table, prediction["score"])[-1] == prediction["experiment"] else "refuted"
        else:
            score = prediction["score"]
            difference = compare(runs, prediction["experiment"], prediction["reference"], [score])[score]
            verdict = judge(prediction["expected"], difference)
        checked.append({**prediction, "difference": difference, "verdict": verdict})
    return checked


def judge(expected: str, difference: Mapping[str, float]) -> str:
    """Verdict on "higher", "lower" or "same" from the ends of an interval (NaN: there is none, so nothing is decided)."""
    found = "higher" if difference["low"] > 0 else "lower" if difference["high"] < 0 else None
    if expected == "same":
        return "refuted" if found else "not refuted"
    return "undecided" if found is None else "held" if found == expected else "refuted"

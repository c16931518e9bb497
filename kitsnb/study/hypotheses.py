"""What the losses alone let one expect of Table 1, and what became of it. Notebook 03 writes it down, 05 checks it.

Each hypothesis is about an experiment against a reference row and says "higher", "lower" or "same" of a score, except
for one that names the lowest row. The rules are the same for every loss, so a new one gets its hypotheses, too.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from kitsnb.study.runs import Run
from kitsnb.study.statistics import settled
from kitsnb.study.tables import compare

#: A measure of a loss counts as different from the reference's above this factor, or below its inverse.
FACTOR = 1.25
#: By kind: the measure of a loss, and the column of ``scores.csv`` that should follow it.
RULES = {
    "tumour": ("share of the gradient on tumour voxels, half-trained", "tumour"),
    "volume": ("price of a missed over an invented tumour", "predicted_tumour_ml"),
}
FALL = "gradient, trained over half-trained"


def expect(experiments: Sequence[str], gradient: pd.DataFrame, price: pd.Series, reference: str) -> list[dict]:
    """Hypotheses on ``experiments``, from ``probes.gradient_shares`` and ``probes.price_of_missing``.

    Per row but the ``reference``, one of each of ``RULES``: ``kind``, ``experiment``, ``reference``, ``score``,
    ``expected``, ``measure`` and its ``ratio`` to the reference's. Then one of kind "lowest": the row whose gradient
    falls most as training goes on is the last by the composite; ``ratio`` is that fall. Raises KeyError for an
    unknown reference.
    """
    if reference not in experiments:
        raise KeyError(f"reference {reference!r} is none of the experiments {', '.join(experiments)}")
    by_stage = gradient.set_index(["stage", "loss"])
    measures = {"tumour": by_stage.loc["half-trained"].tumour, "volume": price}
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


def check(hypotheses: Sequence[Mapping], runs: Sequence[Run]) -> list[dict]:
    """``hypotheses`` with the paired ``difference`` that was measured (``tables.compare``) and a ``verdict``.

    "held" or "refuted" where the interval leaves out zero, "undecided" where it does not; "same" can only be
    "refuted" or "not refuted". The lowest row has no difference of its own: it "held" where it is below each other
    row by an interval, is "refuted" where it is above one. Rows that were not run: "not run".
    """
    here = list(dict.fromkeys(run.experiment for run in runs))
    checked = []
    for one in hypotheses:
        name, reference, score, difference = one["experiment"], one["reference"], one["score"], None
        if not {name, reference or name} <= set(here):
            verdict = "not run"
        elif one["kind"] == "lowest":
            found = {settled(compare(runs, name, other, [score])[score]) for other in here if other != name}
            verdict = "refuted" if "higher" in found else "held" if found == {"lower"} else "undecided"
        else:
            difference = compare(runs, name, reference, [score])[score]
            verdict = decide(one["expected"], difference)
        checked.append({**one, "difference": difference, "verdict": verdict})
    return checked


def decide(expected: str, difference: Mapping[str, float]) -> str:
    """Verdict on "higher", "lower" or "same" from the ends of an interval; NaN (there is none) decides nothing."""
    found = settled(difference)
    if expected == "same":
        return "refuted" if found else "not refuted"
    return "undecided" if found is None else "held" if found == expected else "refuted"

"""What the losses alone let one expect of Table 1, by rules that are the same for every loss: a new one has its own.

``kitsnb.study.claims`` checks it against the runs.
"""

from collections.abc import Sequence

import pandas as pd

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

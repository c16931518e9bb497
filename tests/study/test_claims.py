"""Hypotheses on Table 1 from made-up probes, and their verdicts, by hand."""

import numpy as np
import pandas as pd
import pytest
from probing.probes import expect

from kitsnb.study import claims


def shares_table() -> pd.DataFrame:
    tumour = {"dice": (0.02, 1.0), "more": (0.03, 0.9), "less": (0.01, 0.01), "alike": (0.021, 1.2)}
    rows = [{"stage": "half-trained", "loss": name, "tumour": share, "gradient": 1.0} for name, (share, _) in tumour.items()]
    return pd.DataFrame(rows + [{"stage": "trained", "loss": name, "tumour": 0.0, "gradient": g} for name, (_, g) in tumour.items()])


def test_hypotheses_by_hand():
    price = pd.Series({"dice": 1.0, "more": 2.3, "less": 0.5, "alike": 1.1})
    made = expect(["dice", "more", "less", "alike"], shares_table(), price, "dice")
    found = {(one["kind"], one["experiment"]): (one["expected"], one["ratio"]) for one in made}
    assert found == {
        ("tumour", "more"): ("higher", 1.5), ("tumour", "less"): ("lower", 0.5), ("tumour", "alike"): ("same", pytest.approx(1.05)),
        ("volume", "more"): ("higher", 2.3), ("volume", "less"): ("lower", 0.5), ("volume", "alike"): ("same", 1.1),
        ("lowest", "less"): ("lowest", 0.01),
    }


@pytest.mark.parametrize("expected, low, high, verdict", [
    ("higher", 0.1, 0.2, "held"), ("higher", -0.2, -0.1, "refuted"), ("higher", -0.1, 0.1, "undecided"),
    ("lower", -0.2, -0.1, "held"), ("lower", 0.1, 0.2, "refuted"), ("lower", np.nan, np.nan, "undecided"),
    ("same", 0.1, 0.2, "refuted"), ("same", -0.2, -0.1, "refuted"), ("same", -0.1, 0.1, "not refuted"),
])
def test_verdicts(expected, low, high, verdict):
    assert claims.decide(expected, {"low": low, "high": high, "crossed_low": np.nan, "crossed_high": np.nan}) == verdict
    wide = {"crossed_low": -0.5, "crossed_high": 0.5}  # over cases and seeds nothing is settled
    assert claims.decide(expected, {"low": low, "high": high, **wide}) == ("not refuted" if expected == "same" else "undecided")


def study(**rows: list[float]) -> pd.DataFrame:
    """Make a tidy table of one seed."""
    parts = [pd.DataFrame({"experiment": name, "seed": 0, "case": list("abcdef"), "tumour": values, "composite": values,
                           "predicted_tumour_ml": np.multiply(10, values)}) for name, values in rows.items()]
    return pd.concat(parts)


LOW = np.linspace(0.1, 0.3, 6)


def test_hypotheses_are_checked_against_paired_cases():
    base = {"experiment": "more", "reference": "dice", "kind": "tumour", "score": "tumour", "expected": "higher"}
    checked = claims.check([
        base, base | {"expected": "same"}, base | {"score": "predicted_tumour_ml", "expected": "lower"},
        base | {"experiment": "gone"},
    ], study(dice=LOW, more=LOW + 0.1))
    assert [one["verdict"] for one in checked] == ["held", "refuted", "refuted", "not run"]
    assert checked[0]["difference"]["mean"] == pytest.approx(0.1) and checked[2]["difference"]["mean"] == pytest.approx(1.0)
    assert checked[3]["difference"] is None
    lowest = base | {"kind": "lowest", "experiment": "dice", "reference": None}
    assert claims.check([lowest], study(dice=LOW))[0]["verdict"] == "not run", "a row alone is compared with nothing"


@pytest.mark.parametrize("name, verdict", [("low", "held"), ("high", "refuted"), ("middle", "refuted"), ("noisy", "undecided")])
def test_the_lowest_row_is_decided_by_intervals_not_by_means(name, verdict):
    rows = {"low": LOW, "middle": LOW + 0.4, "high": LOW + 0.5}
    if name == "noisy":  # the lowest mean of all, by one case
        rows = {"middle": LOW + 0.4, "high": LOW + 0.5, "noisy": [*(LOW[:5] + 0.45), 0.0]}
    one = {"experiment": name, "reference": None, "kind": "lowest", "score": "composite", "expected": "lowest"}
    assert claims.check([one], study(**rows))[0]["verdict"] == verdict


def test_comparisons_are_the_seed_papers():
    seed_paper = claims.load_seed_paper()
    rows = {row["experiment"]: row for row in seed_paper["table"]}
    assert all(rows[one["higher"]][one["score"]] > rows[one["lower"]][one["score"]] for one in seed_paper["comparisons"])
    stated = claims.state_comparisons(seed_paper)
    assert len(stated) == 7 and stated[1]["stated"] == 0.087

"""Hypotheses on Table 1 from made-up probes, and verdicts on claims, by hand."""

import numpy as np
import pandas as pd
import pytest
from probing.probes import expect

from kitsnb.study import claims

LOW = np.linspace(0.1, 0.3, 6)


def test_hypotheses_by_hand():
    tumour = {"dice": (0.02, 1.0), "more": (0.03, 0.9), "less": (0.01, 0.01), "alike": (0.021, 1.2)}
    rows = []
    for name, (share, gradient) in tumour.items():
        rows.append({"stage": "half-trained", "loss": name, "tumour": share, "gradient": 1.0})
        rows.append({"stage": "trained", "loss": name, "tumour": 0.0, "gradient": gradient})
    tumour["free"] = (0.021, 1.0)  # inventing costs nothing: its price is not known
    rows += [rows[-2] | {"loss": "free"}, rows[-1] | {"loss": "free"}]
    price = pd.Series({"dice": 1.0, "more": 2.3, "less": 0.5, "alike": 1.1, "free": np.nan})
    made = expect(list(tumour), pd.DataFrame(rows), price, "dice")
    found = {(one["kind"], one["experiment"]): (one["expected"], pytest.approx(one["ratio"])) for one in made}
    assert found == {
        ("tumour", "more"): ("higher", 1.5), ("tumour", "less"): ("lower", 0.5), ("tumour", "alike"): ("same", 1.05),
        ("tumour", "free"): ("same", 1.05),
        ("volume", "more"): ("higher", 2.3), ("volume", "less"): ("lower", 0.5), ("volume", "alike"): ("same", 1.1),
        ("lowest", "less"): ("lowest", 0.01),
    }


@pytest.mark.parametrize("expected, found, verdict", [
    ("higher", {"higher"}, "held"), ("higher", {"lower"}, "refuted"), ("higher", {None}, "undecided"),
    ("lower", {"lower"}, "held"), ("lower", {"higher"}, "refuted"),
    ("same", {"higher"}, "refuted"), ("same", {"lower"}, "refuted"), ("same", {None}, "not refuted"),
    ("lowest", {"lower"}, "held"), ("lowest", {"lower", None}, "undecided"), ("lowest", {None, "higher"}, "refuted"),
])
def test_verdicts(expected, found, verdict):
    assert claims.decide(expected, found) == verdict


def study(**rows: list[float]) -> dict:
    """Make the grids of one seed."""
    grids = {name: np.array([values]) for name, values in rows.items()}
    volumes = {name: 10 * grid for name, grid in grids.items()}
    return {"tumour": grids, "composite": grids, "predicted_tumour_ml": volumes}


def test_claims_are_checked_against_paired_cases():
    base = {"experiment": "more", "reference": "dice", "kind": "tumour", "score": "tumour", "expected": "higher"}
    volume = base | {"score": "predicted_tumour_ml", "expected": "lower"}
    checked = claims.check([base, volume, base | {"experiment": "gone"}], study(dice=LOW, more=LOW + 0.1))
    assert [one["verdict"] for one in checked] == ["held", "refuted", "not run"]
    assert [one["difference"]["mean"] for one in checked[:2]] == pytest.approx([0.1, 1.0])
    assert checked[2]["difference"] is None
    unknown = claims.check([base | {"expected": "same"}], study(dice=LOW, more=LOW * np.nan))
    assert unknown[0]["verdict"] == "undecided", "no case was scored under both"


def test_the_lowest_row_is_below_all_others():
    lowest = {"experiment": "low", "reference": None, "kind": "lowest", "score": "composite", "expected": "lowest"}
    assert claims.check([lowest], study(low=LOW))[0]["verdict"] == "not run", "a row alone is compared with nothing"
    rows = study(low=LOW, middle=LOW + 0.4, high=LOW + 0.5)
    checked = claims.check([lowest, lowest | {"experiment": "middle"}], rows)
    assert [one["verdict"] for one in checked] == ["held", "refuted"]
    among = lowest | {"experiment": "middle", "among": ["middle", "high"]}
    assert claims.check([among], rows)[0]["verdict"] == "held", "rows of another study were not among those measured"


def test_comparisons_are_the_seed_papers():
    stated = claims.state_comparisons(claims.load_seed_paper())
    assert len(stated) == 7 and stated[1]["stated"] == 0.087 and all(one["stated"] > 0 for one in stated)

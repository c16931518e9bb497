"""Tables and findings from made-up scores: every number here is worked by hand, none is a measurement."""

import math

import numpy as np
import pandas as pd
import pytest
from helpers.study_at_hand import ROWS, SEED_PAPER, made_up_about, made_up_scores

from kitsnb.study import findings, statistics, tables
from kitsnb.study.audit import audit, count_network

EXPERIMENTS = [ROWS[0], ROWS[3], {"name": "mine", "title": "My loss", "loss": "tversky", "parameters": {"alpha": 0.5}}]
ABOUT = made_up_about(EXPERIMENTS, seeds=2, hypotheses=[])
#: Tumour Dice by experiment, seed and case; the second case is undefined.
TUMOUR = {
    "dice": [[0.8, np.nan, 0.4], [0.6, np.nan, 0.2]],
    "log_cosh_dice": [[0.5, np.nan, 0.1], [0.5, np.nan, 0.1]],
    "mine": [[0.1, np.nan, 0.1], [0.1, np.nan, 0.1]],
}


@pytest.fixture
def scores() -> pd.DataFrame:
    scores = made_up_scores(EXPERIMENTS, seeds=2, cases=3)
    for name, tumour in TUMOUR.items():
        scores.loc[scores.experiment == name, "tumour"] = np.ravel(tumour)
    scores["kidney_and_tumour"] = 0.9
    scores["composite"] = (0.9 + scores.tumour) / 2
    scores["tumour_ml"] = np.tile([10.0, 0.0, 40.0], 6)
    return scores


def test_table_1_by_hand(scores):
    grids = tables.make_grids(scores, TUMOUR)
    table = tables.make_table(scores, EXPERIMENTS, grids, SEED_PAPER["table"])
    tumour = table[0]["scores"]["tumour"]
    assert tumour["mean"] == pytest.approx(0.5)  # seeds averaged per case: 0.7 and 0.3
    assert tumour["sd"] == pytest.approx(math.sqrt(0.08)) and (tumour["n"], tumour["undefined"]) == (2, 1)
    assert table[0]["seeds"] == 2 and table[0]["paper"]["kidney"] == 0.909
    assert table[2]["paper"] is None and table[2]["loss_parameters"] == {"alpha": 0.5}
    assert table[0]["distances"]["hd95_tumour"] == {"mean": 17.5, "sd": 0.0, "n": 3, "undefined": 0}
    sizes = table[0]["sizes"]  # 10 and 40 ml; the case without tumour has no class
    assert {name: size["mean"] for name, size in sizes.items()} == pytest.approx({"up to 4 cm": 0.7, "4-7 cm": 0.3})
    assert tables.ranked(table) == ["dice", "log_cosh_dice", "mine"]
    difference = statistics.estimate(grids["tumour"]["dice"] - grids["tumour"]["log_cosh_dice"])
    assert difference["mean"] == pytest.approx(0.2) and difference["n"] == 2
    assert difference["low"] == difference["high"] == pytest.approx(0.2), "the same in both cases"
    assert difference["crossed_low"] < 0.1, "0.1 of the second seed"


def test_a_study_is_described_from_its_scores_alone(scores):
    found = findings.report(ABOUT, scores)
    assert (found["seeds"], found["cases"], found["best"], found["worst"]) == (2, 3, "dice", "mine")
    assert found["reference"] == "log_cosh_dice" and found["table"][1]["to_reference"]["mean"] == 0
    assert findings.report(ABOUT | {"baseline": "gone"}, scores)["reference"] == "mine", "the last row"
    assert [one["verdict"] for one in found["claims"]] == ["undecided", "undecided", *["not run"] * 5]
    assert found["needed"]["tumour"] == found["takes"][0]["unpaired"] > found["takes"][0]["paired"] > 0
    assert "0 can be told apart over cases and 2 seeds" in found["findings"][0]
    alone = findings.report(ABOUT | {"experiments": EXPERIMENTS[2:]}, scores[scores.experiment == "mine"])
    assert "only row" in alone["findings"][0] and math.isnan(alone["needed"]["tumour"]) and alone["takes"] == []


def test_rows_with_other_seeds_or_cases_are_refused_by_name(scores):
    apart = scores.assign(seed=scores.seed + 10 * (scores.experiment == "mine"))
    with pytest.raises(ValueError, match="mine: no score of case_00000 with seed 0, .* train the same seeds"):
        findings.report(ABOUT, apart)
    with pytest.raises(ValueError, match="dice: no score of case_00000 with seed 0"):
        findings.report(ABOUT, scores[1:])
    folds = scores.replace({"case": {"case_00001": "case_00009"}}).where(scores.seed == 1, scores)
    assert findings.report(ABOUT, folds)["cases"] == 4, "each seed may hold out other cases, but the same for all rows"


def test_the_worst_the_median_and_the_best_case_are_found_by_a_rule():
    scores = pd.DataFrame({"tumour": [0.5, 0.1, np.nan, 0.9, 0.7], "kidney": 0.8, "tumour_ml": [9.0, 9, 0, 9, 9]},
                          index=list("abcde"))
    assert tables.extremes(scores) == {"worst": "b", "median": "a", "best": "d"}
    kidneys = scores.assign(tumour=np.nan, tumour_ml=0.0, kidney=[0.5, 0.4, 0.3, 0.2, 0.1])
    assert tables.extremes(kidneys) == {"worst": "e", "median": "c", "best": "a"}


def test_the_audit_decides_what_is_counted():
    without = audit(SEED_PAPER, None)
    network = next(row for row in without if "parameters" in row["claim"])
    assert network["verdict"] == "holds" and "22,581,283 trainable" in network["evidence"]
    counted = count_network({})
    assert counted["paper_trainable"] + counted["paper_running"] == SEED_PAPER["claims"]["total_parameters"]
    labels = {"cases": 210, "not_512": ["case_00160"], "slices": {"mean": 216.3, "median": 108.0, "min": 29, "max": 1059},
              "slice_spacing_mm": {"min": 0.5, "median": 3.0, "max": 5.0},
              "shares_percent": {"background": 99.1, "kidney": 0.7, "tumour": 0.2}}
    measured = audit(SEED_PAPER, labels)[-4:]
    assert len(without) + 4 == len(SEED_PAPER["audit"])
    assert [row["verdict"] for row in measured] == ["does not hold"] * 2 + ["holds"] * 2
    assert measured[0]["evidence"] == "1 of 210 cases are not: case 00160"


def test_the_audits_words_follow_from_the_seed_papers_own_numbers():
    table = pd.DataFrame(SEED_PAPER["table"]).set_index("experiment")[["kidney_and_tumour", "kidney", "tumour"]]
    said = " ".join(row["evidence"] for row in SEED_PAPER["audit"])
    above = (table.idxmax(axis=1) == "kidney_and_tumour").sum()
    composite = (table.kidney_and_tumour + table.tumour) / 2
    gain = table.tumour["weighted_dice"] - table.tumour["log_cosh_dice"]
    claims = SEED_PAPER["claims"]
    held_out = claims["validation_last"] - claims["validation_first"] + 1
    trained = claims["training_last"] - claims["training_first"] + 1 - len(claims["excluded"])
    up = (table.loc["log_cosh_focal_tversky"] > table.loc["focal_tversky"]).sum()
    assert composite.idxmax() == table.kidney_and_tumour.idxmax() == "weighted_dice"
    for text in (f"in {above} of {len(table)} rows", f"from the columns ({composite.max():.3f})",
                 f"are {held_out}, and", f"{trained} to {held_out} after", f"{100 * trained / (trained + held_out):.1f} to",
                 f"{up} of 3 scores rise", f"+{gain:.3f}, without spread"):
        assert text in said, text

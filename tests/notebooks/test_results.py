"""What notebook 05 shows beside Table 1: the audit, and tables of made-up runs, by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from results import audit
from results.tables import false_by_organ, find_baseline, located_scores, summary, unlike
from study.test_tables import EXPERIMENTS, build, runs, scores  # noqa: F401, fixtures

from kitsnb.study import claims, findings, statistics


def test_the_audit_has_claims_with_evidence_and_a_command(scores, monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 200)
    found = findings.describe(scores, EXPERIMENTS, claims.load_seed_paper())
    checked = audit.audit(claims.load_seed_paper(), None, found)
    assert len(checked) >= 12 and all(all(row.values()) for row in checked)
    by_claim = {row["claim"]: row for row in checked}
    assert by_claim["The score sums 38 cases"]["verdict"] == audit.FAILS
    assert sum(row["verdict"] == audit.UNCHECKED for row in checked) == 4
    labels = {"cases": 210, "not_512": ["case_00160"], "slices": {"mean": 216.3, "median": 108.0, "min": 29, "max": 1059},
              "slice_spacing_mm": {"min": 0.5, "median": 3.0, "max": 5.0},
              "shares_percent": {"background": 99.1, "kidney": 0.7, "tumour": 0.2}}
    measured = audit.audit(claims.load_seed_paper(), labels, found)[-4:]
    assert [row["verdict"] for row in measured] == [audit.FAILS, audit.FAILS, audit.HOLDS, audit.HOLDS]
    assert "case 00160" in measured[0]["evidence"]


def test_the_network_has_the_seed_papers_parameters():
    stated, counted = claims.load_seed_paper()["claims"], audit.count_network()
    assert counted["paper_trainable"] == stated["trainable_parameters"] == 22_581_283
    assert sum(counted.values()) == stated["total_parameters"] == 22_587_171


def test_false_pieces_and_located_scores_are_means_a_case_by_row():
    names = {"a": "One", "b": "Other"}
    made = pd.DataFrame({"experiment": list("aabb"), "seed": 0, "case": ["c1", "c2"] * 2, "false_ml_small_bowel": [1.0, 3, 0, 0],
                         "false_ml_liver": [9.0, np.nan, 1, 1], "located_tumour": [0.5, 0.7, np.nan, np.nan]})
    false_ml = false_by_organ(made, names)
    assert false_ml.to_dict("index") == {"liver": {"One": 9.0, "Other": 1.0}, "small bowel": {"One": 2.0, "Other": 0.0}}
    assert located_scores(made) == {"a": {"tumour": pytest.approx(0.6)}}
    plain = made[["experiment", "seed", "case"]]
    assert false_by_organ(plain, names).empty and located_scores(plain) == {}


def test_rows_that_were_not_made_alike_are_said(runs):
    assert unlike(runs) == {}
    for run, precision in zip(runs, ("32-true", "bf16-mixed", "32-true")):
        run.info.update(precision=precision, device="cpu", threads=1)
    runs[3].info["threads"] = 2
    assert unlike(runs) == {"precision": ["32-true", "bf16-mixed"], "threads": ["1", "2"]}


def test_a_baseline_that_no_row_has_is_named():
    table, seed_paper = [{"experiment": "log_cosh_dice"}], claims.load_seed_paper()
    assert find_baseline("log_cosh_dice", table, seed_paper) == "log_cosh_dice"
    assert find_baseline("dice", table, seed_paper) is None, "only the seed paper has it"
    with pytest.raises(ValueError, match="did you mean 'log_cosh_dice'"):
        find_baseline("log_cosh_dise", table, seed_paper)


def test_a_summary_says_what_is_undefined():
    assert summary({"mean": 0.5, "sd": 0.1, "n": 3, "undefined": 1}) == "0.500 ± 0.100 (n = 3, 1 undefined)"
    assert summary({"mean": math.nan, "sd": math.nan, "n": 0, "undefined": 2}) == "– (n = 0, 2 undefined)"

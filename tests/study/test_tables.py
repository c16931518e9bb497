"""Results from made-up runs: every number here is worked by hand, none is a measurement."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from kitsnb.files import Build
from kitsnb.study import claims, findings, statistics, tables
from kitsnb.study.runs import all_scores, load_runs, read_stage
from kitsnb.training.history import MEASURES

EXPERIMENTS = [
    {"name": "dice", "title": "Dice loss", "loss": "dice", "parameters": {}},
    {"name": "log_cosh_dice", "title": "Log-cosh Dice loss", "loss": "log_cosh_dice", "parameters": {}},
    {"name": "mine", "title": "My loss", "loss": "tversky", "parameters": {"alpha": 0.5}},
]
#: Tumour Dice by experiment, seed and case; the second case is undefined.
TUMOUR = {
    "dice": [[0.8, np.nan, 0.4], [0.6, np.nan, 0.2]],
    "log_cosh_dice": [[0.5, np.nan, 0.1], [0.5, np.nan, 0.1]],
    "mine": [[0.1, np.nan, 0.1], [0.1, np.nan, 0.1]],
}


def history() -> pd.DataFrame:
    epochs = np.arange(1, 5)
    columns = {f"{stage}_{name}": 1 / epochs for stage in ("training", "validation") for name in MEASURES}
    return pd.DataFrame({"epoch": epochs, "step": epochs * 3, "learning_rate": 0.1, "seconds": 1.0, **columns})


@pytest.fixture
def build(tmp_path) -> Build:
    build = Build(tmp_path)
    for experiment in EXPERIMENTS:
        for seed in (0, 1):
            run = build.run(experiment["name"], seed)
            run.mkdir(parents=True)
            tumour = np.array(TUMOUR[experiment["name"]][seed])
            scores = {"kidney_and_tumour": 0.9, "kidney": 0.8, "tumour": tumour, "composite": (0.9 + tumour) / 2}
            sizes = {"kidney_ml": 300.0, "tumour_ml": [10.0, 0.0, 40.0], "predicted_tumour_ml": [12.0, 0.0, 41.0],
                     "hd95_kidney_and_tumour": [4.0, 5.0, 6.0], "nsd_kidney_and_tumour": 0.5,
                     "hd95_tumour": [10.0, np.nan, 20.0], "nsd_tumour": [0.2, np.nan, 0.4]}
            pd.DataFrame({"case": [f"case_0000{i}" for i in range(3)], **scores, **sizes}).to_csv(run / "scores.csv", index=False)
            history().to_csv(run / "history.csv", index=False)
            info = {"loss": experiment["loss"], "loss_parameters": experiment["parameters"], "seconds": 1.0,
                    "training_cases": 5, "settings": {"epochs": 4, "seed": seed}}
            (run / "run.json").write_text(json.dumps(info))
    return build


@pytest.fixture
def runs(build):
    return load_runs(build, EXPERIMENTS, [0, 1])


@pytest.fixture
def scores(runs):
    return all_scores(runs)


@pytest.fixture
def table(scores):
    return tables.make_table(scores, EXPERIMENTS, claims.load_seed_paper(), dict.fromkeys(tables.SCORES, []))


def test_table_1_by_hand(table):
    tumour = table[0]["scores"]["tumour"]
    assert tumour["mean"] == pytest.approx(0.5)  # seeds averaged per case: 0.7 and 0.3
    assert tumour["sd"] == pytest.approx(math.sqrt(0.08)) and (tumour["n"], tumour["undefined"]) == (2, 1)
    assert tumour["low"] == pytest.approx(0.3) and tumour["crossed_low"] == pytest.approx(0.2)  # .4 and .2 of a seed
    assert table[0]["seeds"] == 2 and not tumour["best"]
    assert table[0]["paper"] == {"kidney_and_tumour": 0.872, "kidney": 0.909, "tumour": 0.494}
    assert table[2]["experiment"] == "mine" and table[2]["paper"] is None


def test_order_and_difference_by_hand(scores, table):
    assert tables.ranked(table) == ["dice", "log_cosh_dice", "mine"]
    difference = tables.compare(scores, "dice", "log_cosh_dice", "tumour")
    assert difference["mean"] == pytest.approx(0.2) and difference["n"] == 2
    assert difference["low"] == pytest.approx(0.2) and difference["high"] == pytest.approx(0.2)  # the same in both cases
    assert difference["crossed_low"] == pytest.approx(0.1)  # 0.1 of the second seed
    assert tables.agreement(table)["tumour"] == pytest.approx(1.0)  # dice above log-cosh in both


def test_bold_follows_verdicts_not_means():
    pairs = [{"first": "a", "second": "b", "verdict": None}, {"first": "a", "second": "c", "verdict": "higher"},
             {"first": "b", "second": "c", "verdict": None}]
    assert tables.leaders(pairs) == {"a", "b"} and tables.leaders(pairs[:1]) == tables.leaders([]) == set()


def test_a_study_is_described_from_its_scores_alone(scores, monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 200)
    found = findings.describe(scores, EXPERIMENTS, claims.load_seed_paper())
    assert (found["seeds"], found["cases"], found["runs"], found["best"], found["worst"]) == (2, 3, 6, "dice", "mine")
    assert [one["verdict"] for one in found["claims"]][:2] == ["undecided", "held"]
    assert all(one["verdict"] == "not run" for one in found["claims"][2:])
    assert found["claims"][1]["needed"] == found["needed"]["tumour"] > 0
    assert "none" not in " ".join(findings.sentences(found)) and "0 can be told apart" in findings.sentences(found)[0]
    alone = findings.describe(scores[scores.experiment == "mine"], EXPERIMENTS[2:], claims.load_seed_paper())
    assert "only row" in findings.sentences(alone)[0] and math.isnan(alone["needed"]["tumour"])


def test_agreement_of_orders():
    def rows(here, there):
        return [{"scores": dict.fromkeys(tables.PAPER_COLUMNS, {"mean": mean}),
                 "paper": value and dict.fromkeys(tables.PAPER_COLUMNS, value)} for mean, value in zip(here, there)]

    for expected, here, there in ((1, [1, 2, math.nan], [1, 2, 0.5]), (-1, [1, 2, 3], [2, 1, None]), (math.nan, [1], [2]),
                                  (math.nan, [1, 2], [None, None]), (math.nan, [1, 2], [3, 3])):
        assert tables.agreement(rows(here, there))["tumour"] == pytest.approx(expected, nan_ok=True)


def test_what_is_missing_or_does_not_fit_is_named(build):
    with pytest.raises(FileNotFoundError, match="dice-seed7"):
        load_runs(build, EXPERIMENTS, [0, 7])
    changed = [EXPERIMENTS[0], EXPERIMENTS[1], EXPERIMENTS[2] | {"parameters": {"alpha": 0.9}}]
    with pytest.raises(ValueError, match="train it again"):
        load_runs(build, changed, [0])


def test_distances_and_sizes_by_hand(scores):
    (dice, *_) = tables.distances(scores, EXPERIMENTS)
    assert dice["hd95_kidney_and_tumour"] == {"mean": 5.0, "sd": 1.0, "n": 3, "undefined": 0}
    assert dice["hd95_tumour"]["mean"] == 15.0 and dice["hd95_tumour"]["undefined"] == 1
    (sizes, *_) = tables.by_size(scores, EXPERIMENTS)
    assert list(sizes["sizes"]) == ["up to 4 cm", "4-7 cm"]  # 10 and 40 ml; the case without tumour has no class
    assert sizes["sizes"]["up to 4 cm"]["mean"] == pytest.approx(0.7) and sizes["sizes"]["4-7 cm"]["mean"] == pytest.approx(0.3)


def test_comparisons_are_the_seed_papers_and_verdicts_follow_intervals(scores):
    seed_paper = claims.load_seed_paper()
    rows = {row["experiment"]: row for row in seed_paper["table"]}
    assert all(rows[one["higher"]][one["score"]] > rows[one["lower"]][one["score"]] for one in seed_paper["comparisons"])
    assert set(seed_paper["figures"]["training"]) | set(seed_paper["figures"]["scores"]) <= set(rows)
    checked = claims.check(claims.stated(seed_paper), scores)
    assert [one["verdict"] for one in checked] == ["undecided", "held", *["not run"] * 5]  # 0.9 in every case is no difference
    assert checked[1]["stated"] == 0.087


def test_a_damaged_product_names_itself_and_its_notebook(tmp_path):
    (tmp_path / "report.json").write_text('{"half')
    with pytest.raises(ValueError, match="report.json: is damaged.*02_preprocessing writes it, so run that again"):
        read_stage(tmp_path / "report.json", "02_preprocessing")
    with pytest.raises(FileNotFoundError, match="03_losses writes it"):
        read_stage(tmp_path / "summary.json", "03_losses")


def test_numbers_are_written_for_people():
    assert [tables.number(value) for value in (0.9126, -0.5, -0.0001, math.nan, None)] == ["0.913", "−0.500", "0.000", "–", "–"]
    assert [tables.number(value, 1, signed=True) for value in (2.25, -2.26, 0.01)] == ["+2.2", "−2.3", "0.0"]
    alone = {"mean": 0.1, "low": -0.02, "high": 0.2, "crossed_low": math.nan, "crossed_high": math.nan}
    assert tables.interval(alone) == "+0.100 (−0.020 to +0.200)"
    assert tables.interval(alone | {"crossed_low": -0.05, "crossed_high": 0.3}) == "+0.100 (−0.050 to +0.300)"
    assert tables.plural(1, "loss", "losses") == "1 loss" and tables.plural(2, "run") == "2 runs"


def test_the_worst_the_median_and_the_best_case_are_found_by_a_rule():
    scores = pd.DataFrame({"tumour": [0.5, 0.1, np.nan, 0.9, 0.7], "kidney": 0.8, "tumour_ml": [9.0, 9, 0, 9, 9]}, index=list("abcde"))
    assert tables.extremes(scores) == {"worst": "b", "median": "a", "best": "d"}
    assert tables.extremes(scores.loc[["a", "b"]]) == {"median": "b", "best": "a"}
    assert tables.extremes(scores.loc[["d"]]) == {"median": "d"}
    kidneys = scores.assign(tumour=np.nan, tumour_ml=0.0, kidney=[0.5, 0.4, 0.3, 0.2, 0.1])
    assert tables.extremes(kidneys) == {"worst": "e", "median": "c", "best": "a"}

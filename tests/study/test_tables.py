"""Results from made-up runs: every number here is worked by hand, none is a measurement."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from kitsnb.files import Build
from kitsnb.study import audit, tables
from kitsnb.study.runs import load_runs, read_stage, unlike
from kitsnb.study.statistics import order_agreement, paired_difference, rank_correlation, settled
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


def test_table_1_by_hand(runs):
    table = tables.make_table(runs, EXPERIMENTS, audit.load_seed_paper())
    tumour = table[0]["scores"]["tumour"]
    assert tumour["mean"] == pytest.approx(0.5)  # seeds averaged per case: 0.7 and 0.3
    assert tumour["sd"] == pytest.approx(math.sqrt(0.08)) and (tumour["n"], tumour["undefined"]) == (2, 1)
    assert tumour["seed_sd"] == pytest.approx(math.sqrt(0.02))  # of 0.6 and 0.4
    assert table[0]["paper"] == {"kidney_and_tumour": 0.872, "kidney": 0.909, "tumour": 0.494}
    assert table[2]["experiment"] == "mine" and table[2]["paper"] is None


def test_order_and_difference_by_hand(runs):
    table = tables.make_table(runs, EXPERIMENTS, audit.load_seed_paper())
    assert tables.ranked(table) == ["dice", "log_cosh_dice", "mine"]
    difference = tables.compare(runs, "dice", "log_cosh_dice")["tumour"]
    assert difference["mean"] == pytest.approx(0.2) and difference["n"] == 2
    assert difference["low"] == pytest.approx(0.2) and difference["high"] == pytest.approx(0.2)  # the same in both cases
    assert tables.agreement(table)["tumour"] == pytest.approx(1.0)  # dice above log-cosh in both


def test_what_is_missing_or_does_not_fit_is_named(build):
    with pytest.raises(FileNotFoundError, match="dice-seed7"):
        load_runs(build, EXPERIMENTS, [0, 7])
    changed = [EXPERIMENTS[0], EXPERIMENTS[1], EXPERIMENTS[2] | {"parameters": {"alpha": 0.9}}]
    with pytest.raises(ValueError, match="train it again"):
        load_runs(build, changed, [0])
    with pytest.raises(ValueError, match="log_cosh_dice"):
        tables.find_baseline("log_cosh_dise", [{"experiment": "log_cosh_dice"}], audit.load_seed_paper())


def test_distances_and_sizes_by_hand(runs):
    (dice, *_) = tables.distances(runs, EXPERIMENTS)
    assert dice["hd95_kidney_and_tumour"] == {"mean": 5.0, "sd": 1.0, "n": 3, "undefined": 0}
    assert dice["hd95_tumour"]["mean"] == 15.0 and dice["hd95_tumour"]["undefined"] == 1
    (sizes, *_) = tables.by_size(runs, EXPERIMENTS)
    assert list(sizes["sizes"]) == ["up to 4 cm", "4-7 cm"]  # 10 and 40 ml; the case without tumour has no class
    assert sizes["sizes"]["up to 4 cm"]["mean"] == pytest.approx(0.7) and sizes["sizes"]["4-7 cm"]["mean"] == pytest.approx(0.3)


def test_the_network_has_the_seed_papers_parameters():
    stated, counted = audit.load_seed_paper()["claims"], audit.count_network()
    assert counted["paper_trainable"] == stated["trainable_parameters"] == 22_581_283
    assert sum(counted.values()) == stated["total_parameters"] == 22_587_171


def test_comparisons_are_the_seed_papers_and_verdicts_follow_intervals(runs):
    seed_paper = audit.load_seed_paper()
    rows = {row["experiment"]: row for row in seed_paper["table"]}
    assert all(rows[one["higher"]][one["score"]] > rows[one["lower"]][one["score"]] for one in seed_paper["comparisons"])
    assert set(seed_paper["figures"]["training"]) | set(seed_paper["figures"]["scores"]) <= set(rows)
    checked = tables.check_comparisons(runs, seed_paper)
    assert [(one["higher"], one["lower"], one["score"]) for one in checked] == [
        ("dice", "log_cosh_dice", "kidney_and_tumour"), ("dice", "log_cosh_dice", "tumour")]  # all that were run
    assert [one["verdict"] for one in checked] == ["undecided", "agrees"]  # 0.9 in every case is no difference
    assert checked[1]["paper"] == 0.087


def test_differences_by_hand():
    cases = pd.Index(["a", "b", "c", "d"], name="case")
    found = paired_difference(pd.Series([0.5, 0.7, np.nan, 0.9], cases), pd.Series([0.4, 0.4, 0.4, 0.4], cases))
    assert found["mean"] == pytest.approx(0.3) and found["n"] == 3
    assert found["low"] == pytest.approx(0.1) and found["high"] == pytest.approx(0.5)
    assert found == paired_difference(pd.Series([0.5, 0.7, np.nan, 0.9], cases), pd.Series([0.4] * 4, cases))
    one = paired_difference(pd.Series([0.5]), pd.Series([0.4]))
    assert math.isnan(one["low"]) and settled(one) is None and settled(found) == "higher"
    assert settled({"low": -0.2, "high": -0.1}) == "lower" and settled({"low": 0.0, "high": 0.1}) is None
    assert order_agreement([1, 2, math.nan], [1, 2, 0]) == 1 and math.isnan(order_agreement([1.0], [2.0]))
    assert rank_correlation(pd.Series([1, 2, 3]), pd.Series([3, 2, 1])) == -1
    assert math.isnan(rank_correlation(pd.Series([1, 2]), pd.Series([3, 2])))


def test_rows_that_were_not_made_alike_are_said(runs):
    assert unlike(runs) == {}
    for run, precision in zip(runs, ("32-true", "bf16-mixed", "32-true")):
        run.info.update(precision=precision, device="cpu", threads=1)
    runs[3].info["threads"] = 2
    assert unlike(runs) == {"precision": ["32-true", "bf16-mixed"], "threads": ["1", "2"]}


def test_a_damaged_product_names_itself_and_its_notebook(tmp_path):
    (tmp_path / "report.json").write_text('{"half')
    with pytest.raises(ValueError, match="report.json: is damaged.*02_preprocessing writes it, so run that again"):
        read_stage(tmp_path / "report.json", "02_preprocessing")
    with pytest.raises(FileNotFoundError, match="03_losses writes it"):
        read_stage(tmp_path / "summary.json", "03_losses")


def test_numbers_are_written_for_people():
    assert [tables.number(value) for value in (0.9126, -0.5, -0.0001, math.nan, None)] == ["0.913", "−0.500", "0.000", "–", "–"]
    assert [tables.number(value, 1, signed=True) for value in (2.25, -2.26, 0.01)] == ["+2.2", "−2.3", "0.0"]
    assert tables.interval({"mean": 0.1, "low": -0.02, "high": 0.2}) == "+0.100 (−0.020 to +0.200)"
    assert tables.summary({"mean": 0.5, "sd": 0.1, "n": 3, "undefined": 1}) == "0.500 ± 0.100 (n = 3, 1 undefined)"
    assert tables.summary({"mean": math.nan, "sd": math.nan, "n": 0, "undefined": 2}) == "– (n = 0, 2 undefined)"
    assert tables.plural(1, "loss", "losses") == "1 loss" and tables.plural(2, "run") == "2 runs"

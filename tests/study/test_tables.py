"""Results from made-up runs: every number here is worked by hand, none is a measurement."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from kitsnb.files import Build
from kitsnb.study import audit
from kitsnb.study import tables as results
from kitsnb.study.figures import save, use_style
from kitsnb.study.figures.results import best_against_baseline, case_scores, slices, table1, training_curves, tumour_volume
from kitsnb.study.runs import load_runs
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
    table = results.make_table(runs, EXPERIMENTS, audit.load_seed_paper())
    tumour = table[0]["scores"]["tumour"]
    assert tumour["mean"] == pytest.approx(0.5)  # seeds averaged per case: 0.7 and 0.3
    assert tumour["sd"] == pytest.approx(math.sqrt(0.08)) and (tumour["n"], tumour["undefined"]) == (2, 1)
    assert tumour["seed_sd"] == pytest.approx(math.sqrt(0.02))  # of 0.6 and 0.4
    assert table[0]["paper"] == {"kidney_and_tumour": 0.872, "kidney": 0.909, "tumour": 0.494}
    assert table[2]["experiment"] == "mine" and table[2]["paper"] is None


def test_order_and_difference_by_hand(runs):
    table = results.make_table(runs, EXPERIMENTS, audit.load_seed_paper())
    assert results.ranked(table) == ["dice", "log_cosh_dice", "mine"]
    difference = results.compare(runs, "dice", "log_cosh_dice")["tumour"]
    assert difference["mean"] == pytest.approx(0.2) and difference["n"] == 2
    assert difference["low"] == pytest.approx(0.2) and difference["high"] == pytest.approx(0.2)  # the same in both cases
    assert results.order_agreement(table)["tumour"] == pytest.approx(1.0)  # dice above log-cosh in both


def test_what_is_missing_or_does_not_fit_is_named(build):
    with pytest.raises(FileNotFoundError, match="dice-seed7"):
        load_runs(build, EXPERIMENTS, [0, 7])
    changed = [EXPERIMENTS[0], EXPERIMENTS[1], EXPERIMENTS[2] | {"parameters": {"alpha": 0.9}}]
    with pytest.raises(ValueError, match="train it again"):
        load_runs(build, changed, [0])
    with pytest.raises(ValueError, match="log_cosh_dice"):
        results.find_baseline("log_cosh_dise", [{"experiment": "log_cosh_dice"}], audit.load_seed_paper())


def test_distances_and_sizes_by_hand(runs):
    (dice, *_) = results.distances(runs, EXPERIMENTS)
    assert dice["hd95_kidney_and_tumour"] == {"mean": 5.0, "sd": 1.0, "n": 3, "undefined": 0}
    assert dice["hd95_tumour"]["mean"] == 15.0 and dice["hd95_tumour"]["undefined"] == 1
    (sizes, *_) = results.by_size(runs, EXPERIMENTS)
    assert list(sizes["sizes"]) == ["up to 4 cm", "4-7 cm"]  # 10 and 40 ml; the case without tumour has no class
    assert sizes["sizes"]["up to 4 cm"]["mean"] == pytest.approx(0.7) and sizes["sizes"]["4-7 cm"]["mean"] == pytest.approx(0.3)


def test_audit_counts(runs):
    found = audit.audit(audit.load_seed_paper(), None)
    assert (found["split"]["training"], found["split"]["validation"], found["split"]["excluded"]) == (160, 44, 6)
    assert found["parameters"]["measured_total"] == found["parameters"]["paper_total"] == 22_587_171


def test_json_is_strict_and_whole(tmp_path):
    results.write_results(tmp_path / "results.json", {"a": math.nan, "b": np.float64(1.5), "c": (1, 2)})
    assert json.loads((tmp_path / "results.json").read_text()) == {"a": None, "b": 1.5, "c": [1, 2]}
    with pytest.raises(ValueError, match="infinity"):
        results.write_results(tmp_path / "results.json", {"a": math.inf})
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.filterwarnings("error")
def test_figures_are_drawn_and_equal_figures_are_equal_files(runs, tmp_path):
    use_style()
    scores = {name: results.scores_of(runs, name) for name in TUMOUR}
    table = results.make_table(runs, EXPERIMENTS, audit.load_seed_paper())
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[5:15, 5:15, 5:15], labels[8:12, 8:12, 8:12] = 1, 2
    one, other = scores["dice"], scores["mine"]
    drawings = {
        "curves": lambda: training_curves(history(), "Dice loss", True),
        "cases": lambda: case_scores(one, "Dice loss", True),
        "pair": lambda: best_against_baseline(one, other, ["kidney", "tumour"], ("Dice loss", "My loss"), True),
        "slices": lambda: slices(labels * 100, labels, labels, np.diag([2.0, 2, 3, 1]), "case", True),
        "table": lambda: table1(table, True),
        "volume": lambda: tumour_volume(scores, True),
    }
    without = labels * 0
    axes = slices(labels * 100, labels, without, np.diag([2.0, 2, 3, 1]), "missed", True).axes
    assert len({(*panel.get_xlim(), *panel.get_ylim()) for panel in axes}) == 1, "both rows at one scale"
    assert "nan" not in str([t.get_text() for t in case_scores(one.assign(tumour=np.nan), "none", True).legends[0].texts])
    for name, draw in drawings.items():
        figure = draw()
        assert "simulated" in figure.get_suptitle()
        first, second = (save(f, tmp_path / f"{name}{i}.svg").read_bytes() for i, f in enumerate((figure, draw())))
        assert first == second

"""Runs of a build: read, checked and compared; each is made up."""

import json

import pandas as pd
import pytest
from helpers.study_at_hand import ROWS, SETTINGS, made_up_scores, write_runs

from kitsnb.study.runs import all_scores, compare_settings, describe_runs, load_runs, shared_settings


@pytest.fixture
def scores() -> pd.DataFrame:
    return made_up_scores(ROWS[:2], seeds=2, cases=3)


@pytest.fixture
def build(tmp_path, scores):
    return write_runs(tmp_path, scores, ROWS[:2])


def change(build, name: str, edit) -> None:
    path = build.run(name, 0) / "run.json"
    record = json.loads(path.read_text())
    edit(record)
    path.write_text(json.dumps(record))


def test_scores_come_back_as_one_table(build, scores):
    runs = load_runs(build, ROWS[:2], [0, 1])
    assert [(run.experiment, run.seed) for run in runs] == [("dice", 0), ("dice", 1), ("focal_tversky", 0), ("focal_tversky", 1)]
    pd.testing.assert_frame_equal(all_scores(runs), scores)
    about = describe_runs(runs)
    assert about["settings"] == SETTINGS and about["training_cases"] == 5 and about["seconds"] == 4
    cost = {"seconds": 1.0, "precision": "32-true", "device": "cpu", "threads": 1}
    assert about["trainings"][0] == {"experiment": "dice", "seed": 0, **cost}


@pytest.mark.parametrize("edit, said", [
    (lambda record: record.pop("seconds"), "dice-seed0/run.json: lacks seconds; train it again"),
    (lambda record: record.update(settings={"epochs": 3}), "loss changed: None -> dice; train it again"),  # older code
    (lambda record: record["settings"]["training"].update(loss="focal"), "another loss .*: loss changed: focal -> dice"),
    (lambda record: record["settings"]["prediction"].update(overlap=[0, 0, 0]),
     r"different settings: prediction.overlap changed: \[0, 0, 0\] -> \[8, 8, 8\]"),
])
def test_a_run_that_does_not_fit_is_named_with_what_to_do(build, edit, said):
    change(build, "dice", edit)
    with pytest.raises(ValueError, match=said):
        shared_settings(load_runs(build, ROWS[:2], [0]))


def test_missing_runs_are_named(build):
    with pytest.raises(FileNotFoundError, match="dice-seed7, focal_tversky-seed7 not finished"):
        load_runs(build, ROWS[:2], [0, 7])


@pytest.mark.parametrize("here, there, apart", [
    ({"data": {"excluded": []}}, {"data": {"excluded": None}}, ["data.excluded changed: [] -> None"]),
    ({"training": {"network": {"depth": 3}}}, {"training": {"network": {"depth": 2}}}, ["training.network.depth changed: 3 -> 2"]),
])
def test_settings_differ_where_their_meaning_does(here, there, apart):
    assert compare_settings(here, there) == apart and compare_settings(here, here) == []
    assert compare_settings(here, there, ["training.network", "data"]) == []
    assert compare_settings(here, there, ["training.net", "dat"]) == apart, "a name is a whole one"

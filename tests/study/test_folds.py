"""Cross-validation: the cut into folds, its jobs, and what results make of it. All scores are made up."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from results.tables import costs, describe_data
from study.test_tables import history

from kitsnb.data.cases import Case, cut_into_folds, select
from kitsnb.files import ROOT, Build
from kitsnb.study import tables
from kitsnb.study.claims import load_seed_paper
from kitsnb.study.runs import SURFACES, VOLUMES, all_scores, load_runs, shared_settings
from kitsnb.workflow.jobs import build_jobs
from kitsnb.workflow.profile import ProfileError, load

SMOKE = yaml.safe_load((ROOT / "tests" / "helpers" / "smoke.yml").read_text())
EXPERIMENT = {"name": "dice", "title": "Dice loss", "loss": "dice", "parameters": {}}


def made_up(numbers) -> list[Case]:
    return [Case(Path(f"case_{number:05d}")) for number in numbers]


@given(numbers=st.sets(st.integers(0, 400), min_size=2, max_size=60), data=st.data())
def test_every_case_is_held_out_once_and_groups_are_nearly_equal(numbers, data):
    folds = data.draw(st.integers(2, len(numbers)))
    groups = cut_into_folds(list(numbers), folds)
    assert sorted(number for group in groups for number in group) == sorted(numbers)
    assert len(groups) == folds and max(map(len, groups)) - min(map(len, groups)) <= 1
    assert cut_into_folds(sorted(numbers, reverse=True), folds) == groups, "the order that they come in changes nothing"


@given(last=st.integers(4, 60), excluded=st.sets(st.integers(0, 60), max_size=2), folds=st.integers(2, 3))
def test_a_fold_trains_on_all_the_others(last, excluded, folds):
    splits = [select(made_up(range(61)), [0, last - 2], [last - 1, last], excluded, fold, folds) for fold in range(folds)]
    wanted = {case.number for case in made_up(range(last + 1))} - excluded
    held_out = [case.number for split in splits for case in split.validation]
    assert sorted(held_out) == sorted(wanted)
    for split in splits:
        training, validation = ({case.number for case in part} for part in (split.training, split.validation))
        assert not training & validation and training | validation == wanted and not split.missing


def test_the_cut_is_a_shuffle_and_the_same_for_ever():
    groups = cut_into_folds(list(range(9)), 3)
    assert groups == [[1, 2, 7], [4, 6, 8], [0, 3, 5]] != [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_a_missing_case_moves_no_other_to_another_fold():
    whole = select(made_up(range(20)), [0, 9], [10, 19], [], 0, 4)
    gone = whole.validation[0]
    less = select([case for case in made_up(range(20)) if case != gone], [0, 9], [10, 19], [], 0, 4)
    assert less.validation == whole.validation[1:] and less.training == whole.training and less.missing == [gone.name]


@pytest.mark.parametrize("fold, folds, text", [(3, 3, "no fold 3 of 3"), (-1, 3, "no fold -1"), (0, 1, "2 to 20 folds"),
                                               (0, 21, "2 to 20 folds"), (None, 3, "both or neither"), (0, None, "both or neither")])
def test_a_fold_that_does_not_exist_is_refused(fold, folds, text):
    with pytest.raises(ValueError, match=text):
        select(made_up(range(20)), [0, 9], [10, 19], [], fold, folds)


def profile(folder: Path, **changes):
    path = folder / "folds.yml"
    path.write_text(yaml.safe_dump(SMOKE | changes))
    return load(path, build=str(folder / "build"))


def test_a_run_is_an_experiment_with_a_seed_and_a_fold(tmp_path):
    jobs = [job for job in build_jobs(profile(tmp_path, folds=3, seeds=[0, 4])) if job.stage == "training"]
    assert len(jobs) == len({job.output for job in jobs}) == len({job.run for job in jobs}) == len(SMOKE["experiments"]) * 2 * 3
    assert [job.parameters["seed"] for job in jobs] == [0] * (half := len(jobs) // 2) + [4] * half, "a seed after the other"
    job = jobs[half + 1]
    assert (job.name, job.title, job.run.name) == ("training-dice-seed4-fold1", "training dice seed 4 fold 1", "dice-seed4-fold1")
    assert job.parameters["fold"] == 1 and job.parameters["folds"] == 3
    results_job = next(job for job in build_jobs(profile(tmp_path, folds=3)) if job.stage == "results")
    assert results_job.parameters["folds"] == 3
    assert tmp_path / "build" / "runs" / "dice-seed0-fold2" / "scores.csv" in results_job.reads


def test_without_folds_nothing_changes(tmp_path):
    for absent in ({}, {"folds": None}):
        jobs = build_jobs(profile(tmp_path, **absent))
        assert "training-dice-seed0" in [job.name for job in jobs]
        assert not any(job.parameters.get(name) is not None for job in jobs for name in ("fold", "folds"))


@pytest.mark.parametrize("change, text", [({"folds": 1}, "folds must be greater than or equal to 2"), ({"folds": 9}, "2 to 8 folds"), ({"folds": "3"}, "folds must be a valid integer"),
                                          ({"training": SMOKE["training"] | {"fold": 1}}, "given by the runner")])
def test_folds_that_cannot_be_are_named_before_anything_runs(tmp_path, change, text):
    with pytest.raises(ProfileError, match=text):
        profile(tmp_path, **change)


#: Tumour Dice by seed and case.
TUMOUR = {0: [0.2, 0.4, 0.6, 0.8, np.nan], 1: [0.4, 0.6, 0.8, 1.0, np.nan]}
GROUPS = [[0, 3], [1, 4], [2]]


def write_fold(build: Build, seed: int, fold: int, cases: list[int], training: int | None = None) -> Path:
    run = build.run("dice", seed, fold)
    run.mkdir(parents=True, exist_ok=True)
    tumour = np.array(TUMOUR[seed])[cases]
    columns = dict.fromkeys([*VOLUMES, *SURFACES], 5.0) | {"kidney": 0.8, "kidney_and_tumour": 0.9}
    table = {"case": [f"case_{n:05d}" for n in cases], **columns, "tumour": tumour, "composite": (0.9 + tumour) / 2}
    pd.DataFrame(table).to_csv(run / "scores.csv", index=False)
    history().to_csv(run / "history.csv", index=False)
    info = {"loss": "dice", "loss_parameters": {}, "seconds": 2.0, "training_cases": 5 - len(cases) if training is None else training,
            "settings": {"epochs": 4, "seed": seed, "fold": fold, "folds": 3}}
    (run / "run.json").write_text(json.dumps(info))
    return run


@pytest.fixture
def build(tmp_path) -> Build:
    build = Build(tmp_path)
    for seed in TUMOUR:
        for fold, cases in enumerate(GROUPS):
            write_fold(build, seed, fold, cases)
    return build


def test_folds_become_one_row_by_hand(build):
    runs = load_runs(build, [EXPERIMENT], [0, 1], 3)
    assert [(run.experiment, run.seed, len(run.scores), len(run.trained)) for run in runs] == [("dice", 0, 5, 3), ("dice", 1, 5, 3)]
    (row,) = tables.make_table(all_scores(runs), [EXPERIMENT], load_seed_paper(), dict.fromkeys(tables.SCORES, []))
    tumour = row["scores"]["tumour"]
    assert (tumour["n"], tumour["undefined"]) == (4, 1)
    assert tumour["mean"] == pytest.approx(0.6)  # 0.3, 0.5, 0.7, 0.9
    assert tumour["sd"] == pytest.approx(math.sqrt(0.2 / 3))
    assert shared_settings(runs) == {"epochs": 4, "folds": 3}
    assert runs[0].holding_out("case_00004").folder.name == "dice-seed0-fold1"
    assert list(costs(runs).index[:2]) == ["dice-seed0-fold0", "dice-seed0-fold1"]


def test_data_are_described_as_folds(build):
    for path, content in ((build.data_analysis / "summary.json", {"simulated": True, "shares_percent": {}, "refused": {}}),
                          (build.preprocessed / "report.json", {"spacing": [1, 1, 1], "refused": {}})):
        path.parent.mkdir()
        path.write_text(json.dumps(content))
    data = describe_data(build, load_runs(build, [EXPERIMENT], [0], 3))
    assert (data["folds"], data["validation"], data["training"], data["training_most"]) == (3, 5, 3, 4)


def test_a_case_in_two_folds_or_in_none_is_an_error(build):
    write_fold(build, 0, 2, [2, 3])
    with pytest.raises(ValueError, match="more than once: case_00003"):
        load_runs(build, [EXPERIMENT], [0], 3)
    write_fold(build, 0, 2, [2])
    write_fold(build, 0, 1, [1], training=3)  # its scores of case 4 are lost
    with pytest.raises(ValueError, match="never held out"):
        load_runs(build, [EXPERIMENT], [0], 3)


def test_a_fold_of_another_cut_or_a_missing_one_is_named(build):
    with pytest.raises(FileNotFoundError, match="dice-seed0-fold3"):
        load_runs(build, [EXPERIMENT], [0], 4)
    with pytest.raises(ValueError, match="is fold 0 of 3, not 0 of 2"):
        load_runs(build, [EXPERIMENT], [0], 2)


def test_costs_show_what_runs_recorded_and_leave_out_the_rest(build):
    runs = load_runs(build, [EXPERIMENT], [0], 3)
    assert list(costs(runs).columns) == ["seconds"]
    runs[0].folds[1].info.update(peak_memory_mb=512.0, patches_per_second=9.5)
    found = costs(runs)
    assert list(found.columns) == ["seconds", "peak_memory_mb", "patches_per_second"]
    assert found.peak_memory_mb.tolist()[1] == 512.0 and math.isnan(found.peak_memory_mb.tolist()[0])

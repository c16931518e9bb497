"""Published studies: written and read, recomputed, and what keeps other rows from being paired with them."""

import pandas as pd
import pytest
from helpers.study_at_hand import ROWS, made_up_scores

from kitsnb.files import NOTEBOOKS, ROOT, Build
from kitsnb.study import front_page, published, statistics
from kitsnb.study.claims import load_seed_paper
from kitsnb.study.findings import describe
from kitsnb.study.runs import Run
from kitsnb.workflow.parameters import read_parameters

SETTINGS = {"learning_rate": 0.01, "network": {"depth": 3, "normalization": "batch"}, "folder": "/there", "preprocessing": {"spacing": [3, 2, 2]}}
HYPOTHESIS = {"kind": "tumour", "experiment": "weighted_dice", "reference": "dice", "score": "tumour", "expected": "higher",
              "measure": "share of the gradient", "ratio": 1.37}


@pytest.fixture
def scores() -> pd.DataFrame:
    return made_up_scores(ROWS[:3])


@pytest.fixture
def study(tmp_path, scores, monkeypatch) -> published.Published:
    monkeypatch.setattr(published, "PUBLISHED", tmp_path)
    monkeypatch.setattr(statistics, "RESAMPLES", 300)
    cases = pd.DataFrame({"kidney_ml": 300.0, "tumour_ml": 10.0, "kidney_hu": 120.0, "tumour_hu": 80.0, "role": "training",
                          "orientation": "IPL"}, index=sorted(scores.case.unique()))
    published.write("made_up", scores, cases, {"experiments": ROWS[:3], "settings": SETTINGS, "hypotheses": [HYPOTHESIS]})
    return published.read("made_up")


def alike(one, other) -> bool:
    """Are two descriptions equal, numbers up to the six digits that are published?"""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(alike, one, other))
    return one == pytest.approx(other, rel=1e-3, abs=1e-4, nan_ok=True) if isinstance(one, float) else one == other


def test_all_that_the_paper_says_of_a_study_follows_from_its_csv(study, scores):
    again = published.describe(study, load_seed_paper())
    direct = describe(scores, ROWS[:3], load_seed_paper(), [HYPOTHESIS])
    assert alike({key: again[key] for key in direct}, direct)
    assert not alike(direct | {"cases": 11}, direct) and not alike([0.1], [0.2])


def test_a_csv_that_was_edited_is_refused_by_name(study, tmp_path):
    path = tmp_path / "made_up" / "scores.csv"
    path.write_text(path.read_text().replace("0.321", "0.322", 1))
    with pytest.raises(ValueError, match="scores.csv is not as it was published"):
        published.read("made_up")
    with pytest.raises(ValueError, match="no published study 'made_op'.*made_up"):
        published.read("made_op")


def test_a_study_that_is_too_large_is_not_written(study, scores, tmp_path, monkeypatch):
    monkeypatch.setattr(published, "LARGEST", 1000)
    with pytest.raises(ValueError, match="may take 1,000"):
        published.write("large", scores, study.cases, {})
    assert not (tmp_path / "large").exists()


def test_what_differs_is_named(study):
    assert published.settings_apart(study, SETTINGS | {"folder": "/elsewhere", "newer": None}) == []
    other = SETTINGS | {"learning_rate": 0.02, "network": {"depth": 3, "normalization": "instance"}}
    assert published.settings_apart(study, other) == ["learning_rate is 0.02, in made_up 0.01",
                                                      "network.normalization is instance, in made_up batch"]
    assert published.settings_apart(study, other, ["network"]) == ["learning_rate is 0.02, in made_up 0.01"]
    assert published.settings_apart(study, other, ["network.normalization", "learning_rate"]) == []
    assert published.settings_apart(study, other, ["net"]), "a name is a whole one"


def test_runs_that_cannot_be_paired_are_refused_with_all_that_differs(study, tmp_path):
    build = Build(tmp_path / "build")
    build.data_analysis.mkdir(parents=True)
    study.cases.assign(role="validation").to_csv(build.data_analysis / "cases.csv")
    settings = {name: value for name, value in SETTINGS.items() if name != "preprocessing"} | {"learning_rate": 0.02}
    runs = [Run("mine", 0, tmp_path, {"settings": settings, "preprocessing": SETTINGS["preprocessing"]}, None, None)]
    with pytest.raises(ValueError, match="with the published study made_up: learning_rate is 0.02.*; role of 12 cases"):
        published.check(study, runs, build)
    study.cases.to_csv(build.data_analysis / "cases.csv")
    published.check(study, runs, build, ["learning_rate"])


def test_other_cases_and_another_simulator_are_noticed(study):
    assert published.cases_apart(study, study.cases.assign(extra=1)) == []
    (said,) = published.cases_apart(study, study.cases.drop("case_00003"))
    assert "case_00003" in said
    (said,) = published.cases_apart(study, study.cases.assign(tumour_hu=lambda cases: cases.tumour_hu.where(cases.index != "case_00002", 90)))
    assert said == "tumour_hu of 1 cases: case_00002 has 90, in made_up 80"
    (said,) = published.cases_apart(study, study.cases.assign(role="validation"))
    assert "role of 12 cases" in said


def test_every_published_study_is_whole_and_small():
    """Those in the repository: read, described, and within what a study may take."""
    for name in published.names():
        study = published.read(name)
        assert published.describe(study, load_seed_paper())["runs"] == len(study.info["experiments"]) * study.scores.seed.nunique()
        assert sum(path.stat().st_size for path in (published.PUBLISHED / name).iterdir()) < published.LARGEST


def test_the_readme_says_what_the_main_study_found(study, tmp_path, monkeypatch):
    text = front_page.finding(published.describe(study, load_seed_paper()))
    assert "Of 3 pairs of losses, " in text and "3 seeds" in text
    monkeypatch.setattr(front_page, "ROOT", tmp_path)
    monkeypatch.setattr(front_page, "PUBLISHED", tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text(f"# kitsnb\n\n{front_page.BEGIN}\nyesterday\n{front_page.END}\n\nafter\n")
    study.info.update(simulated=True)
    front_page.write(study)
    written = readme.read_text()
    assert "yesterday" not in written and text in written and "](made_up/rows.svg)" in written and written.endswith("after\n")
    assert "Simulated CT" in written and (tmp_path / "made_up" / "rows.svg").read_text().startswith("<?xml")


@pytest.mark.skipif(published.MAIN not in published.names(), reason="the main study is not published")
def test_the_readme_is_that_of_the_published_study():
    found = published.describe(published.read(published.MAIN), load_seed_paper())
    readme = (ROOT / "README.md").read_text()
    assert front_page.finding(found) in readme and f"](paper/published/{published.MAIN}/rows.svg)" in readme
    assert (published.PUBLISHED / published.MAIN / "rows.svg").is_file()
    assert read_parameters(NOTEBOOKS / "05_results.py")["study"][1] == published.MAIN, "the paper is about the same"

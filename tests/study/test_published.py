"""Published studies: written and read, recomputed, their articles, and what keeps other rows from being paired."""

import re
import subprocess

import pandas as pd
import pytest
from helpers.study_at_hand import ROWS, SETTINGS, made_up_about, made_up_scores, write_runs
from study.test_paper import words

from kitsnb.files import ROOT, plain, write_atomic, write_json
from kitsnb.study import paper, published, statistics
from kitsnb.study.agreement import agreement
from kitsnb.study.findings import report
from kitsnb.study.further import varied

ABOUT = made_up_about(ROWS[:3], name="made_up", losses=None)


@pytest.fixture
def scores() -> pd.DataFrame:
    return made_up_scores(ROWS[:3])


@pytest.fixture
def cases(scores) -> pd.DataFrame:
    return pd.DataFrame({"kidney_ml": 300.0, "tumour_ml": 10.0, "kidney_hu": 120.0, "tumour_hu": 80.0, "role": "training",
                         "orientation": "IPL"}, index=pd.Index(sorted(scores.case.unique()), name="case"))


@pytest.fixture
def study(tmp_path, scores, cases, monkeypatch) -> published.Published:
    monkeypatch.setattr(published, "PUBLISHED", tmp_path / "published")
    published.write("made_up", ABOUT, scores, cases)
    return published.read("made_up")


@pytest.fixture
def publish(study, cases, tmp_path, monkeypatch):
    """Publish a made-up build as ``name``; ``changed`` is what git says of its files."""

    def publish(name, about, scores, rows, changed=""):
        build = write_runs(tmp_path / name, scores, rows)
        write_json(build.results, {"about": about, "figures": ["rows", "slices_dice"]})
        write_atomic(build.data_analysis / "cases.csv", cases.to_csv())
        for figure in ("slices_dice", "slices_former", "rows"):
            write_atomic(build.figures / f"{figure}.svg", "<svg/>")
        answers = {"rev-parse": "0123456789\n", "status": changed}
        monkeypatch.setattr(published, "git", lambda *arguments: answers[arguments[0]])
        published.publish(name, build)
        return published.read(name)

    return publish


def alike(one, other) -> bool:
    """Are two descriptions equal, numbers up to the six digits that are published?"""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(alike, one, other))
    return one == pytest.approx(other, rel=1e-3, abs=1e-4, nan_ok=True) if isinstance(one, float) else one == other


def test_all_that_the_paper_says_of_a_study_follows_from_its_csv(study, scores):
    direct, again = (plain(report(ABOUT, table)) for table in (scores, study.scores))
    assert alike(again, direct) and not alike(direct | {"cases": 11}, direct) and not alike([0.1], [0.2])


def test_an_article_is_made_from_the_data_alone(study):
    kept = '<svg width="72pt" height="9pt" xmlns="http://www.w3.org/2000/svg"><title>kept</title></svg>'
    write_atomic(study.folder / "figures" / "fig01_clipping.svg", kept)
    trial = "trial,steps,minutes,cases,kidney_and_tumour,kidney,tumour\ncoarser,2000,7.6,39,0.8512,0.8,0.4567\n"
    write_atomic(study.folder / "search.csv", trial)
    text = words(paper.write_article("made_up"))
    assert "coarser 2000 7.6 0.851 0.800 0.457" in text and "last quarter (39 patients)" in text
    assert "Three losses for kidney tumour segmentation in simulated CT" in text and "What published studies" not in text
    composite = report(study.about, study.scores)["table"][0]["scores"]["composite"]
    assert f"{composite['mean']:.3f} ± {composite['sd']:.3f}" in text
    assert (study.folder / "rows.svg").read_text().startswith("<?xml")
    assert "intensities are clipped" in text and "Training of each loss" not in text, "what is kept is shown"


def test_a_finished_build_is_published_with_what_cannot_be_drawn_again(publish):
    scores = made_up_scores()
    write_atomic(published.PUBLISHED / "again" / "figures" / "slices_published_before.svg", "<svg/>")
    again = publish("again", made_up_about(), scores, ROWS)
    assert "folder" not in again.about["settings"]["data"], "no path of a machine"
    assert again.about["commit"] == "0123456789" and again.about["experiments"] == ROWS
    key = ["experiment", "seed", "case"]
    pd.testing.assert_frame_equal(again.scores.set_index(key), scores.set_index(key), rtol=1e-4, check_dtype=False)
    assert published.papers() == ["again"], "made_up lacks rows of the seed paper"
    assert [path.name for path in (again.folder / "figures").iterdir()] == ["slices_dice.svg"]
    with pytest.raises(ValueError, match="unclean is not published, as .*kitsnb/unet.py and 1 more"):
        publish("unclean", made_up_about(), scores, ROWS, changed=" M kitsnb/unet.py\n?? my_loss.py\n")


def test_of_rows_beside_another_study_only_its_own_are_published_and_its_paper_tells_them(study, publish, cases, monkeypatch):
    own = {"name": "mine", "title": "My loss", "loss": "mine", "parameters": {}, "compared_with": "dice"}
    scores = made_up_scores([own], seeds=2).assign(composite=lambda table: table.composite - 0.2)
    about, _ = published.join(made_up_about([own], seeds=2, beside="made_up", name="beside"), scores, cases)
    there = publish("beside", about, scores, [own])
    assert there.about["experiments"] == [own] and set(there.scores.experiment) == {"mine"}
    assert [run["experiment"] for run in there.about["trainings"]] == ["mine"] and there.about["seconds"] == 61
    exponents = [{"name": f"e{power}", "title": f"Exponent {power}", "loss": "focal_tversky", "compared_with": None,
                  "parameters": {"exponent": power, "alpha": 0.7}} for power in (0.5, 1, 2)]
    tuning = made_up_about(exponents, name="exponents", title="Exponents")
    published.write("exponents", tuning, made_up_scores(exponents), cases)
    published.write("elsewhere", tuning, made_up_scores(exponents, cases=5), cases[:5])
    monkeypatch.setattr(published, "papers", lambda: ["made_up"])
    first, second = published.further(study)  # those of the same cases
    assert (first["name"], first["seeds"], first["varied"]) == ("beside", 2, None)
    (row,) = first["rows"]
    assert row["against"] == "Dice" and row["direction"] == "lower" and row["difference"]["mean"] == pytest.approx(-0.2, abs=0.02)
    assert second["varied"] == "exponent" and [row["difference"] for row in second["rows"]] == [None] * 3
    text = words(paper.write_article("made_up"))
    assert "My loss is lower than Dice by 0.2" in text and "Mean Dice over a parameter of a loss" in text


@pytest.mark.parametrize("values", [["a", "b", "c"], [1, 2, None], [1, 2, float("inf")]])
def test_a_parameter_that_is_no_number_in_all_rows_has_no_curve(values):
    rows = [{"loss": "mine.py:mine", "parameters": {"mode": value}} for value in values]
    assert varied(rows) is None and varied([*rows[:2], {"loss": "mine.py:mine", "parameters": {}}]) is None


def test_a_damaged_study_is_named(study):
    write_atomic(study.folder / "study.json", "<<<<<<< HEAD")
    for read in (published.papers, lambda: published.read("made_up")):
        with pytest.raises(ValueError, match="made_up/study.json is damaged"):
            read()


def test_all_changed_files_but_those_of_published_studies_count(tmp_path, monkeypatch):
    monkeypatch.setattr(published, "ROOT", tmp_path)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    for name in ("paper/published/slabs/study.json", "notebooks/mine.py"):
        write_atomic(tmp_path / name, "")
    with pytest.raises(ValueError, match=r"files are not committed: \?\? notebooks/mine.py$"):
        published.publish("mine", None)


def test_what_differs_is_named(study):
    def with_data(**changes):
        return SETTINGS | {"data": SETTINGS["data"] | changes}

    assert published.why_not_paired(study, with_data(folder="/elsewhere")) == []
    other = with_data(excluded=[]) | {"training": SETTINGS["training"] | {"learning_rate": 0.02}}
    assert published.why_not_paired(study, other) == [
        "data.excluded changed: None -> []", "training.learning_rate changed: 0.01 -> 0.02"]
    (trains,) = published.why_not_paired(study, with_data(more_training=["build/hybrid/data"]))
    assert trains.startswith("data.more_training changed"), "what trains is no place"
    cases = study.cases
    changed = cases.tumour_hu.where(cases.index != "case_00002", 90.0)
    for table, said in ((cases.drop("case_00003"), "cases are not those of made_up: DataFrame are different.*12"),
                        (cases.assign(tumour_hu=changed), r'name="tumour_hu"\) are different .*90')):
        (reason,) = published.why_not_paired(study, SETTINGS, table)
        assert re.search(said, reason), reason
    assert published.why_not_paired(study, SETTINGS, cases.assign(extra=1)[::-1]) == []
    assert published.why_not_paired(study, SETTINGS, cases.assign(role="validation"), ["data.training"]) == []


def test_rows_beside_a_published_study_make_one_table(study, scores, cases):
    own = {"name": "mine", "title": "My loss", "loss": "mine", "parameters": {}}
    about = made_up_about([own], beside="made_up")
    mine = scores[(scores.experiment == "dice") & (scores.seed < 2)].assign(experiment="mine")
    found = report(*published.join(about, mine, cases))
    assert [row["experiment"] for row in found["table"]] == ["dice", "focal_tversky", "focal_tversky_5", "mine"]
    same = next(pair for pair in found["pairs"]["tumour"] if {pair["first"], pair["second"]} == {"dice", "mine"})
    assert same["mean"] == pytest.approx(0, abs=1e-6), "paired case by case and seed by seed"
    assert found["seeds"] == 2, "those that both have"
    with pytest.raises(ValueError, match="cannot be paired with the published study made_up: cases are not"):
        published.join(about, mine, cases.assign(role="validation"))


def test_how_far_another_study_foretells_this_one(study, scores, cases):
    found = report(ABOUT, scores)
    same = agreement(found, scores, found, scores)
    assert same["apart"] > 0 and (same["order"], same["same"], same["opposite"]) == (1, same["apart"], 0)
    assert same["cases"] == scores.case.nunique() and same["case_order"] == 1
    first, *_, last = (row["name"] for row in ABOUT["experiments"])
    turned = scores.replace({"experiment": {first: last, last: first}})
    about = ABOUT | {"name": "bodies", "settings": SETTINGS | {"data": SETTINGS["data"] | {"source": "hybrid"}}}
    published.write("bodies", about, turned, cases)
    (other,) = published.foretell(study, found)
    assert (other["name"], other["order"], other["same"], other["opposite"]) == ("bodies", -1, 0, other["apart"])
    few = report(ABOUT | {"experiments": ABOUT["experiments"][:2]}, scores)
    assert agreement(few, scores, found, scores) is None
    text = words(paper.write_article("made_up"))
    assert "rank correlation of −1.00 (Kendall)" in text and "study “bodies” trained three of these losses" in text


def test_every_published_study_is_whole_and_said_in_box_and_readme(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 4_000)  # as many as the sentence in the README rests on
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    boxes = {box["name"]: box["text"] for box in published.summarise_findings()}
    assert list(boxes) == published.papers()
    for name in published.names():
        study = published.read(name)
        assert study.scores.groupby(["experiment", "seed"]).ngroups == len(study.about["trainings"])
        assert study.about["images"] in ("simulated", "slabs", "scans")
        if f"(paper/published/{name}/rows.svg)" in readme:
            assert boxes[name] in " ".join(readme.split()), "written by hand: the sentence is that of the CSV"
    with pytest.raises(ValueError, match="no published study 'xslabs'.*slabs"):
        published.read("xslabs")

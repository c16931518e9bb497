"""A study is published from a finished build, and a new loss is trained beside its rows; other settings are refused."""

import pandas as pd
import pytest
from helpers.smoke_at_hand import CONTENT, SMOKE, finished, kitsnb, pages, write_profile

from kitsnb.files import read_json
from kitsnb.study import published
from kitsnb.workflow import publish
from kitsnb.workflow.profile import load

NEW = {"name": "tversky", "title": "Tversky loss", "loss": "tversky"}


@pytest.fixture
def study(build, tmp_path, monkeypatch):
    """The smoke study, published into a folder of the test; the repository counts as committed."""
    folder = tmp_path / "published"
    monkeypatch.setenv("KITSNB_PUBLISHED", str(folder))
    monkeypatch.setattr(published, "PUBLISHED", folder)
    monkeypatch.setattr(published, "git", lambda *asked: "0" * 40 if asked[0] == "rev-parse" else "")
    publish.publish(load(SMOKE, build=build))
    return published.read("smoke")


def test_a_new_loss_is_trained_alone_and_paired_and_others_are_refused(study, build, tmp_path):
    profile = write_profile(tmp_path / "mine.yml", experiments=[NEW], beside="smoke")
    done = kitsnb("run", profile, "--build", build)
    assert done.returncode == 0, done.stdout
    assert "training tversky seed 0" in finished(done.stdout) and "training dice seed 0" not in done.stdout
    found = read_json(build / "results.json")
    assert [row["experiment"] for row in found["table"]] == [row["name"] for row in [*CONTENT["experiments"], NEW]]
    assert "Tversky loss" in pages(build / "paper.pdf")

    training = CONTENT["training"] | {"learning_rate": 0.02}
    profile = write_profile(tmp_path / "mine.yml", experiments=[NEW], beside="smoke", training=training)
    done = kitsnb("run", profile, "--build", build)
    assert done.returncode == 1 and "training.learning_rate" in done.stdout and not finished(done.stdout)
    (why,) = publish.why_not_beside(load(write_profile(profile, experiments=[NEW], beside="nowhere"), build=build))
    seeds = load(write_profile(profile, experiments=[NEW], beside="smoke", seeds=[0, 7]), build=build)
    assert "it has no seed 7; give some of [0]" in publish.why_not_beside(seeds)
    assert why.startswith("that study is not published yet")
    cases = build / "data_analysis" / "cases.csv"
    table = pd.read_csv(cases)
    table.assign(tumour_hu=table.tumour_hu + 5).to_csv(cases, index=False)
    again = load(write_profile(profile, experiments=[NEW | {"compared_with": "dise"}], beside="smoke"), build=build)
    (named,) = publish.why_not_beside(again)
    assert named.endswith("did you mean 'dice'?"), "a table of former cases says nothing before notebook 01 has run"
    said, _ = publish.why_not_beside(again, cases=True)
    assert said.startswith("cases are not those of smoke") and "tumour_hu" in said


def test_what_is_unfinished_is_not_published(build):
    (build / "runs" / "dice-seed0" / "scores.csv").unlink()
    with pytest.raises(ValueError, match="training dice seed 0: scores.csv is gone"):
        publish.publish(load(SMOKE, build=build))
    with pytest.raises(ValueError, match="its stages do not hold results"):
        publish.publish(load(SMOKE, {"stages": ["training"]}, build=build))

"""Cases that cannot be used, from the first notebook to the scores: named, and the others go on."""

import re
import shutil

import pandas as pd
from helpers.broken_cases import check_named, spoil
from helpers.smoke_at_hand import CONTENT, kitsnb, write_profile

from kitsnb.files import files_below, read_json
from kitsnb.simulation import write_phantoms


def test_refused_cases_are_named_and_the_others_go_on_to_scores(tmp_path):
    """Ten cases, five of them spoilt in five ways: three to learn from, two held out."""
    expected = spoil(write_phantoms(tmp_path / "data", 10, 0))
    data = {"source": "folder", "folder": str(tmp_path / "data"), "simulated": True, "training": [0, 5],
            "validation": [6, 9], "excluded": []}
    profile = write_profile(tmp_path / "bad.yml", data=data, experiments=CONTENT["experiments"][:1],
                            stages=["data_analysis", "preprocessing", "training"])
    done = kitsnb("run", profile, "--build", tmp_path / "build")
    assert done.returncode == 0, done.stdout
    check_named(dict(re.findall(r"^refused (\w+): (.*)$", done.stdout, re.MULTILINE)), expected)
    run = tmp_path / "build" / "runs" / "dice-seed0"
    assert read_json(run / "run.json")["training_cases"] == 3
    assert list(pd.read_csv(run / "scores.csv").case) == ["case_00006", "case_00008"]


def test_who_has_labels_alone_gets_simulated_ct_around_them(smoke, tmp_path, monkeypatch):
    labels = tmp_path / "labels"
    shutil.copytree(smoke / "data", labels, ignore=shutil.ignore_patterns("imaging*", ".*"))
    monkeypatch.setenv("KITSNB_SLABS", str(labels))  # make's default
    data = {"source": "hybrid", "folder": str(labels), "simulated": True, "training": [0, 4], "validation": [5, 7],
            "excluded": []}
    profile = write_profile(tmp_path / "own.yml", data=data, simulation={"spacing": [8.0, 8.0, 8.0]},
                            stages=["data_analysis"])
    done = kitsnb("run", profile, "--build", tmp_path / "build")
    assert done.returncode == 0, done.stdout
    assert len(files_below(tmp_path / "build" / "data")) == 16

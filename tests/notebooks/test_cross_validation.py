"""Folds, from the profile to the paper."""

import pandas as pd
from helpers.smoke_at_hand import CONTENT, finished, kitsnb, pages, write_profile

from kitsnb.files import read_json


def test_cross_validation_holds_every_case_out_once(tmp_path):
    kept = {"experiments": [row for row in CONTENT["experiments"] if row["name"] == "log_cosh_dice"],
            "stages": [name for name in CONTENT["stages"] if name != "benchmarks"]}
    profile, build = write_profile(tmp_path / "folds.yml", **kept, folds=2), tmp_path / "build"
    done = kitsnb("run", profile, "--build", build)
    assert done.returncode == 0, done.stdout
    assert "1 experiment x 1 seed x 2 folds = 2 runs" in done.stdout, "the estimate comes before training"
    assert sorted(path.name for path in (build / "runs").iterdir()) == ["log_cosh_dice-seed0-fold0", "log_cosh_dice-seed0-fold1"]
    cases = [sorted(pd.read_csv(build / "runs" / f"log_cosh_dice-seed0-fold{fold}" / "scores.csv").case) for fold in (0, 1)]
    assert sorted(cases[0] + cases[1]) == [f"case_{number:05d}" for number in range(8)]
    results = read_json(build / "results.json")
    assert len(results["runs"]) == 2 and results["data"]["folds"] == 2 and results["data"]["validation"] == 8
    scores = results["here"]["table"][0]["scores"]["kidney"]
    assert scores["n"] + scores["undefined"] == 8
    text = pages(build / "paper.pdf")
    assert "2-fold cross-validation, every case held out once" in text and "8 held-out cases" in text
    assert "first of 2 folds" in (build / "figures" / "training.svg").read_text()
    assert not finished(kitsnb("run", profile, "--build", build).stdout), "all is up to date"
    why = kitsnb("run", write_profile(profile, **kept, folds=3), "--build", build, "--why").stdout
    assert "data analysis: parameter folds changed: 2 -> 3" in why  # it tells the split; the others follow it
    assert "training log_cosh_dice seed 0 fold 2: never trained" in why and "preprocessing: only if data analysis will" in why

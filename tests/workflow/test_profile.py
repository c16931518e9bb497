"""Profiles: what is written at the start of a run, and what a notebook that is opened by hand finds there."""

import pytest

from kitsnb.files import ROOT
from kitsnb.workflow.profile import load, recorded_parameters

SMOKE = ROOT / "tests" / "helpers" / "smoke.yml"


def test_what_a_build_was_made_with_is_recorded_for_readers_by_hand(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing is built in .* yet: run make"):
        recorded_parameters(tmp_path, "results")
    profile = load(SMOKE, ["common.label_map={3: 1}"], build=str(tmp_path))
    profile.save()
    training = recorded_parameters(tmp_path, "training")
    assert training["patch_size"] == [16, 24, 24] and training["stop_patience"] == 20, "also what the profile leaves to defaults"
    assert training["label_map"] == {3: 1} and "build" not in training and "by_runner" not in training
    results = recorded_parameters(tmp_path, "results")
    assert [row["name"] for row in results["experiments"]] == [row.name for row in profile.experiments]
    assert results["seeds"] == [0] and results["folds"] is None and results["profile"] == profile.summary
    with pytest.raises(KeyError, match="did you mean 'training'"):
        recorded_parameters(tmp_path, "trainin")

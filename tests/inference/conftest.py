"""A profile with one run that was trained for two steps, and a CT."""

import json
import shutil
from pathlib import Path

import pytest

from kitsnb.data.cases import discover
from kitsnb.inference.trained import load_run
from kitsnb.preprocessing.prepare import Preprocessing, preprocess_cases
from kitsnb.simulation.phantom import Phantom, reorient, simulate_case, write_dataset
from kitsnb.training.run import train
from kitsnb.training.settings import Training

TINY = Training(network={"base_filters": 2, "depth": 2}, patch_size=(16, 16, 16), batch_size=1, steps_per_epoch=2, epochs=1,
                augmentation=None)
GRID = Preprocessing(spacing=(8.0, 8.0, 8.0), resize_in_plane=None)


@pytest.fixture(scope="session")
def profile(tmp_path_factory) -> Path:
    """The folder of a profile whose one run was trained for two steps."""
    build = tmp_path_factory.mktemp("profile")
    cases = write_dataset(build / "data", 2, 0)
    preprocess_cases(cases, build / "preprocessed", GRID)
    prepared, run = discover(build / "preprocessed"), build / "runs" / "dice-seed0"
    summary = train(TINY, prepared[:1], prepared[1:], run)
    settings = {**TINY.as_json(), "overlap": [8, 8, 8], "training": [0, 0], "validation": [1, 1], "excluded": []}
    record = {"experiment": "dice", "simulated": True, **summary, "preprocessing": GRID.as_json(), "settings": settings}
    (run / "run.json").write_text(json.dumps(record))
    return build


@pytest.fixture(scope="session")
def run(profile) -> Path:
    return profile / "runs" / "dice-seed0"


@pytest.fixture(scope="session")
def trained(run):
    return load_run(run)


@pytest.fixture(scope="session")
def phantom() -> Phantom:
    return reorient(simulate_case(0, 1), "IPL")


@pytest.fixture
def own_run(profile, tmp_path) -> Path:
    """A copy of the run, and of what it needs, to spoil."""
    copy = tmp_path / "profile"
    shutil.copytree(profile, copy, ignore=shutil.ignore_patterns("data", "logs", "case_*", "preprocessed"))
    return copy / "runs" / "dice-seed0"

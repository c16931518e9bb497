"""The profile of the paper's settings: nothing left unsaid, and every value that of the paper, or listed as a deviation."""

import pytest
import yaml

from kitsnb.data.cases import EXCLUDED
from kitsnb.files import NOTEBOOKS
from kitsnb.training.settings import Augmentation
from kitsnb.workflow.profile import ProfileError, load, read

PROFILE = NOTEBOOKS / "profiles" / "kits19.yml"
#: What the seed paper states, typed from its text: (stage, parameter): (value, section).
STATED = {
    ("training", "training"): ([0, 165], "4.1"),
    ("training", "validation"): ([166, 209], "4.1"),
    ("training", "excluded"): ([15, 23, 37, 68, 125, 133], "4.1"),
    ("preprocessing", "resize_in_plane"): ([256, 256], "4.2"),
    ("preprocessing", "clip"): ([-79.0, 304.0], "4.2"),
    ("preprocessing", "spacing"): ([3.22, 1.62, 1.62], "4.2"),
    ("training", "patch_size"): ([80, 80, 80], "4.2"),
    ("training", "overlap"): ([40, 40, 40], "4.2"),
    ("training", "batch_size"): (1, "4.4"),
    ("training", "learning_rate"): (1e-4, "4.4"),
    ("training", "minimum_learning_rate"): (1e-5, "4.4"),
    ("training", "plateau_patience"): (5, "4.4"),
    ("training", "stop_patience"): (20, "4.4"),
    ("training", "schedule"): ("plateau", "4.4"),
}
#: What it leaves open, or where this project goes another way: each must be listed.
LISTED = ("seeds", "split", "labels", "class weights", "optimizer", "epoch", "epochs", "training patches", "validation",
          "weights that are kept", "plateau", "augmentation", "elastic deformation", "interpolation", "precision", "scoring")


@pytest.fixture
def profile():
    return load(PROFILE, data_free=True)


def test_every_setting_of_the_paper_is_met(profile):
    for (stage, name), (value, section) in STATED.items():
        assert profile.parameters[stage][name] == value, f"{stage}.{name}, section {section}"
    assert profile.parameters["training"]["steps_per_epoch"] == (166 - len(EXCLUDED)) * 2  # cycles, section 4.3
    assert profile.folds is None and [row.name for row in profile.experiments][-1] == "weighted_dice"


@pytest.mark.parametrize("stage", ["preprocessing", "training"])
def test_nothing_is_left_to_a_notebooks_default(profile, stage):
    written = read(PROFILE)
    free = set(profile.parameters[stage]) - {"train_now"}
    assert free <= ({*written, *written["common"]} | set(written[stage]))
    assert set(profile.parameters["training"]["augmentation"]) == set(Augmentation.model_fields)


def test_all_eight_augmentations_are_on(profile):
    told = profile.parameters["training"]["augmentation"]
    off = {key: 0 for key in ("rotation", "elastic", "noise")} | {"mirror": False}
    off |= {key: [1.0, 1.0] for key in ("scaling", "brightness", "contrast", "gamma")}
    assert all(told[key] != value for key, value in off.items())


def test_losses_have_the_papers_parameters(profile):
    given = {row.name: row.parameters for row in profile.experiments}
    for name, exponent in (("focal_tversky", 0.75), ("focal_tversky_5", 5.0), ("log_cosh_focal_tversky", 0.75)):  # Table 1
        assert given[name] == {"alpha": 0.7, "beta": 0.3, "exponent": exponent}  # section 3.1.3


def test_deviations_are_listed_whole(profile):
    assert set(LISTED) <= {row.setting for row in profile.deviations}
    assert all(text.strip() for row in profile.deviations for text in row.model_dump().values())


def test_an_unset_variable_is_refused_by_those_who_run(monkeypatch):
    monkeypatch.delenv("KITSNB_DATA", raising=False)
    with pytest.raises(ProfileError, match="KITSNB_DATA is not set"):
        load(PROFILE)
    assert load(PROFILE, data_free=True).parameters["training"]["folder"] == "$KITSNB_DATA"
    text = yaml.safe_load(PROFILE.read_text())
    assert text["common"]["folder"] == "$KITSNB_DATA"

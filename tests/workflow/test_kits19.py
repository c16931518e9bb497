"""The profile of the paper's settings: nothing left unsaid, and every value that of the paper, or a listed deviation."""

import pytest

from kitsnb.data.settings import EXCLUDED
from kitsnb.files import NOTEBOOKS
from kitsnb.workflow.profile import load
from kitsnb.workflow.profile_files import read

PATH = NOTEBOOKS / "profiles" / "kits19.yml"
#: What the seed paper states, typed from its text, with the section.
STATED = {
    "data.training": ((0, 165), "4.1"), "data.validation": ((166, 209), "4.1"),
    "data.excluded": ((15, 23, 37, 68, 125, 133), "4.1"), "preprocessing.resize_in_plane": ((256, 256), "4.2"),
    "preprocessing.clip": ((-79.0, 304.0), "4.2"), "preprocessing.spacing": ((3.22, 1.62, 1.62), "4.2"),
    "training.patch_size": ((80, 80, 80), "4.2"), "prediction.overlap": ((40, 40, 40), "4.2"),
    "training.batch_size": (1, "4.4"), "training.learning_rate": (1e-4, "4.4"),
    "training.minimum_learning_rate": (1e-5, "4.4"), "training.plateau_patience": (5, "4.4"),
    "training.stop_patience": (20, "4.4"), "training.schedule": ("plateau", "4.4"), "training.weights": ("best", "4.4"),
}
#: What it leaves open, or where this project goes another way: each must be listed.
LISTED = {"seeds", "split", "labels", "class weights", "optimizer", "epoch", "epochs", "training patches", "validation",
          "weights that are kept", "plateau", "augmentation", "elastic deformation", "interpolation", "precision",
          "scoring"}


@pytest.fixture
def profile():
    return load(PATH, data_free=True)


def test_every_setting_of_the_paper_is_met(profile):
    for name, (value, section) in STATED.items():
        room, setting = name.split(".")
        assert getattr(getattr(profile, room), setting) == value, f"{name}, section {section}"
    assert profile.training.steps_per_epoch == (166 - len(EXCLUDED)) * 2  # cycles, section 4.3
    given = {row.name: row.parameters for row in profile.experiments}
    for name, exponent in (("focal_tversky", 0.75), ("focal_tversky_5", 5.0), ("log_cosh_focal_tversky", 0.75)):
        assert given[name] == {"alpha": 0.7, "beta": 0.3, "exponent": exponent}  # Table 1, section 3.1.3
    assert not profile.simulated and list(given)[-1] == "weighted_dice"


@pytest.mark.parametrize("room", ["data", "preprocessing", "training", "prediction"])
def test_nothing_is_left_to_a_default(profile, room):
    per_run = {"loss", "loss_parameters", "seed"}
    assert set(type(getattr(profile, room)).model_fields) - per_run == set(read(PATH)[room])


def test_all_eight_augmentations_are_on(profile):
    told = profile.training.augmentation
    off = {"rotation": 0, "elastic": 0, "noise": 0, "mirror": False}
    off |= dict.fromkeys(("scaling", "brightness", "contrast", "gamma"), (1.0, 1.0))
    assert len(off) == 8 and all(getattr(told, name) != value for name, value in off.items())


def test_deviations_are_listed_whole(profile):
    assert LISTED <= profile.deviations.keys()
    assert all(text.strip() for row in profile.deviations.values() for text in row.model_dump().values())

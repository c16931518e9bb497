"""A finished run of a tiny network, and a CT."""

from pathlib import Path

import pytest
from helpers.ct_at_hand import CT, small_ct

from kitsnb.data.settings import DataSettings
from kitsnb.files import write_json
from kitsnb.inference import Prediction, write_run
from kitsnb.preprocessing import Preprocessing
from kitsnb.training import Network, Training
from kitsnb.training.checkpoints import save_checkpoint
from kitsnb.unet import UNet3D


@pytest.fixture
def run(tmp_path) -> Path:
    """The folder of a run in a build, as training leaves it."""
    folder = tmp_path / "build" / "runs" / "dice-seed0"
    sections = {
        "data": DataSettings(source="phantom", simulated=True),
        "preprocessing": Preprocessing(spacing=(8.0, 6.0, 6.0), resize_in_plane=None),
        "training": Training(network=Network(base_filters=2, depth=2), patch_size=(16, 16, 16)),
        "prediction": Prediction(overlap=(8, 8, 8)),
    }
    network = UNet3D(base_filters=2, depth=2)
    save_checkpoint({"network": network.state_dict()}, folder / "checkpoints" / "best.ckpt")
    write_json(folder / "settings.json", sections["training"].as_json())
    write_run(folder, {"title": "Dice loss", "simulated": True, "training_cases": 100}, sections)
    return folder


@pytest.fixture
def ct() -> CT:
    return small_ct()

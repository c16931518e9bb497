"""Training: it learns, writes what it says, and stops where a loss is not finite; how it resumes is in test_resume."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.training_at_hand import TINY, assert_same_run, table
from pytorch_lightning.callbacks import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kitsnb.data.cases import Case
from kitsnb.preprocessing.arrays import read_array, write_array
from kitsnb.training import run as training
from kitsnb.training.checkpoints import load_network
from kitsnb.training.history import MEASURES
from kitsnb.training.module import SegmentationModule
from kitsnb.training.pictures import EVERY
from kitsnb.training.run import train
from kitsnb.unet import UNet3D


def spoilt(cases: list[Case], folder: Path) -> list[Case]:
    """Copies of ``cases`` whose imaging is NaN."""
    for case in cases:
        shutil.copytree(case.folder, folder / case.name)
        write_array(folder / case.name, "imaging", np.full_like(read_array(case, "imaging"), np.nan))
    return [Case(folder / case.name) for case in cases]


def test_a_run_writes_history_and_checkpoints(cases, tmp_path):
    summary = train(TINY, *cases, tmp_path)
    written = pd.read_csv(tmp_path / "history.csv")
    assert list(written.epoch) == [1, 2, 3, 4] and summary["epochs"] == 4 and summary["steps"] == 12
    for stage in ("training", "validation"):
        for measure in MEASURES:
            assert written[f"{stage}_{measure}"].notna().all()
    assert written.training_soft_dice.values == pytest.approx(
        written[["training_background", "training_kidney", "training_tumour"]].mean(axis=1).values)
    assert load_network(tmp_path, TINY)(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 3, 16, 16, 16)
    assert summary["trainable_parameters"] == sum(p.numel() for p in UNet3D(**TINY.network.model_dump()).parameters())
    assert summary["peak_memory_mb"] > 50 and summary["patches_per_second"] > 0 and 0 < summary["data_share"] < 1
    assert list((tmp_path / "logs" / "tensorboard").glob("events*"))


def test_tensorboard_gets_pictures_that_change_nothing(cases, tmp_path, monkeypatch):
    settings = TINY.changed(epochs=EVERY + 1, steps_per_epoch=1)
    train(settings, *cases, tmp_path / "with")
    log = EventAccumulator(str(tmp_path / "with" / "logs" / "tensorboard")).Reload()
    [name] = log.Tags()["images"]
    assert [image.step for image in log.Images(name)] == [1, EVERY]
    monkeypatch.setattr(training, "Pictures", Callback)
    train(settings, *cases, tmp_path / "without")
    assert_same_run(tmp_path / "with", tmp_path / "without")


def test_the_loss_falls_on_a_patch_that_can_be_learnt(cases, tmp_path):
    settings = TINY.changed(epochs=6, steps_per_epoch=20, augmentation=None)
    train(settings, *cases, tmp_path)
    losses = table(tmp_path).training_loss
    assert losses.iloc[-1] < 0.8 * losses.iloc[0]


def test_nan_stops_the_run_and_says_where(cases, tmp_path):
    with pytest.raises(FloatingPointError, match="step 0"):
        train(TINY, spoilt(cases[0], tmp_path / "grid"), cases[1], tmp_path / "run")


def test_nan_keeps_the_last_good_checkpoint_and_history(cases, tmp_path, monkeypatch):
    draw = training.PatchSampler.batch

    def spoilt_batch(self, step):
        imaging, segmentation = draw(self, step)
        return imaging * (float("nan") if step == 7 else 1.0), segmentation

    monkeypatch.setattr(training.PatchSampler, "batch", spoilt_batch)
    with pytest.raises(FloatingPointError, match="nan at step 7"):
        train(TINY, *cases, tmp_path)
    assert list(table(tmp_path).epoch) == [1, 2]
    monkeypatch.undo()
    assert train(TINY, *cases, tmp_path)["epochs"] == 4


def test_nan_in_validation_is_not_saved(cases, tmp_path):
    with pytest.raises(FloatingPointError, match="validation loss is nan after step 3"):
        train(TINY, cases[0], spoilt(cases[1], tmp_path / "grid"), tmp_path / "run")
    assert not list(tmp_path.glob("run/checkpoints/*.ckpt"))


def test_losses_and_weights_are_in_float32_under_autocast(cases, tmp_path, monkeypatch):
    seen = []
    real = SegmentationModule.step

    def step(self, *batch):
        loss, logits = real(self, *batch)
        seen.append((loss.dtype, logits.dtype))
        return loss, logits

    monkeypatch.setattr(SegmentationModule, "step", step)
    train(TINY.changed(precision="bf16-mixed", epochs=1), *cases, tmp_path)
    assert set(seen) == {(torch.float32, torch.bfloat16)}
    weights = torch.load(tmp_path / "checkpoints" / "last.ckpt")["state_dict"].values()
    assert {w.dtype for w in weights if w.is_floating_point()} == {torch.float32}


def test_a_compiled_network_keeps_the_names_of_its_weights(cases, tmp_path, monkeypatch):
    backends = []

    def compiled(module, **_):  # the real thing takes a minute of compiling
        backends.append(type(module).__name__)
        module._compiled_call_impl = torch.compile(module._call_impl, backend="eager")

    monkeypatch.setattr(torch.nn.Module, "compile", compiled)
    settings = TINY.changed(compile_network=True, epochs=1)
    train(settings, *cases, tmp_path)
    assert "UNet3D" in backends
    plain, names = UNet3D(**TINY.network.model_dump()).state_dict(), load_network(tmp_path, settings).state_dict()
    assert plain.keys() == names.keys()


def test_weights_are_chosen_on_held_out_cases_or_on_a_part_of_the_training_cases():
    learned, held_out = list("abcdefgh"), ["x"]
    assert training.parts(TINY, learned, held_out) == (learned, held_out)
    assert training.parts(TINY.changed(selection=0.25), learned, held_out) == (list("bcdfgh"), list("ae"))

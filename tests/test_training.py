"""Training: it learns, writes what it says, resumes exactly, and refuses what does not belong."""

import dataclasses

import pandas as pd
import pytest
import torch

from kitsnb.cases import discover
from kitsnb.phantom import write_dataset
from kitsnb.preprocessing import Preprocessing, preprocess_cases
from kitsnb.training import MEASURES, History, Training, checkpoint_to_resume, duration, load_network, train
from kitsnb.volumes import load_volumes

TINY = Training(network={"base_filters": 2, "depth": 2}, patch_size=(16, 16, 16), batch_size=2, steps_per_epoch=3, epochs=4,
                learning_rate=1e-2, foreground=1.0, loss_parameters={"batch": True})


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    preprocess_cases(write_dataset(folder / "data", 3, 0), folder / "grid", Preprocessing((8, 8, 8), resize_in_plane=None))
    loaded = load_volumes(discover(folder / "grid"))
    return loaded[:2], loaded[2:]


def test_a_run_writes_history_and_checkpoints(volumes, tmp_path):
    summary = train(TINY, *volumes, tmp_path)
    history = pd.read_csv(tmp_path / "history.csv")
    assert list(history.epoch) == [1, 2, 3, 4] and summary["epochs"] == 4 and summary["steps"] == 12
    for stage in ("training", "validation"):
        for measure in MEASURES:
            assert history[f"{stage}_{measure}"].notna().all()
    assert history.training_soft_dice.values == pytest.approx(
        history[["training_background", "training_kidney", "training_tumour"]].mean(axis=1).values)
    assert load_network(tmp_path, TINY)(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 3, 16, 16, 16)


def test_the_loss_falls_on_a_patch_that_can_be_learnt(volumes, tmp_path):
    settings = dataclasses.replace(TINY, epochs=6, steps_per_epoch=20, augmentation=None)
    train(settings, *volumes, tmp_path)
    history = pd.read_csv(tmp_path / "history.csv")
    assert history.training_loss.iloc[-1] < 0.8 * history.training_loss.iloc[0]


def test_an_interrupted_run_ends_like_an_uninterrupted_one(volumes, tmp_path, monkeypatch):
    whole = train(TINY, *volumes, tmp_path / "whole")

    class Interrupted(Exception):
        pass

    def stop(self, trainer, module):
        if trainer.current_epoch == 2:
            raise Interrupted

    monkeypatch.setattr(History, "on_train_epoch_start", stop)
    monkeypatch.setattr(History, "started", 0.0, raising=False)
    with pytest.raises(Interrupted):
        train(TINY, *volumes, tmp_path / "cut")
    monkeypatch.undo()
    assert train(TINY, *volumes, tmp_path / "cut")["best_epoch"] == whole["best_epoch"]
    histories = [pd.read_csv(tmp_path / run / "history.csv").drop(columns="seconds") for run in ("whole", "cut")]
    pd.testing.assert_frame_equal(*histories)
    weights = [load_network(tmp_path / run, TINY, "last").state_dict() for run in ("whole", "cut")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_another_run_s_checkpoint_is_refused(volumes, tmp_path):
    train(dataclasses.replace(TINY, epochs=1), *volumes, tmp_path)
    with pytest.raises(ValueError, match="loss: dice there, tversky now"):
        checkpoint_to_resume(tmp_path, dataclasses.replace(TINY, epochs=1, loss="tversky"))


def test_nan_stops_the_run_and_says_where(volumes, tmp_path):
    spoilt = [dataclasses.replace(v, imaging=v.imaging * float("nan")) for v in volumes[0]]
    with pytest.raises(FloatingPointError, match="step 0"):
        train(TINY, spoilt, volumes[1], tmp_path)


def test_plateau_lowers_the_learning_rate_and_patience_stops(volumes, tmp_path):
    settings = dataclasses.replace(TINY, epochs=12, learning_rate=1e-12, minimum_learning_rate=1e-14, plateau_patience=0,
                                   stop_patience=3, augmentation=None)
    train(settings, *volumes, tmp_path)
    history = pd.read_csv(tmp_path / "history.csv")
    assert history.learning_rate.iloc[-1] < 1e-12 or len(history) < 12


def test_unknown_schedule_is_named():
    with pytest.raises(ValueError, match="schedule"):
        Training(schedule="cosine")


def test_duration():
    assert duration(3725) == "1:02:05" and duration(59.2) == "1:00"

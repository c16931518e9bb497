"""A run: it learns, writes what it says, holds out what it is told to, and stops where a loss is not finite."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.training_at_hand import TIMING, TINY, table
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kitsnb.data.cases import Case
from kitsnb.training import machine
from kitsnb.training import run as training
from kitsnb.training.checkpoints import load_network
from kitsnb.training.history import MEASURES, is_finished
from kitsnb.training.run import set_aside, train
from kitsnb.unet import UNet3D


def test_a_run_writes_history_facts_and_the_log_of_tensorboard(cases, tmp_path):
    facts = train(TINY, *cases, tmp_path)
    written = pd.read_csv(tmp_path / "history.csv")
    measures = [f"{stage}_{name}" for stage in ("training", "validation") for name in MEASURES]
    assert list(written) == ["epoch", "step", "learning_rate", *measures, *TIMING] and written.notna().all(axis=None)
    assert list(written.epoch) == [1, 2, 3, 4] and list(written.step) == [3, 6, 9, 12]
    classes = written[["training_background", "training_kidney", "training_tumour"]]
    assert written.training_soft_dice.values == pytest.approx(classes.mean(axis=1).values)
    trainable = sum(p.numel() for p in UNet3D(**TINY.network.model_dump()).parameters())
    expected = {"epochs": 4, "steps": 12, "training_cases": 2, "trainable_parameters": trainable, "threads": 1,
                "best_epoch": written.epoch[written.validation_loss.idxmin()]}
    assert expected.items() <= facts.items()
    assert facts["seconds"] == pytest.approx(written.seconds.sum(), abs=0.06)
    seconds = (6 / written.patches_per_second).sum()  # of training alone
    assert facts["patches_per_second"] == pytest.approx(24 / seconds, rel=1e-2)
    events = EventAccumulator(str(tmp_path)).Reload().Scalars("validation_loss")
    assert [event.value for event in events] == pytest.approx(list(written.validation_loss))


def test_the_loss_falls_on_patches_that_can_be_learnt(cases, tmp_path):
    train(TINY.changed(steps_per_epoch=20, augmentation=None), *cases, tmp_path)
    losses = table(tmp_path).training_loss
    assert losses.iloc[-1] < 0.8 * losses.iloc[0]


@pytest.mark.parametrize("stage", ["training", "validation"])
def test_nan_keeps_the_last_good_checkpoint_and_history(cases, tmp_path, monkeypatch, stage):
    measures = training.measures
    seen = []

    def spoilt(name, sums):
        seen.append(name)
        bad = name == stage and seen.count(name) == 3
        return measures(name, sums * (float("nan") if bad else 1.0))

    with monkeypatch.context() as patch:
        patch.setattr(training, "measures", spoilt)
        with pytest.raises(FloatingPointError, match=f"{stage}_loss is nan in epoch 3; the last good checkpoint is kept"):
            train(TINY, *cases, tmp_path)
    assert list(table(tmp_path).epoch) == [1, 2]
    assert train(TINY, *cases, tmp_path)["epochs"] == 4


def test_patches_are_drawn_outside_of_autocast_and_weights_stay_float32(cases, tmp_path, monkeypatch):
    """Inside, the matrix of a rotation is rounded to eight bits, and with it every place in the patch."""
    draw = training.PatchSampler.batch
    inside = []

    def batch(self, step):
        inside.append(torch.is_autocast_enabled("cpu"))
        return draw(self, step)

    monkeypatch.setattr(training.PatchSampler, "batch", batch)
    for module in (machine, training):
        monkeypatch.setattr(module, "choose_precision", lambda settings: settings.precision)
    for precision in ("32-true", "bf16-mixed"):
        train(TINY.changed(epochs=1, precision=precision), *cases, tmp_path / precision)
    assert inside == [False] * 8  # three training batches, and the one for validation, of each
    assert not table(tmp_path / "32-true").equals(table(tmp_path / "bf16-mixed"))
    weights = torch.load(tmp_path / "bf16-mixed" / "checkpoints" / "last.ckpt")["network"].values()
    assert {weight.dtype for weight in weights if weight.is_floating_point()} == {torch.float32}


@pytest.mark.parametrize(("selection", "cases", "expected"), [
    (0.25, 8, 2), (0.45, 20, 9), (0.34, 3, 1), (0.01, 160, 2),
])
def test_a_share_of_the_training_cases_is_as_large_as_it_says_and_spread_evenly(selection, cases, expected):
    own = [Case(Path(f"case_{number:05d}")) for number in range(cases)]
    further = [Case(Path(f"case_{number:05d}-2")) for number in range(cases)]
    learned, judged = set_aside(TINY.changed(selection=selection), own, ["held-out"])
    assert len(judged) == expected and sorted(learned + judged) == own
    gaps = np.diff([*(case.number for case in judged), cases])
    apart = set_aside(TINY.changed(selection=selection), own + further, ["held-out"])
    one, other = ({case.number for case in part} for part in apart)
    assert not one & other and len(other) == expected, "of one patient are all cases, or none"
    assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize(("training_cases", "held_out", "selection", "what"), [
    (2, 0, 0.0, "held-out"), (0, 1, 0.5, "training"), (2, 1, 0.2, "held-out"),
])
def test_what_is_empty_is_named_before_anything_is_loaded(cases, tmp_path, training_cases, held_out, selection, what):
    message = f"no {what} cases .selection {selection:g} of {training_cases} training"
    with pytest.raises(ValueError, match=message):
        train(TINY.changed(selection=selection), cases[0][:training_cases], cases[1][:held_out], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_weights_that_are_asked_for_predict(cases, tmp_path, monkeypatch):
    losses = iter([3.0, 1.0, 2.0, 4.0])  # of validation, by epoch
    measures = training.measures

    def told(stage, sums):
        found = measures(stage, sums)
        return found | {"validation_loss": next(losses)} if stage == "validation" else found

    monkeypatch.setattr(training, "measures", told)
    settings = TINY.changed(weights="last", selection=0.3)
    facts = train(settings, [*cases[0], *cases[1]], [], tmp_path)
    assert facts["best_epoch"] == 2 and facts["training_cases"] == 2  # one only chooses, and none is held out
    for which, epoch in (("best", 2), ("last", 4)):
        saved = torch.load(tmp_path / "checkpoints" / f"{which}.ckpt")
        network = load_network(tmp_path, settings.changed(weights=which))
        assert len(saved["rows"]) == epoch and not network.training
        assert all(torch.equal(value, saved["network"][name]) for name, value in network.state_dict().items())


def test_patience_stops():
    rows = [{"epoch": n, "validation_loss": loss} for n, loss in enumerate([3.0, 2.0, 2.0, 2.5], 1)]
    settings = TINY.changed(epochs=9)
    assert is_finished(settings.changed(stop_patience=2), rows) and not is_finished(settings.changed(stop_patience=3), rows)
    fixed = settings.changed(stop_patience=1, schedule="poly")
    assert not is_finished(fixed, rows) and is_finished(fixed.changed(epochs=4), rows)


@pytest.mark.parametrize(("named", "gpu", "bf16", "expected"), [
    ("auto", False, False, "32-true"), ("auto", True, True, "bf16-mixed"), ("auto", True, False, "16-mixed"),
    ("32-true", True, True, "32-true"), ("16-mixed", True, True, "16-mixed"), ("bf16-mixed", False, True, None),
])
def test_what_is_named_is_taken_and_16_bits_only_on_a_gpu(monkeypatch, named, gpu, bf16, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: bf16)
    settings = TINY.changed(precision=named)
    if expected:
        assert machine.choose_precision(settings) == expected
    else:
        with pytest.raises(ValueError, match=f'"{named}" needs a GPU; on a CPU take "auto" or "32-true"'):
            machine.choose_precision(settings)

"""Training: it learns, writes what it says, resumes exactly, and refuses what does not belong."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pytorch_lightning.callbacks import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kitsnb.data.cases import Case, discover
from kitsnb.files import ROOT
from kitsnb.messages import duration
from kitsnb.preprocessing.arrays import read_array, write_array
from kitsnb.preprocessing.prepare import Preprocessing, preprocess_cases
from kitsnb.simulation.phantom import write_dataset
from kitsnb.training import history
from kitsnb.training import run as training
from kitsnb.training.checkpoints import AtomicCheckpoints, Checkpoints, load_network, locked
from kitsnb.training.history import MEASURES, TIMING, Clock, History, has_stopped, performance
from kitsnb.training.module import SegmentationModule, compile_in_place
from kitsnb.training.pictures import EVERY
from kitsnb.training.run import train
from kitsnb.training.settings import Training
from kitsnb.unet import UNet3D

TINY = Training(network={"base_filters": 2, "depth": 2}, patch_size=(16, 16, 16), batch_size=2, steps_per_epoch=3, epochs=4,
                learning_rate=1e-2, foreground=1.0, loss_parameters={"batch": True})
#: Rates so small that validation hardly changes, and no patience: the rate falls after most epochs, and training stops early.
PLATEAU = TINY.changed(epochs=9, learning_rate=1e-5, minimum_learning_rate=1e-8, plateau_patience=0,
                              stop_patience=4, steps_per_epoch=2)
POLY = TINY.changed(schedule="poly", warm_up=4)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    preprocess_cases(write_dataset(folder / "data", 3, 0), folder / "grid", Preprocessing(spacing=(8, 8, 8), resize_in_plane=None))
    prepared = discover(folder / "grid")
    return prepared[:2], prepared[2:]


def spoilt(cases: list[Case], folder: Path) -> list[Case]:
    """Copies of ``cases`` whose imaging is NaN."""
    for case in cases:
        shutil.copytree(case.folder, folder / case.name)
        write_array(folder / case.name, "imaging", np.full_like(read_array(case, "imaging"), np.nan))
    return [Case(folder / case.name) for case in cases]


def table(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "history.csv").drop(columns=list(TIMING))


def assert_same_run(first: Path, second: Path) -> None:
    pd.testing.assert_frame_equal(table(first), table(second), check_exact=True)
    for name in ("best", "last"):
        states = [torch.load(run / "checkpoints" / f"{name}.ckpt")["state_dict"] for run in (first, second)]
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


class Killed(BaseException):
    """What a test raises where a process would have been killed: nothing handles it."""


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


@pytest.mark.parametrize("settings", [PLATEAU, POLY, PLATEAU.changed(precision="bf16-mixed")],
                         ids=["plateau", "poly", "bf16"])
@pytest.mark.parametrize("where", ["in an epoch", "while validating", "before best", "between best and last", "after last"])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(cases, tmp_path, monkeypatch, settings, where):
    whole = train(settings, *cases, tmp_path / "whole")
    cut, interrupted = tmp_path / "cut", []
    save = AtomicCheckpoints.save_checkpoint

    def stop(trainer):
        if trainer.current_epoch >= 2 and trainer.current_epoch not in interrupted:
            interrupted.append(trainer.current_epoch)
            raise Killed

    class Stopping(Checkpoints):
        def on_train_batch_start(self, trainer, module, batch, index):
            if where == "in an epoch" and index == 1:
                stop(trainer)

        def on_validation_end(self, trainer, module):
            if where == "while validating":
                stop(trainer)

        def on_train_epoch_end(self, trainer, module):
            if where == "before best":
                stop(trainer)
            self.trainer = trainer
            super().on_train_epoch_end(trainer, module)
            if where == "after last":
                stop(trainer)

    def stopping_save(self, checkpoint, path, storage_options=None):
        if where == "between best and last" and Path(path).name == "last.ckpt" and checkpoint["epoch"] >= 2:
            if checkpoint["epoch"] not in interrupted:
                interrupted.append(checkpoint["epoch"])
                Path(path).with_name(".1-1-last.ckpt").write_bytes(b"half")
                raise Killed
        save(self, checkpoint, path, storage_options)

    monkeypatch.setattr(training, "Checkpoints", Stopping)
    monkeypatch.setattr(AtomicCheckpoints, "save_checkpoint", stopping_save)
    while True:
        try:
            summary = train(settings, *cases, cut)
            break
        except Killed:
            pass
    assert len(interrupted) >= 2 and summary["epochs"] == whole["epochs"]
    assert summary["best_epoch"] == whole["best_epoch"] and summary["steps"] == whole["steps"]
    assert_same_run(tmp_path / "whole", cut)
    assert not list(cut.glob("checkpoints/.*"))
    if settings.schedule == "plateau":  # the rate falls before, between and after the interruptions
        rates = table(cut).learning_rate
        assert whole["epochs"] < settings.epochs and rates.is_monotonic_decreasing and rates.nunique() >= 4


def test_a_run_goes_on_with_as_many_threads_as_it_began_with(cases, tmp_path, monkeypatch):
    """Sums of more or fewer threads differ in their last bits, and a worker elsewhere may have another number."""
    used = []
    step = SegmentationModule.training_step

    def stopping_step(self, index, number):
        used.append(torch.get_num_threads())
        if len(used) == TINY.steps_per_epoch + 1:
            raise Killed
        return step(self, index, number)

    monkeypatch.setattr(SegmentationModule, "training_step", stopping_step)
    with pytest.raises(Killed):
        train(TINY, *cases, tmp_path)
    torch.set_num_threads(2)
    try:
        train(TINY, *cases, tmp_path)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert set(used) == {1}


def test_a_run_keeps_its_precision(cases, tmp_path, monkeypatch):
    """What "auto" chose is kept when a run goes on, also where another machine would choose otherwise, and is recorded."""
    chosen = iter(["bf16-mixed", "32-true"])
    monkeypatch.setattr(training, "choose_precision", lambda settings, folder: next(chosen))
    settings = TINY.changed(precision="auto")
    with monkeypatch.context() as patch:
        patch.setattr(training, "Checkpoints", _stopping_after(2))
        with pytest.raises(Killed):
            train(settings, *cases, tmp_path / "run")
    assert train(settings, *cases, tmp_path / "run")["precision"] == "bf16-mixed" and next(chosen) == "32-true"
    assert train(settings, *cases, tmp_path / "run")["precision"] == "bf16-mixed"  # finished
    monkeypatch.setattr(training, "choose_precision", lambda settings, folder: settings.precision)
    train(TINY.changed(precision="bf16-mixed"), *cases, tmp_path / "named")
    assert_same_run(tmp_path / "run", tmp_path / "named")


def test_a_finished_run_is_not_trained_again(cases, tmp_path, monkeypatch):
    first = train(PLATEAU, *cases, tmp_path)
    before = (tmp_path / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    whole = (tmp_path / "history.csv").read_bytes()
    (tmp_path / "history.csv").write_bytes(whole[:-20])
    monkeypatch.setattr(training, "_fit", None)
    assert train(PLATEAU, *cases, tmp_path) == first
    assert (tmp_path / "checkpoints" / "last.ckpt").stat().st_mtime_ns == before
    assert (tmp_path / "history.csv").read_bytes() == whole  # a damaged one comes back from the checkpoint


def test_a_run_goes_on_where_its_folder_was_moved_to(cases, tmp_path):
    whole = train(TINY, *cases, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "Checkpoints", _stopping_after(2))
        with pytest.raises(Killed):
            train(TINY, *cases, tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    assert train(TINY, *cases, tmp_path / "there")["best_epoch"] == whole["best_epoch"]
    assert_same_run(tmp_path / "whole", tmp_path / "there")


def _stopping_after(epoch: int) -> type[Checkpoints]:
    class Stopping(Checkpoints):
        def on_train_epoch_end(self, trainer, module):
            super().on_train_epoch_end(trainer, module)
            if trainer.current_epoch + 1 == epoch:
                raise Killed

    return Stopping


def test_history_follows_the_checkpoint_that_is_gone_on_from(cases, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "Checkpoints", _stopping_after(2))
        with pytest.raises(Killed):
            train(TINY, *cases, tmp_path)
    rows = (tmp_path / "history.csv").read_text().splitlines()
    (tmp_path / "history.csv").write_text("\n".join([*rows, rows[-1].replace("2,", "3,", 1)]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_fit", lambda *_: None)
        train(TINY, *cases, tmp_path)
    assert list(table(tmp_path).epoch) == [1, 2]


@pytest.mark.parametrize("change, message", [
    ({"loss": "tversky"}, "loss: dice there, tversky now"),
    ({"network": {"base_filters": 4, "depth": 2}}, "base_filters': 2.* there, .*base_filters': 4"),
    ({"learning_rate": 1e-3}, "learning_rate: 0.01 there, 0.001 now"),
])
def test_another_run_s_checkpoint_is_refused(cases, tmp_path, change, message):
    settings = TINY.changed(epochs=1)
    train(settings, *cases, tmp_path)
    other = settings.changed(**change)
    (tmp_path / "settings.json").write_text(json.dumps(other.as_json()))  # the checkpoint itself is asked
    with pytest.raises(ValueError, match=message):
        train(other, *cases, tmp_path)
    with pytest.raises(ValueError, match="training_cases: .* there"):
        train(settings, cases[0][:1], cases[1], tmp_path)


def test_a_damaged_checkpoint_is_named_and_best_takes_its_place(cases, tmp_path):
    train(TINY, *cases, tmp_path / "whole")
    run = tmp_path / "run"
    train(TINY, *cases, run)
    last = run / "checkpoints" / "last.ckpt"
    content = last.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"no checkpoint at all"):
        last.write_bytes(damaged)
        with pytest.raises(RuntimeError, match="last.ckpt is damaged .*best.ckpt"):
            train(TINY, *cases, run)
    last.write_bytes((run / "checkpoints" / "best.ckpt").read_bytes())
    train(TINY, *cases, run)
    assert_same_run(tmp_path / "whole", run)


def test_a_checkpoint_of_another_version_is_refused(cases, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    torch.save({"state_dict": {}}, tmp_path / "checkpoints" / "last.ckpt")
    with pytest.raises(ValueError, match="another version"):
        train(TINY, *cases, tmp_path)


def test_a_checkpoint_that_cannot_be_written_leaves_the_former_one(tmp_path):
    path = tmp_path / "last.ckpt"
    AtomicCheckpoints().save_checkpoint({"epoch": 1}, path)
    with pytest.raises(Exception, match="pickle"):
        AtomicCheckpoints().save_checkpoint({"epoch": lambda: 2}, path)
    assert torch.load(path) == {"epoch": 1} and os.listdir(tmp_path) == ["last.ckpt"]


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


def test_without_a_compiler_the_network_is_not_compiled_and_that_is_said(monkeypatch, capsys):
    def broken(self):
        self._compiled_call_impl = lambda *_: (_ for _ in ()).throw(RuntimeError("no compiler found"))

    monkeypatch.setattr(torch.nn.Module, "compile", broken)
    network = UNet3D(base_filters=2, depth=1)
    assert not compile_in_place(network, "cpu") and "no compiler found" in capsys.readouterr().out
    assert network._compiled_call_impl is None


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


def test_patience_stops():
    rows = [{"epoch": n, "validation_loss": loss} for n, loss in enumerate([3.0, 2.0, 2.0, 2.5], 1)]
    assert has_stopped(rows, 2) and not has_stopped(rows, 3) and not has_stopped([], 0)


def test_performance_is_pooled_over_epochs():
    rows = [dict(zip(TIMING, values)) for values in ((10.0, 5.0, 0.5, 0.2), (40.0, 1.25, 0.0, 0.2))]
    found = performance(rows, 40)  # 8 and 32 s of training
    assert found == {"seconds": 50.0, "patches_per_second": 2.0, "data_share": 0.1, "validation_share": 0.2}


def test_the_clock_counts_what_a_step_waits_for(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(history.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(history.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    clock = Clock()
    with clock.data():
        now[0] += 1
    now[0] += 3
    clock.validation()
    now[0] += 4
    assert clock.row(8) == {"seconds": 8.0, "patches_per_second": 2.0, "data_share": 0.25, "validation_share": 0.5}


HOLDER = """
import sys, time
from pathlib import Path
from filelock import FileLock
with FileLock(Path(sys.argv[1], ".lock")):
    Path(sys.argv[1], ".holder").write_text("process 7 on elsewhere")
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def test_two_processes_never_have_one_folder(tmp_path, capsys):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path, "600"], stdout=subprocess.PIPE)
    try:
        holder.stdout.readline()
        with pytest.raises(RuntimeError, match="in use by process 7 on elsewhere"), locked(tmp_path, 0.5):
            pass
        assert capsys.readouterr().out.count("in use by process 7 on elsewhere; waiting") == 1
    finally:
        holder.kill()
        holder.wait()
    with locked(tmp_path, 0.5):  # death has released it
        assert f"process {os.getpid()} on" in (tmp_path / ".holder").read_text()


def test_a_folder_is_waited_for(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path, "1"], stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        with locked(tmp_path, 60):
            assert holder.wait(30) == 0


def test_history_starts_anew_without_a_checkpoint(tmp_path):
    (tmp_path / "history.csv").write_text("epoch\n1\n")
    History(tmp_path / "history.csv", training.find_ranks(1), 2, 3, [])
    assert not (tmp_path / "history.csv").exists()


@pytest.mark.parametrize("wrong", [{"schedule": "cosine"}, {"precision": "bf16"}])
def test_unknown_names_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Training(**wrong)


def test_duration():
    assert duration(3725) == "1:02:05" and duration(59.2) == "1:00"


def test_a_run_killed_ten_times_ends_like_one_that_was_not(tmp_path):
    """Real processes and SIGKILL, at random moments and while checkpoints are written."""
    script = ROOT / "tests" / "helpers" / "kills_at_hand.py"
    ended = subprocess.run([sys.executable, script, tmp_path, "--profile", "tiny", "--kills", "10"], text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600, check=False)
    assert ended.returncode == 0, ended.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    kills = report["kills"]
    assert report["equal"] and report["learning_rates"] > 1 and len(kills) == 10
    assert sum(kill["half_written"] for kill in kills) >= 2
    assert len({kill["epochs"] for kill in kills}) >= 4  # they were spread, and there was progress between them
    assert all(kill["from"] <= kill["epochs"] < report["epochs"] for kill in kills)


def test_weights_are_chosen_on_held_out_cases_or_on_a_part_of_the_training_cases():
    learned, held_out = list("abcdefgh"), ["x"]
    assert training.parts(TINY, learned, held_out) == (learned, held_out)
    assert training.parts(TINY.changed(selection=0.25), learned, held_out) == (list("bcdfgh"), list("ae"))

"""A run that is interrupted, killed, moved or damaged ends like one that was not, and refuses what does not belong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.training_at_hand import TINY, assert_same_run, table

from kitsnb.data.cases import Case
from kitsnb.files import ROOT, locked
from kitsnb.training import run as training
from kitsnb.training.checkpoints import AtomicCheckpoints, Checkpoints
from kitsnb.training.module import SegmentationModule
from kitsnb.training.run import train
from kitsnb.training.settings import Training

#: Rates so small that validation hardly changes, and no patience: the rate falls after most epochs, and training stops early.
PLATEAU = TINY.changed(epochs=9, learning_rate=1e-5, minimum_learning_rate=1e-8, plateau_patience=0,
                              stop_patience=4, steps_per_epoch=2)
POLY = TINY.changed(schedule="poly", warm_up=4)


class Killed(BaseException):
    """What a test raises where a process would have been killed: nothing handles it."""


def cut_short(settings: Training, cases: tuple[list[Case], list[Case]], folder: Path) -> None:
    """A run in ``folder`` that was killed when it had saved its second epoch."""
    class Stopping(Checkpoints):
        def on_train_epoch_end(self, trainer, module):
            super().on_train_epoch_end(trainer, module)
            if trainer.current_epoch + 1 == 2:
                raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(training, "Checkpoints", Stopping)
        train(settings, *cases, folder)


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
    cut_short(settings, cases, tmp_path / "run")
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
    cut_short(TINY, cases, tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    assert train(TINY, *cases, tmp_path / "there")["best_epoch"] == whole["best_epoch"]
    assert_same_run(tmp_path / "whole", tmp_path / "there")


def test_history_follows_the_checkpoint_that_is_gone_on_from(cases, tmp_path):
    cut_short(TINY, cases, tmp_path)
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

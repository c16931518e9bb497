"""A run that is interrupted, killed, moved or damaged ends like one that was not, and refuses what does not belong."""

import os
import subprocess
import sys

import pytest
import torch
from helpers.training_at_hand import TINY, assert_same_run, cut, table
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kitsnb.files import ROOT, write_json
from kitsnb.training import machine
from kitsnb.training import run as training
from kitsnb.training.run import train

#: Rates so small that validation hardly changes, and no patience: the rate falls often, and training stops early.
PLATEAU = TINY.changed(epochs=9, learning_rate=1e-5, minimum_learning_rate=1e-8, plateau_patience=0,
                       stop_patience=4, steps_per_epoch=2)
POLY = TINY.changed(schedule="poly", warm_up=4, epochs=6)


@pytest.mark.parametrize("settings", [PLATEAU, POLY, POLY.changed(precision="bf16-mixed")], ids=["plateau", "poly", "bf16"])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(cases, tmp_path, monkeypatch, settings):
    """Cut in an epoch, while it saves, before the history, in the log of an epoch that is not saved yet; and moved."""
    for module in (machine, training):  # 16 bits on a CPU, too
        monkeypatch.setattr(module, "choose_precision", lambda settings: settings.precision)
    whole = train(settings, *cases, tmp_path / "whole")
    run = tmp_path / "moved" / "cut"
    for name, calls in (("train_epoch", 1), ("save_checkpoint", 1), ("measures", 3), ("write_history", 1), ("peak_memory", 0)):
        cut(monkeypatch, name, settings, cases, tmp_path / "cut", calls)
    run.parent.mkdir()
    (tmp_path / "cut").rename(run)
    (run / "checkpoints" / ".1-1-last.ckpt").write_bytes(b"half")
    (run / ".1-1-history.csv").write_bytes(b"half")
    facts = train(settings, *cases, run)
    timing = ("seconds", "patches_per_second", "peak_memory_mb")
    assert {k: v for k, v in facts.items() if k not in timing} == {k: v for k, v in whole.items() if k not in timing}
    assert_same_run(tmp_path / "whole", run)
    assert not list(run.glob(".1*")) and not list(run.glob("checkpoints/.*"))
    if settings.schedule == "plateau":  # the rate falls before, between and after the interruptions
        rates = table(run).learning_rate
        assert whole["epochs"] < settings.epochs and rates.is_monotonic_decreasing and rates.nunique() >= 4
    log = EventAccumulator(str(run)).Reload()  # nothing doubled, nothing left out
    assert [event.step for event in log.Scalars("training_loss")] == list(table(run).step)


def test_a_run_that_is_killed_again_and_again_ends_like_one_that_was_not(tmp_path):
    """Real processes and SIGKILL: four times while checkpoints are written, twice at random moments."""
    script = ROOT / "tests" / "helpers" / "kills_at_hand.py"
    log = tmp_path / "log"
    with log.open("w") as file:  # no pipe, which a copy that hangs would keep open
        status = subprocess.call([sys.executable, script, tmp_path, "6"], stdout=file, stderr=file, timeout=300,
                                 env=os.environ | {"OMP_NUM_THREADS": "1"})
    said = log.read_text()
    assert status == 0 and said.endswith("equal to the last bit\n"), said
    assert said.count("kill ") == 6


def test_a_run_goes_on_with_as_many_threads_and_the_precision_that_it_began_with(cases, tmp_path, monkeypatch):
    """Sums of more or fewer threads differ in their last bits, and "auto" may mean another precision elsewhere."""
    used = []
    real = training.train_epoch

    def epoch(*arguments):
        used.append(torch.get_num_threads())
        return real(*arguments)

    monkeypatch.setattr(training, "train_epoch", epoch)
    monkeypatch.setattr(training, "choose_precision", lambda settings: settings.precision)
    settings = TINY.changed(precision="auto")
    with monkeypatch.context() as patch:
        patch.setattr(machine, "choose_precision", lambda settings: "bf16-mixed")
        cut(patch, "train_epoch", settings, cases, tmp_path, 2)
    torch.set_num_threads(2)
    facts = train(settings, *cases, tmp_path)
    torch.set_num_threads(1)
    assert used == [1, 1, 1, 1] and facts["threads"] == 1 and facts["precision"] == "bf16-mixed"


def test_a_finished_run_is_found_done_without_loading_anything(cases, tmp_path, monkeypatch):
    first = train(PLATEAU, *cases, tmp_path)
    before = (tmp_path / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    whole = (tmp_path / "history.csv").read_bytes()
    (tmp_path / "history.csv").write_bytes(whole[:-20])
    monkeypatch.setattr(training, "load_volumes", None)
    assert train(PLATEAU, *cases, tmp_path) == first
    assert (tmp_path / "checkpoints" / "last.ckpt").stat().st_mtime_ns == before
    assert (tmp_path / "history.csv").read_bytes() == whole  # a damaged one comes back from the checkpoint


def test_another_run_s_checkpoint_is_refused(cases, tmp_path):
    settings = TINY.changed(epochs=1)
    train(settings, *cases, tmp_path)
    other = settings.changed(loss="tversky")
    write_json(tmp_path / "settings.json", other.as_json())  # the checkpoint itself is asked
    with pytest.raises(ValueError, match="loss is dice there, tversky here"):
        train(other, *cases, tmp_path)
    with pytest.raises(ValueError, match="training_cases is .* there"):
        train(settings, cases[0][:1], cases[1], tmp_path)


def test_a_damaged_checkpoint_is_named_and_best_takes_its_place(cases, tmp_path):
    train(TINY, *cases, tmp_path / "whole")
    run = tmp_path / "run"
    train(TINY, *cases, run)
    last = run / "checkpoints" / "last.ckpt"
    content = last.read_bytes()
    for damaged in (content[: len(content) // 2], b"no checkpoint at all"):
        last.write_bytes(damaged)
        with pytest.raises(RuntimeError, match="last.ckpt is damaged or missing. Put a copy of best.ckpt"):
            train(TINY, *cases, run)
    last.write_bytes((run / "checkpoints" / "best.ckpt").read_bytes())
    train(TINY, *cases, run)
    assert_same_run(tmp_path / "whole", run)

"""History: patience, speed over epochs, and the clock of an epoch."""

import torch

from kitsnb.training import history
from kitsnb.training.devices import find_ranks
from kitsnb.training.history import TIMING, Clock, History, has_stopped, performance


def test_patience_stops():
    rows = [{"epoch": n, "validation_loss": loss} for n, loss in enumerate([3.0, 2.0, 2.0, 2.5], 1)]
    assert has_stopped(rows, 2) and not has_stopped(rows, 3) and not has_stopped([], 0)


def test_performance_is_pooled_over_epochs():
    rows = [dict(zip(TIMING, values)) for values in ((10.0, 5.0, 0.5), (40.0, 1.25, 0.0))]
    found = performance(rows, 40)  # 8 and 32 s of training
    assert found == {"seconds": 50.0, "patches_per_second": 2.0, "data_share": 0.1}


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
    assert clock.row(8) == {"seconds": 8.0, "patches_per_second": 2.0, "data_share": 0.25}


def test_history_starts_anew_without_a_checkpoint(tmp_path):
    (tmp_path / "history.csv").write_text("epoch\n1\n")
    History(tmp_path / "history.csv", find_ranks(1), 2, 3, [])
    assert not (tmp_path / "history.csv").exists()

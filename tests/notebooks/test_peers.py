"""The benchmark measures what it says: turns, threads, and memory of functions whose need is known."""

import time

import numpy as np
import pytest
import torch
from peers import losses, measure, reading
from peers.figure import ratios
from peers.losses import against_monai, cost_of_losses
from peers.readme import BEGIN, END, write_table

from kitsnb.losses import DiceLoss


def test_functions_take_turns_and_the_slower_one_is_slower():
    calls = []

    def busy(name: str, seconds: float):
        def run():
            calls.append(name)
            until = time.thread_time() + seconds
            while time.thread_time() < until:
                pass

        return run

    found = measure.median_seconds({"short": busy("short", 0.002), "long": busy("long", 0.006)}, repeats=6)
    assert calls.count("short") == calls.count("long") == 7  # one round warms up
    assert {frozenset(calls[turn : turn + 2]) for turn in range(0, 14, 2)} == {frozenset({"short", "long"})}
    assert 0.002 <= found["short"] < found["long"]


def test_one_thread_is_given_back():
    torch.set_num_threads(2)
    with measure.one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)


def test_peak_bytes_of_what_is_known(capfd):
    values = torch.ones(250_000)  # a megabyte
    assert measure.peak_bytes(lambda: values + 1) == pytest.approx(1e6, rel=0.01)
    assert measure.peak_bytes(lambda: (values + 1) * 2) == pytest.approx(2e6, rel=0.01)
    assert measure.peak_bytes(lambda: [values + i for i in range(5)]) == pytest.approx(5e6, rel=0.01)
    assert measure.peak_bytes(lambda: [(values + i).sum() for i in range(5)]) == pytest.approx(1e6, rel=0.01)
    assert capfd.readouterr().err == ""


def test_peak_process_bytes_of_what_is_known():
    values = np.ones(2_500_000)  # 20 MB
    assert measure.peak_process_bytes(lambda: values + 1) == pytest.approx(20e6, rel=0.15)
    assert measure.peak_process_bytes(lambda: [values + i for i in range(4)]) == pytest.approx(80e6, rel=0.15)
    with pytest.raises(RuntimeError, match="child process"):
        measure.peak_process_bytes(lambda: 1 / 0)


def test_cost_of_losses_is_in_units_of_the_logits():
    logits, target = torch.randn(1, 3, 40, 40, 40), torch.randint(0, 3, (1, 40, 40, 40))
    found = cost_of_losses({"dice": DiceLoss(), "again": DiceLoss()}, logits, target, repeats=2)
    assert found["dice"]["milliseconds"] > 0
    assert found["dice"]["memory"] == pytest.approx(found["again"]["memory"], rel=0.01)
    assert 2 < found["dice"]["memory"] < 3  # probabilities and gradient, and little beside them


def test_losses_against_monai():
    rows = against_monai([[1, 3, 12, 12, 12], [2, 3, 8, 8]], repeats=1)
    assert [(row["loss"], len(row["size"])) for row in rows[::4]] == [("Dice", 5), ("Dice", 4)] and len(rows) == 8
    assert all(row[key] > 0 for row in rows for key in ("milliseconds", "memory", "time_ratio", "memory_ratio"))


ROWS = [{"job": "read", "peer": "nibabel", "milliseconds": 123.4, "time_ratio": 0.5, "megabytes": None, "memory_ratio": None},
        {"job": "score", "peer": "numpy", "milliseconds": 4.5, "time_ratio": 0.1, "megabytes": 3.0, "memory_ratio": 0.2}]


def test_reading_is_compared():
    (row,) = reading.compare(1, slices=4, side=64)
    assert row["time_ratio"] > 0 and row["memory_ratio"] is None and set(row) == set(ROWS[0])


def test_losses_are_compared_in_rows_like_the_others():
    rows = losses.compare(1, [[1, 3, 12, 12, 12]])
    assert len(rows) == 4 and all(set(row) == set(ROWS[0]) and row["megabytes"] > 0 for row in rows)


def test_the_table_goes_between_the_markers(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    for _ in range(2):
        write_table(ROWS, "One machine.", readme)
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text and text.count("One machine.") == 1
    assert "| read | nibabel | 123 | 0.5 | – |" in text and "| score | numpy | 4.5 | 0.1 | 0.2 |" in text
    readme.write_text("no markers")
    with pytest.raises(ValueError, match="put them back"):
        write_table(ROWS, "", readme)


def test_ratios_are_drawn_and_what_was_not_measured_is_not():
    axes = ratios(ROWS).axes[0]
    time_ratio, memory = (line.get_xdata() for line in axes.lines[:2])
    assert list(time_ratio) == [0.5, 0.1] and np.isnan(memory[0]) and memory[1] == 0.2
    assert [label.get_text() for label in axes.get_yticklabels()] == ["read (nibabel)", "score (numpy)"]

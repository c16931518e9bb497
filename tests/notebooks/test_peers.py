"""The benchmark measures what it says: turns, threads, and memory of functions whose need is known."""

import time

import numpy as np
import pytest
import torch
from peers import jobs, measure, steps
from peers.readme import BEGIN, END, table, table_of_steps

from kitsnb.data.nifti import read_nifti
from kitsnb.files import write_between
from kitsnb.simulation.phantom import write_dataset
from kitsnb.training.settings import Training


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


KEYS = ("job", "peer", "milliseconds", "time_ratio", "megabytes", "memory_ratio")
LABELS = np.zeros((40, 96, 96), np.uint8)
LABELS[5:30, 20:60, 20:70], LABELS[10:20, 30:50, 30:50] = 1, 2
#: Each job at a size that takes a moment, and the peers of its rows.
SMALL = {
    "reading": ({"slices": 40, "side": 160}, ["nibabel, unverified"]),
    "preprocessing": ({"shape": (48, 64, 64)},
                      ["torchio", "torchio, half first", "torchio", "torchio, B-spline", "torch, whole volume"]),
    "sampling": ({"patch": 48, "shape": (56, 64, 64)}, ["torchio", "MONAI", "torchio, LabelSampler"]),
    "metric": ({"labels": (LABELS for _ in range(2))}, ["boolean arrays of full size"] * 2),
    "losses": ({"sizes": [[1, 3, 12, 12, 12], [2, 3, 8, 8]]}, ["MONAI"] * 8),
}  # fmt: skip


@pytest.mark.parametrize("job", SMALL)
def test_a_job_gives_a_row_for_each_peer(job):
    settings, peers = SMALL[job]
    rows = getattr(jobs, job)(1, **settings)
    assert [row["peer"] for row in rows] == peers and all(set(row) == set(KEYS) for row in rows)
    assert all(row["milliseconds"] > 0 and row["time_ratio"] > 0 for row in rows)
    without_memory = {row["job"] for row in rows if row["megabytes"] is None}
    assert bool(without_memory) == (job in ("reading", "sampling"))
    assert len({row["job"] for row in rows}) > len(peers) // 3


def test_scores_that_differ_are_refused(monkeypatch):
    monkeypatch.setattr(jobs, "plain_score", lambda *_: {"tumour": 0.5})
    with pytest.raises(ValueError, match="is not"):
        jobs.metric(1, [LABELS])


def test_labels_are_blown_up_phantoms_or_those_of_a_folder(tmp_path):
    assert next(jobs.labels_for(None, [0, 1])).size > 10_000_000
    cases = write_dataset(tmp_path, 3, 0)
    found = list(jobs.labels_for(tmp_path, [1, 2]))
    assert len(found) == 2 and np.array_equal(found[0], read_nifti(cases[1].segmentation)[0])


TINY = Training(network={"base_filters": 2, "depth": 2}, patch_size=(16, 16, 16))


@pytest.fixture(scope="module")
def timed() -> list[dict]:
    return steps.compare_steps(1, "cpu", {"tiny": TINY}, side=64)


def test_a_step_is_timed_in_every_precision_and_layout(timed):
    assert [(row["precision"], row["layout"]) for row in timed] == [
        (precision, layout) for precision in ("32-true", "bf16-mixed") for layout in ("channels last", "contiguous")]
    assert all(row["network"] == "tiny" and row["seconds"] > 0 and row["floor"] > 0 for row in timed)
    assert timed[0]["floor"] == timed[1]["floor"] != timed[2]["floor"], "as fast as products of that precision"


def test_networks_are_those_of_the_profiles():
    found = {name: steps.settings_of(file) for name, file in steps.PROFILES.items()}
    assert found["the paper's"].network.base_filters == 32 and found["the paper's"].patch_size == (80, 80, 80)
    assert found["quick"].network.base_filters < 32


ROWS = [dict(zip(KEYS, values)) for values in (
    ("read", "nibabel", 123.4, 0.5, None, None), ("score", "numpy", 4.5, 0.1, 3.0, 0.2))]


def test_the_tables_go_between_the_markers(tmp_path, timed):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    for _ in range(2):
        write_between(readme, BEGIN, END, [table(ROWS), "One machine.", table_of_steps(timed)])
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert text.count("One machine.") == 1
    assert "| read | nibabel | 123 | 0.5 | – |" in text and "| score | numpy | 4.5 | 0.1 | 0.2 |" in text
    assert text.count("| tiny | bf16-mixed | channels last |") == 1
    readme.write_text("no markers")
    with pytest.raises(ValueError, match="put them back"):
        write_between(readme, BEGIN, END, [])

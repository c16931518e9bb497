"""The benchmark of a training step, at tiny sizes on the CPU: what it counts, its rows, its line and its command."""

import itertools

import pytest
import torch
import typer
from peers import training
from peers.sampling import simulated_volume
from peers.training import (
    PRECISIONS,
    Step,
    compare,
    measure,
    monai_feed,
    own_feed,
    peak_flops,
    step_flops,
    torchio_feed,
)
from typer.testing import CliRunner

TINY = {"patch": 16, "base_filters": 2, "depth": 2, "shape": (32, 40, 40), "cases": 2, "matrix": 64}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def found() -> dict:
    return measure(2, "cpu", **TINY)


def test_operations_of_a_step_are_those_of_its_convolutions():
    assert step_flops(80, 32, 4) == pytest.approx(696e9, rel=0.001)
    assert step_flops(32, 4, 2) == pytest.approx(8 * step_flops(16, 4, 2), rel=1e-6)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("channels_last", [True, False])
def test_a_step_changes_the_weights_in_every_precision(precision, channels_last):
    step = Step(CPU, precision, channels_last, 2, 2)
    before = [p.clone() for p in step.network.parameters()]
    step(torch.randn(1, 1, 16, 16, 16), torch.randint(0, 3, (1, 16, 16, 16)).byte())
    changed = [bool((a != b).any()) for a, b in zip(before, step.network.parameters())]
    assert any(changed) and all(p.isfinite().all() and p.dtype == torch.float32 for p in step.network.parameters())


@pytest.mark.parametrize("feed", [torchio_feed, monai_feed])
def test_each_peer_feeds_what_the_network_takes_without_end(feed):
    volumes = [simulated_volume((32, 40, 40), seed) for seed in range(2)]
    ours = next(own_feed(volumes, 16, CPU))
    for imaging, segmentation in itertools.islice(feed(volumes, 16, CPU, 0), 20):
        assert imaging.shape == ours[0].shape and imaging.dtype == torch.float32 and imaging.isfinite().all()
        assert segmentation.shape == ours[1].shape and segmentation.dtype == torch.uint8
        assert set(segmentation.unique().tolist()) <= {0, 1, 2}


def test_what_is_measured_fits_together(found):
    assert set(found["seconds"]) == set(found["waited"]) == {"kitsnb", "torchio", "MONAI", "float32"}
    assert all(seconds > 0 for seconds in found["seconds"].values()) and all(0 < share < 1 for share in found["waited"].values())
    step = found["seconds"]["kitsnb"] * (1 - found["waited"]["kitsnb"])
    assert found["floor"] == pytest.approx(found["flops"] / found["peak"] / step)
    assert peak_flops(CPU, "32-true", 128) > 1e8


def test_rows_are_those_of_the_other_benchmarks(found):
    rows = training.rows_of(found)
    assert len(rows) == 3 and all(row["time_ratio"] > 0 and row["milliseconds"] > 0 and row["megabytes"] is None for row in rows)
    assert rows[0]["time_ratio"] == pytest.approx(found["seconds"]["kitsnb"] / found["seconds"]["torchio"])


def test_compare_says_its_line(capsys):
    assert len(compare(1, "cpu", **TINY)) == 3
    line = capsys.readouterr().out
    assert "patches a second" in line and "of the arithmetic floor" in line and "waited for data" in line


def test_an_unknown_precision_is_named():
    with pytest.raises(ValueError, match="bf16-mixed, 16-mixed, 32-true"):
        measure(1, "cpu", "fp8")


def test_the_command_prints_a_table_and_a_line(tmp_path):
    app = typer.Typer()
    app.command()(training.main)
    tiny = "--steps 1 --patch 16 --base-filters 2 --depth 2 --shape 32 40 40 --cases 2 --device cpu".split()
    done = CliRunner().invoke(app, tiny)
    assert done.exit_code == 0, done.output
    assert "torchio, Queue" in done.output and "float32, contiguous" in done.output
    assert "one CPU thread, bf16-mixed" in done.output
    done = CliRunner().invoke(app, ["--memory", "--folder", str(tmp_path), *tiny])
    assert done.exit_code == 0 and "bytes a voxel" in done.output and not list(tmp_path.iterdir())

"""What a profile will cost: arithmetic by hand, sizes from whatever is at hand, and honest words."""

import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from kitsnb.data.nifti import write_nifti
from kitsnb.files import NOTEBOOKS, ROOT
from kitsnb.training.module import TimedStep
from kitsnb.workflow import cost
from kitsnb.workflow.profile import load

KITS19 = NOTEBOOKS / "profiles" / "kits19.yml"
SMOKE = ROOT / "tests" / "helpers" / "smoke.yml"


def changed(profile, **values):
    return profile.model_copy(update=values)


@pytest.fixture
def kits19(monkeypatch, tmp_path):
    monkeypatch.delenv("KITSNB_DATA", raising=False)
    return load(KITS19, build=str(tmp_path), data_free=True)


@pytest.fixture
def smoke(tmp_path):
    return load(SMOKE, build=str(tmp_path))


def test_the_papers_network_needs_696_gflop_a_step():
    work = cost.count_arithmetic({}, [80, 80, 80])
    assert work.training / 1e9 == pytest.approx(696, abs=1) and work.parameters == 22_581_283
    assert 2.9 < work.training / work.forward < 3.0  # backward is twice forward, but the first layer needs no gradient of its input


def test_flops_and_activations_by_hand():
    """One level without pooling: two convolutions of 27 weights, and the output; a multiply-add is two FLOPs."""
    work = cost.count_arithmetic({"base_filters": 4, "depth": 0}, [8, 8, 8])
    assert work.forward == 2 * 512 * (27 * 4 + 27 * 4 * 4 + 4 * 3)
    half = cost.count_arithmetic({"base_filters": 4, "depth": 0}, [8, 8, 8], half=True)
    assert 0.4 * work.activations < half.activations < 0.7 * work.activations
    assert work.activations >= 4 * 512 * (1 + 4 * 4)  # input, and what two convolutions, activations and norms keep


def test_kits19_without_data_says_its_grid_and_gpu_hours(kits19):
    text = cost.estimate(kits19, seconds=0)
    assert "7 experiments x 3 seeds = 21 runs" in text
    assert "204 cases of about 128 x 247 x 247" in text and "no data at hand" in text
    hours = 21 * (320_000 * 695.99e9 + 44 * (1000 + 50) * 232.29e9) / 15.6e12 / 3600  # 50: 2 x 6 x 6 patches a case, about
    found = float(re.search(r"([\d.]+) in all", text)[1])
    assert found == pytest.approx(hours, rel=0.02)
    assert "assumed" in text and "measured," not in text


def test_a_given_rate_halves_the_hours_and_is_called_given(kits19):
    hours = [float(re.search(r"([\d.]+) in all", cost.estimate(kits19, seconds=0, tflops=rate))[1]) for rate in (50, 100)]
    assert hours[0] == pytest.approx(2 * hours[1], rel=0.02)
    assert "the rate is given" in cost.estimate(kits19, seconds=0, tflops=50)


def test_folds_multiply_runs(kits19):
    text = cost.estimate(changed(kits19, folds=3), seconds=0)
    assert "7 experiments x 3 seeds x 3 folds = 63 runs" in text


def test_sizes_come_from_the_files_that_are_used(kits19, smoke, tmp_path):
    def write(folder, number, shape):
        affine = np.diag([-3.22, -1.62, -1.62, 1])[[2, 1, 0, 3]]
        write_nifti(folder / f"case_{number:05d}" / "segmentation.nii.gz", np.zeros(shape, np.uint8), affine)

    for number in (0, 166):
        write(tmp_path / "real", number, (40, 80, 80))
    parameters = {stage: values | ({"folder": str(tmp_path / "real")} if "folder" in values else {})
                  for stage, values in kits19.parameters.items()}
    parameters["preprocessing"]["resize_in_plane"] = None
    cases = cost.count_cases(changed(kits19, parameters=parameters))
    assert (cases.number, cases.grid, cases.known) == (2, (40, 80, 80), "headers of the files")
    assert cases.windows == 1 and cases.held_out == 1, "thinner than the patch"
    assert cost.count_cases(smoke).known == "a simulated case stands for all"
    write(smoke.build.data, 0, (40, 80, 80))
    assert cost.count_cases(smoke).known == "headers of the files", "those that are simulated already"


def test_steps_are_measured_and_said_to_be(smoke):
    before = torch.get_num_threads()
    text = cost.estimate(smoke, seconds=60.0)
    assert re.search(r"a step here +[\d.e-]+ s: .* \[measured, \d+ steps? on ", text) and "4 experiments x 1 seed = 4 runs" in text
    assert torch.get_num_threads() == before


def test_a_network_too_large_to_measure_is_left_to_arithmetic(kits19, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "three steps would take" in cost.estimate(kits19, seconds=1e-6)

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(TimedStep, "seconds", full)
    assert "not measured: a step needs more memory" in cost.estimate(kits19, seconds=60)


def test_before_a_run_it_is_short_and_never_fails(smoke):
    text = cost.before_start(smoke, 2, 3)
    assert len(text.splitlines()) < 12 and "3 of them to train now" in text
    broken = changed(smoke, parameters=smoke.parameters | {"training": smoke.parameters["training"] | {"network": {"depht": 2}}})
    assert re.search("no estimate: .*unknown|no estimate: ValidationError", cost.before_start(broken, 2, 3))


def test_the_command_needs_no_data():
    import os

    environment = {key: value for key, value in os.environ.items() if key != "KITSNB_DATA"}
    command = [sys.executable, "-m", "kitsnb", "estimate", str(KITS19), "--no-measure"]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "7 experiments x 3 seeds" in done.stdout and "GPU-hours" in done.stdout


def test_a_profile_that_trains_nothing_is_refused():
    with pytest.raises(ValueError, match="trains nothing"):
        cost.estimate(load(NOTEBOOKS / "profiles" / "labels.yml", data_free=True))

"""Precision: what settings name is taken; "auto" asks the GPU or tries the CPU, once for a build on one machine."""

import json

import pytest
import torch

from kitsnb.training import precision
from kitsnb.training.module import TimedStep
from kitsnb.training.precision import choose_precision, machine, try_out
from kitsnb.training.settings import Training

AUTO = Training(network={"base_filters": 2, "depth": 1}, patch_size=(8, 8, 8), precision="auto")


@pytest.fixture
def tried(monkeypatch):
    """Seconds that a trial finds, which a test may change, and how often one was made."""
    found = {"32-true": 1.0, "bf16-mixed": 0.4, "trials": 0}

    def pretended(settings):
        found["trials"] += 1
        return {name: found[name] for name in ("32-true", "bf16-mixed")}

    monkeypatch.setattr(precision, "try_out", pretended)
    return found


def test_what_is_named_is_taken(tmp_path, tried):
    for name in ("32-true", "bf16-mixed"):
        assert choose_precision(AUTO.changed(precision=name), tmp_path) == name
    assert not tried["trials"] and not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU has float16")
def test_float16_needs_a_gpu(tmp_path):
    with pytest.raises(ValueError, match='"16-mixed" needs a GPU; on a CPU take "auto"'):
        choose_precision(AUTO.changed(precision="16-mixed"), tmp_path)


@pytest.mark.parametrize(("seconds", "expected"), [(0.4, "bf16-mixed"), (0.97, "32-true"), (1.0, "32-true"), (17.0, "32-true")])
def test_the_faster_is_taken_and_float32_in_doubt(tmp_path, tried, seconds, expected, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    tried["bf16-mixed"] = seconds
    assert choose_precision(AUTO, tmp_path) == expected
    assert f"precision: {expected} (auto; " in capsys.readouterr().out


def test_a_build_asks_once_a_machine_and_network(tmp_path, tried, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_precision(AUTO, tmp_path) == "bf16-mixed"
    tried["bf16-mixed"] = 9.0
    assert choose_precision(AUTO.changed(seed=3, loss="tversky"), tmp_path) == "bf16-mixed" and tried["trials"] == 1
    assert choose_precision(AUTO.changed(network={"base_filters": 4, "depth": 1}), tmp_path) == "32-true" and tried["trials"] == 2
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert "AVX2" in machine() and choose_precision(AUTO, tmp_path) == "32-true" and tried["trials"] == 3
    assert len(json.loads((tmp_path / "precision.json").read_text())) == 3


@pytest.mark.parametrize(("bf16", "expected"), [(True, "bf16-mixed"), (False, "16-mixed")])
def test_a_gpu_is_asked(tmp_path, tried, monkeypatch, bf16, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: bf16)
    assert choose_precision(AUTO, tmp_path) == expected and not tried["trials"]


def test_a_trial_takes_the_run_s_network_and_no_random_number(monkeypatch):
    monkeypatch.setattr(precision, "SECONDS", 0.0)
    sizes = []

    def pretended(step, sides, clock):
        sizes.append((list(sides), step.dtype))
        return float(torch.rand(1)) + 1.0

    monkeypatch.setattr(TimedStep, "seconds", pretended)
    before = torch.get_rng_state()
    found = try_out(Training(network={"base_filters": 2, "depth": 4}, patch_size=(80, 160, 160)))
    assert list(found) == ["32-true", "bf16-mixed"] and torch.equal(before, torch.get_rng_state())
    assert sizes[0] == ([16, 16, 16], None) and sizes[-1] == ([40, 40, 40], torch.bfloat16)

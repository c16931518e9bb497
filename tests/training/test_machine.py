"""Precision: what settings name is taken, unless the machine lacks it or computes it wrongly."""

import pytest
import torch

from kitsnb.training.machine import choose_precision
from kitsnb.training.settings import Training


@pytest.fixture
def choose(monkeypatch):
    """Choose a precision on a machine with or without a GPU, and bfloat16 in it, of patches of so many slices."""
    def chosen(named: str, gpu: bool, bf16: bool = True, slices: int = 16, depth: int = 2) -> str:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: bf16)
        return choose_precision(Training(network={"depth": depth}, patch_size=(slices, 16, 16), precision=named))

    return chosen


@pytest.mark.parametrize(("named", "gpu", "bf16", "expected"), [
    ("auto", False, False, "32-true"), ("auto", True, True, "bf16-mixed"), ("auto", True, False, "16-mixed"),
    ("32-true", True, True, "32-true"), ("16-mixed", True, True, "16-mixed"),
])
def test_what_is_named_is_taken_and_auto_is_16_bits_on_a_gpu(choose, named, gpu, bf16, expected):
    assert choose(named, gpu, bf16) == expected


def test_float16_on_a_cpu_is_refused(choose):
    with pytest.raises(ValueError, match='"16-mixed" needs a GPU; on a CPU take "auto"'):
        choose("16-mixed", gpu=False)


@pytest.mark.parametrize(("slices", "depth"), [(2, 1), (4, 1), (4, 2), (8, 2), (8, 3), (16, 3)])
def test_bfloat16_on_a_cpu_is_refused_where_torch_computes_it_wrongly(choose, slices, depth):
    assert choose("bf16-mixed", True, slices=slices, depth=depth) == "bf16-mixed"
    with pytest.raises(ValueError, match=f"a level of the network is 2 slices deep.*other than {slices}"):
        choose("bf16-mixed", False, slices=slices, depth=depth)


@pytest.mark.parametrize(("slices", "depth"), [(16, 2), (80, 4), (24, 3)])
def test_bfloat16_on_a_cpu_is_taken_elsewhere(choose, slices, depth):
    assert choose("bf16-mixed", False, slices=slices, depth=depth) == "bf16-mixed"

"""Precision and threads: what settings name is taken, unless the machine lacks it or computes it wrongly."""

import os

import pytest
import torch

from kitsnb.training.precision import choose_precision, threads
from kitsnb.training.settings import Training

DEEP = Training(network={"base_filters": 2, "depth": 2}, patch_size=(16, 16, 16))


@pytest.fixture
def machine(monkeypatch):
    """Pretend to a machine with or without a GPU, and one with or without bfloat16."""
    def pretend(gpu: bool, bf16: bool = True) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: bf16)

    return pretend


@pytest.mark.parametrize(("named", "gpu", "bf16", "expected"), [
    ("auto", False, False, "32-true"), ("auto", True, True, "bf16-mixed"), ("auto", True, False, "16-mixed"),
    ("32-true", True, True, "32-true"), ("16-mixed", True, True, "16-mixed"),
])
def test_what_is_named_is_taken_and_auto_is_16_bits_on_a_gpu(machine, named, gpu, bf16, expected):
    machine(gpu, bf16)
    assert choose_precision(DEEP.changed(precision=named)) == expected


def test_what_a_machine_lacks_is_refused(machine):
    machine(gpu=False)
    with pytest.raises(ValueError, match='"16-mixed" needs a GPU; on a CPU take "auto"'):
        choose_precision(DEEP.changed(precision="16-mixed"))
    machine(gpu=True, bf16=False)
    with pytest.raises(ValueError, match="is not in this GPU"):
        choose_precision(DEEP.changed(precision="bf16-mixed"))


@pytest.mark.parametrize(("slices", "depth", "wrong"), [
    (2, 1, True), (4, 2, True), (8, 2, True), (8, 3, True), (16, 3, True), (4, 1, True), (16, 2, False), (80, 4, False), (24, 3, False),
])
def test_bfloat16_on_a_cpu_is_refused_where_torch_computes_it_wrongly(machine, slices, depth, wrong):
    settings = Training(network={"base_filters": 2, "depth": depth}, patch_size=(slices, 16, 16), precision="bf16-mixed")
    machine(gpu=True)
    assert choose_precision(settings) == "bf16-mixed"
    machine(gpu=False)
    if not wrong:
        assert choose_precision(settings) == "bf16-mixed"
    else:
        with pytest.raises(ValueError, match=f"a level of the network is 2 slices deep.*other than {slices}"):
            choose_precision(settings)
    assert choose_precision(settings.changed(precision="32-true")) == "32-true"


@pytest.mark.parametrize(("value", "expected"), [("3", 3), ("4,2", 4), (" 5 , 2", 5), ("", None), ("0", None), ("all", None), (None, None)])
def test_threads_are_read_as_openmp_reads_them(monkeypatch, value, expected):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if value is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert threads() == (expected or os.cpu_count())

"""Precision: what settings name is taken, unless the machine lacks it or computes it wrongly."""

import pytest
import torch

from kitsnb.training.machine import choose_precision
from kitsnb.training.settings import Training


@pytest.mark.parametrize(("named", "gpu", "bf16", "expected"), [
    ("auto", False, False, "32-true"), ("auto", True, True, "bf16-mixed"), ("auto", True, False, "16-mixed"),
    ("32-true", True, True, "32-true"), ("16-mixed", True, True, "16-mixed"), ("32-true", False, False, "32-true"),
    ("16-mixed", False, False, None), ("bf16-mixed", False, True, None),
])
def test_what_is_named_is_taken_and_16_bits_only_on_a_gpu(monkeypatch, named, gpu, bf16, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: bf16)
    settings = Training(precision=named)
    if expected:
        assert choose_precision(settings) == expected
    else:
        with pytest.raises(ValueError, match=f'"{named}" needs a GPU; on a CPU take "auto" or "32-true"'):
            choose_precision(settings)

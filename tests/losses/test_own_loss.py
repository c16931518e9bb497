"""A reader's own loss is ordinary Python: any callable, from a file that does what files do."""

import copy
import pickle

import pytest
import torch

from kitsnb.losses import DiceLoss, LogCosh, build_loss

LOGITS = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.zeros(1, 4, 4, dtype=torch.long)

KINDS = '''
from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from kitsnb import DiceLoss


def function(logits, target, power=1.0):
    return logits.softmax(1)[:, 0].mean() ** power


def anything(logits, target, **settings):
    return function(logits, target, **settings)


def demanding(logits, target, weights):
    return function(logits, target) * sum(weights)


@dataclass
class Callable:
    power: float = 1.0

    def __call__(self, logits, target) -> torch.Tensor:
        return function(logits, target, self.power)


class Module(nn.Module):
    def __init__(self, power=1.0):
        super().__init__()
        self.register_buffer("power", torch.tensor(power))

    def forward(self, logits, target, scale=1.0):
        return scale * function(logits, target, self.power)


square = partial(function, power=2.0)
square_module = Module(2.0)
square_class = partial(Module, power=2.0)
smooth_dice = partial(DiceLoss, smooth=1.0)
'''


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my-loss.v2.py"
    path.write_text(KINDS)
    return path


@pytest.mark.parametrize("name, parameters", [
    ("function", {"power": 2.0}), ("anything", {"power": 2.0}), ("Callable", {"power": 2.0}),
    ("Module", {"power": 2.0}), ("square", {}), ("square_module", {}), ("square_class", {}), ("Module", {"power": 2}),
])  # fmt: skip
def test_every_kind_of_callable_is_a_loss(file, name, parameters):
    loss = build_loss(f"{file}:{name}", **parameters)
    expected = LOGITS.softmax(1)[:, 0].mean() ** 2
    assert torch.allclose(loss(LOGITS, LABELS[:, None].byte()), expected)
    for same in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss)), LogCosh(loss).loss):
        assert torch.equal(same(LOGITS, LABELS), loss(LOGITS, LABELS))
    assert isinstance(repr(loss), str)


def test_a_partial_of_one_of_our_classes_and_a_module_with_parameters(file):
    assert torch.equal(build_loss(f"{file}:smooth_dice")(LOGITS, LABELS), DiceLoss(smooth=1.0)(LOGITS, LABELS))
    scaled = build_loss(f"{file}:square_module", scale=3.0)
    assert torch.allclose(scaled(LOGITS, LABELS), 3 * LOGITS.softmax(1)[:, 0].mean() ** 2)
    assert [name for name, _ in scaled.named_buffers()] == ["function.power"], "it moves to the device with the network"


@pytest.mark.parametrize("name, parameters, text", [
    ("Module", {"pover": 2.0}, "did you mean 'power'"), ("square_module", {"skale": 1}, "did you mean 'scale'"),
    ("demanding", {}, "missing.*weights"), ("Modul", {}, "did you mean 'Module'"),
    ("LABELS", {}, "no function 'LABELS'"),
    ("Callable", {"power": 1, "other": 2}, "no parameter 'other'"),
])  # fmt: skip
def test_what_is_wrong_is_named(file, name, parameters, text):
    with pytest.raises(ValueError, match=text):
        build_loss(f"{file}:{name}", **parameters)


@pytest.mark.parametrize("line", [
    "import beside_it as other", "from . import beside_it as other", "from .beside_it import value\nother = value",
])
def test_a_file_beside_it_is_imported(tmp_path, line):
    (tmp_path / "beside_it.py").write_text("def value(logits):\n    return logits.mean()\n\nvalue.value = value\n")
    (tmp_path / "own.py").write_text(f"{line}\n\ndef mine(logits, target):\n    return other.value(logits)\n")
    assert torch.equal(build_loss(f"{tmp_path / 'own.py'}:mine")(LOGITS, LABELS), LOGITS.mean())


def test_files_of_one_name_in_two_folders_and_an_edited_file(tmp_path):
    losses = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        file = tmp_path / str(number) / "own.py"
        for value in (0, number):  # edited within the second, to the same length
            file.write_text(f"def mine(logits, target):\n    return 0 * logits.mean() + {value}\n")
            loss = build_loss(f"{file}:mine")
        losses.append(loss)
    assert [float(loss(LOGITS, LABELS)) for loss in losses] == [0, 1]


@pytest.mark.parametrize("text, reason", [
    ("def mine(", "SyntaxError"), ("import nothing_of_this_name", "ModuleNotFoundError"), ("1 / 0", "ZeroDivisionError"),
])
def test_a_file_that_fails_is_named_with_the_reason(tmp_path, text, reason):
    file = tmp_path / "own.py"
    file.write_text(text)
    with pytest.raises(ValueError, match=f"own.py fails with {reason}"):
        build_loss(f"{file}:mine")

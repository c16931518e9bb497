"""A reader's own loss is ordinary Python: a function or a module; what cannot work is refused by name."""

import pytest
import torch

from kitsnb.losses import build_loss, check_loss
from kitsnb.losses.registry import plain_state

LOGITS = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.zeros(1, 4, 4, dtype=torch.long)
FILE = '''
from __future__ import annotations

import torch
from torch import nn


def function(logits, target, power=1.0):
    return logits.softmax(1)[:, 0].mean() ** power


class Module(nn.Module):
    def __init__(self, power=1.0):
        super().__init__()
        self.register_buffer("power", torch.tensor(power))

    def forward(self, logits, target, scale=1.0):
        return scale * function(logits, target, self.power)


square_module = Module(2.0)


class Learning(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, logits, target):
        return function(logits, target) * self.scale.exp()


learning = Learning()
hidden = lambda logits, target: learning(logits, target)


class Counting(nn.Module):
    def __init__(self, kept):
        super().__init__()
        self.kept = kept
        self.step = 0
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, logits, target):
        self.calls += 1
        self.step += 0 if self.kept else 1
        return function(logits, target) * self.calls


def counting(calls):
    return lambda logits, target: calls.append(1) or function(logits, target) * len(calls)


steps = []
closed = counting([])
of_the_module = lambda logits, target: steps.append(1) or function(logits, target)
by_default = lambda logits, target, seen=[]: seen.append(1) or function(logits, target)
demanding = lambda logits, target, weights: function(logits, target) * sum(weights)
volumes_only = lambda logits, target: torch.einsum("bcxyz->", logits.softmax(1) ** 2)
large_patches = lambda logits, target: logits[:, :, 20].mean()
of_the_labels = lambda logits, target: target.float().mean()
no_scalar = lambda logits, target: logits
not_finite = lambda logits, target: logits.mean() / (target.sum() > 0)
'''


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my-loss.v2.py"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize("name, parameters, factor", [
    ("function", {"power": 2.0}, 1), ("Module", {"power": 2.0}, 1), ("square_module", {"scale": 3.0}, 3),
])
def test_functions_and_modules_are_losses(file, name, parameters, factor):
    loss = build_loss(f"{file}:{name}", **parameters)
    assert torch.allclose(loss(LOGITS, LABELS[:, None].byte()), factor * LOGITS.softmax(1)[:, 0].mean() ** 2)
    assert loss(LOGITS.half(), LABELS).dtype == torch.float32
    assert len(list(loss.buffers())) == (name != "function"), "buffers move to the device with the network"
    check_loss(loss, name)


@pytest.mark.parametrize("name, parameters, text", [
    ("hidden", {}, "the loss hidden learns a tensor that it does not own"),
    ("Counting", {"kept": False}, "changes 'function.step' when it is called.*register_buffer"),
    ("closed", {}, "changes 'calls'"), ("of_the_module", {}, "changes 'steps'"),
    ("by_default", {}, "changes 'a default of"), ("of_the_labels", {}, "no gradient"), ("no_scalar", {}, "scalar tensor"),
    ("large_patches", {}, r"fails with IndexError.* patch of all classes, logits \(1, 3, 16, 16, 16\)"),
    ("not_finite", {}, "gradient is not finite, on a patch of background alone"),
])  # fmt: skip
def test_check_refuses_what_cannot_be_trained_or_resumed(file, name, parameters, text):
    with pytest.raises(ValueError, match=text):
        check_loss(build_loss(f"{file}:{name}", **parameters), name)


def test_check_leaves_buffers_as_they_were_and_takes_losses_of_volumes_alone(file):
    loss = build_loss(f"{file}:Counting", kept=True)
    before = plain_state(loss)
    random = torch.get_rng_state()
    check_loss(loss, "Counting")
    assert loss.function.calls == 0 and plain_state(loss) == before and torch.equal(torch.get_rng_state(), random)
    check_loss(build_loss(f"{file}:volumes_only"), "volumes_only")


@pytest.mark.parametrize("name, parameters, text", [
    ("Module", {"pover": 2.0}, "'pover'; it takes .power=1.0"), ("square_module", {"skale": 1}, "'skale'; it takes .*scale"),
    ("demanding", {}, "missing.*weights"), ("Modul", {}, "did you mean 'Module'"),
])  # fmt: skip
def test_what_is_wrong_is_named(file, name, parameters, text):
    with pytest.raises(ValueError, match=text):
        build_loss(f"{file}:{name}", **parameters)


USES = "def mine(logits, target):\n    return 0 * logits.mean() + other.value\n"


@pytest.mark.parametrize("text, helper", [
    ("import helper as other\n" + USES, "helper.py"),
    ("from parts import helper as other\n" + USES, "parts/helper.py"), ("from between import other\n" + USES, "helper.py"),
])  # fmt: skip
def test_an_edited_helper_counts_and_folders_do_not_share_theirs(tmp_path, text, helper):
    losses = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        (folder / "parts").mkdir(parents=True)
        (folder / "parts" / "__init__.py").touch()
        (folder / "between.py").write_text("import helper as other\n")
        (folder / "own.py").write_text(text)
        for value in (len(losses) + 5, len(losses) + 1):  # edited within the second, to the same length
            (folder / helper).write_text(f"value = {value}\n")
            loss = build_loss(f"{folder / 'own.py'}:mine")
        losses.append(loss)
    assert [float(loss(LOGITS, LABELS)) for loss in losses] == [1, 2]


@pytest.mark.parametrize("text, reason", [
    ("\ndef mine(", "SyntaxError.*own.py, line 2"), ("import nothing_of_this_name", "ModuleNotFoundError"),
    ("raise SystemExit(2)", "SystemExit: 2; run it by python to see where"), (None, "No such file"),
])  # fmt: skip
def test_a_file_that_fails_is_named_with_the_reason(tmp_path, text, reason):
    if text:
        (tmp_path / "own.py").write_text(text)
    with pytest.raises(ValueError, match=f"own.py fails with .*{reason}"):
        build_loss(f"{tmp_path / 'own.py'}:mine")

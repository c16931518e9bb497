"""A reader's own loss is ordinary Python: a function, a module or a partial; what cannot work is refused by name."""

import copy
import pickle

import pytest
import torch

from kitsnb.losses import DiceLoss, build_loss, check_loss
from kitsnb.losses.registry import plain_state

LOGITS = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.zeros(1, 4, 4, dtype=torch.long)
FILE = '''
from __future__ import annotations

from functools import partial

import torch
from torch import nn

from kitsnb import DiceLoss


def function(logits, target, power=1.0):
    return logits.softmax(1)[:, 0].mean() ** power


class Module(nn.Module):
    def __init__(self, power=1.0):
        super().__init__()
        self.register_buffer("power", torch.tensor(power))

    def forward(self, logits, target, scale=1.0):
        return scale * function(logits, target, self.power)


square = partial(function, power=2.0)
anything = lambda *args, **settings: function(*args, **settings)
square_module = Module(2.0)
square_class = partial(Module, power=2.0)
smooth_dice = partial(DiceLoss, smooth=1.0)


class Learning(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, logits, target, other=None):
        return function(logits, target) * self.scale.exp()


learning = Learning()
learning_partial = partial(learning, other=1)
in_a_partial = partial(lambda logits, target, part: part(logits, target), part=Learning())
of_nobody = nn.Parameter(torch.zeros(()))
careless = lambda logits, target: function(logits, target) * of_nobody.exp()


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


def counted(logits, target):
    counted.calls.append(1)
    return function(logits, target)


counted.calls = []
steps = 0


def of_the_module(logits, target):
    global steps
    steps += 1
    return function(logits, target) * steps


def by_default(logits, target, seen=[]):
    seen.append(1)
    return function(logits, target) * len(seen)


def closing():
    seen = []

    def loss(logits, target):
        seen.append(1)
        return function(logits, target) * len(seen)

    return loss


closed = closing()
demanding = lambda logits, target, weights: function(logits, target) * sum(weights)
volumes_only = lambda logits, target: torch.einsum("bcxyz->", logits.softmax(1) ** 2)
large_patches = lambda logits, target: logits[:, :, 20].mean()
of_the_labels = lambda logits, target: target.float().mean()
no_scalar = lambda logits, target: logits
not_finite = lambda logits, target: logits.mean() / (target.sum() > 0)


@torch.jit.script
def scripted(logits: torch.Tensor, target: torch.Tensor, power: float = 2.0):
    return logits.softmax(1)[:, 0].mean() ** power
'''
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my-loss.v2.py"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize("name, parameters", [
    ("function", {"power": 2.0}), ("anything", {"power": 2.0}), ("Module", {"power": 2.0}), ("square", {}),
    ("square_module", {}), ("square_class", {}), ("scripted", {}), ("scripted", {"power": 2.0}),
])  # fmt: skip
def test_functions_modules_and_partials_are_losses(file, name, parameters):
    loss = build_loss(f"{file}:{name}", **parameters)
    assert torch.allclose(loss(LOGITS, LABELS[:, None].byte()), LOGITS.softmax(1)[:, 0].mean() ** 2)
    assert loss(LOGITS.half(), LABELS).dtype == torch.float32
    check_loss(loss, name)
    if name not in ("scripted", "anything"):
        for same in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
            assert torch.equal(same(LOGITS, LABELS), loss(LOGITS, LABELS))


def test_a_partial_of_one_of_our_classes_and_a_module_with_parameters(file):
    assert torch.equal(build_loss(f"{file}:smooth_dice")(LOGITS, LABELS), DiceLoss(smooth=1.0)(LOGITS, LABELS))
    scaled = build_loss(f"{file}:square_module", scale=3.0)
    assert torch.allclose(scaled(LOGITS, LABELS), 3 * LOGITS.softmax(1)[:, 0].mean() ** 2)
    assert [name for name, _ in scaled.named_buffers()] == ["function.power"], "it moves to the device with the network"


@pytest.mark.parametrize("name", ["Learning", "learning", "learning_partial"])
def test_what_it_learns_is_given_to_the_optimizer_and_saved(file, name):
    loss = build_loss(f"{file}:{name}")
    (scale,) = loss.parameters()
    loss(LOGITS, LABELS).backward()
    assert scale.grad != 0 and len(loss.state_dict()) == 1
    check_loss(loss, name)


@pytest.mark.parametrize("name, parameters, text", [
    ("careless", {}, "the loss careless learns a tensor that it does not own"),
    ("in_a_partial", {}, "does not own"), ("counted", {}, "changes 'calls'"),
    ("Counting", {"kept": False}, "changes 'function.step' when it is called.*register_buffer"),
    ("of_the_module", {}, "changes 'steps'"), ("by_default", {}, "changes 'a default of by_default'"), ("closed", {}, "changes 'seen'"),
    ("large_patches", {}, r"fails with IndexError.* patch of all classes, logits \(1, 3, 16, 16, 16\)"),
    ("of_the_labels", {}, "no gradient"), ("no_scalar", {}, "scalar tensor"),
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
    ("Module", {"pover": 2.0}, "did you mean 'power'"), ("square_module", {"skale": 1}, "did you mean 'scale'"),
    ("function", {"pover": 2.0}, "did you mean 'power'"), ("demanding", {}, "missing.*weights"),
    ("Modul", {}, "did you mean 'Module'"), ("LABELS", {}, "no function 'LABELS'"),
])  # fmt: skip
def test_what_is_wrong_is_named(file, name, parameters, text):
    with pytest.raises(ValueError, match=text):
        build_loss(f"{file}:{name}", **parameters)


USES = "def mine(logits, target):\n    return 0 * logits.mean() + other.value\n"


@pytest.mark.parametrize("text, helper", [
    ("import helper as other\n" + USES, "helper.py"),
    ("import parts.helper\nother = parts.helper\n" + USES, "parts/helper.py"),
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
    ("\ndef mine(", "own.py fails with SyntaxError.*own.py, line 2"), ("import late", "line 2 of late.py fails with ZeroDivision"),
    ("import broken", "line 1 of own.py fails with SyntaxError.*broken.py, line 3"),
    ("import nothing_of_this_name", "line 1 of own.py fails with ModuleNotFoundError"),
    ("\n\nimport torch\ntorch.ones(2) @ torch.ones(3)", "line 4 of own.py fails with RuntimeError"),
    ("import json\njson.loads('?')", "line 2 of own.py fails with JSONDecodeError"),
    ("raise SystemExit(2)", "line 1 of own.py fails with SystemExit"),
])  # fmt: skip
def test_a_file_that_fails_is_named_with_line_and_reason(tmp_path, text, reason):
    (tmp_path / "own.py").write_text(text)
    (tmp_path / "broken.py").write_text("\n\n1 +\n")
    (tmp_path / "late.py").write_text("\n1 / 0\n")
    with pytest.raises(ValueError, match=reason):
        build_loss(f"{tmp_path / 'own.py'}:mine")
    with pytest.raises(ValueError, match="there is no file"):
        build_loss(f"{tmp_path / 'other.py'}:mine")

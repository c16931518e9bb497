"""A reader's own loss is ordinary Python: any callable, from a file that does what files do; what cannot work is refused."""

import copy
import pickle

import pytest
import torch

from kitsnb.losses import DiceLoss, LogCosh, build_loss, check_loss, files_of, plain_state

LOGITS = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.zeros(1, 4, 4, dtype=torch.long)
FILE = '''
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


def whatever(*args, **settings):
    return function(*args, **settings)


def demanding(logits, target, weights):
    return function(logits, target) * sum(weights)


def no_scalar(logits, target):
    return logits


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
square_method = Callable(2.0).__call__
smooth_dice = partial(DiceLoss, smooth=1.0)


class Learning(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, logits, target, other=None):
        return function(logits, target) * self.scale.exp()


class Holder:
    """No module, but holds one."""

    def __init__(self):
        self.part = Learning()

    def __call__(self, logits, target):
        return self.part(logits, target)


learning = Learning()
learning_partial = partial(learning, other=1)
in_a_partial = partial(lambda logits, target, part: part(logits, target), part=Learning())
holder = Holder()
method = Holder().__call__
of_nobody = nn.Parameter(torch.zeros(()))


def careless(logits, target):
    return function(logits, target) * of_nobody.exp()


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


def volumes_only(logits, target):
    return torch.einsum("bcxyz->", logits.softmax(1) ** 2)


def patches_of_its_own(logits, target):
    return logits.reshape(2, -1).mean() + logits[:, :, 20].mean()


def of_the_labels(logits, target):
    return target.float().mean()


def not_finite(logits, target):
    return logits.mean() / (target.sum() > 0)
'''


SCRIPTED = '''
import torch


@torch.jit.script
def scripted(logits: torch.Tensor, target: torch.Tensor, power: float = 2.0):
    return logits.softmax(1)[:, 0].mean() ** power


class Module(torch.nn.Module):
    def forward(self, logits: torch.Tensor, target: torch.Tensor, power: float = 2.0):
        return logits.softmax(1)[:, 0].mean() ** power


module = torch.jit.script(Module())
square = lambda logits, target, power=2.0: logits.softmax(1)[:, 0].mean() ** power
'''


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my-loss.v2.py"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize("name, parameters", [
    ("function", {"power": 2.0}), ("anything", {"power": 2.0}), ("whatever", {"power": 2.0}), ("Callable", {"power": 2.0}),
    ("Module", {"power": 2.0}), ("square", {}), ("square_module", {}), ("square_class", {}), ("square_method", {}),
])  # fmt: skip
def test_every_kind_of_callable_is_a_loss(file, name, parameters):
    loss = build_loss(f"{file}:{name}", **parameters)
    assert torch.allclose(loss(LOGITS, LABELS[:, None].byte()), LOGITS.softmax(1)[:, 0].mean() ** 2)
    for same in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss)), LogCosh(loss).loss):
        assert torch.equal(same(LOGITS, LABELS), loss(LOGITS, LABELS))
    assert isinstance(repr(loss), str)
    check_loss(loss)


@pytest.mark.filterwarnings("ignore:.torch.jit.script")
@pytest.mark.parametrize("name", ["square", "scripted", "module"])
def test_lambdas_and_scripted_losses(tmp_path, name):
    (tmp_path / "own.py").write_text(SCRIPTED)
    for parameters in ({}, {"power": 2.0}):
        loss = build_loss(f"{tmp_path / 'own.py'}:{name}", **parameters)
        assert torch.allclose(loss(LOGITS, LABELS), LOGITS.softmax(1)[:, 0].mean() ** 2)
        check_loss(loss)


def test_a_partial_of_one_of_our_classes_and_a_module_with_parameters(file):
    assert torch.equal(build_loss(f"{file}:smooth_dice")(LOGITS, LABELS), DiceLoss(smooth=1.0)(LOGITS, LABELS))
    scaled = build_loss(f"{file}:square_module", scale=3.0)
    assert torch.allclose(scaled(LOGITS, LABELS), 3 * LOGITS.softmax(1)[:, 0].mean() ** 2)
    assert [name for name, _ in scaled.named_buffers()] == ["function.power"], "it moves to the device with the network"


@pytest.mark.parametrize("name", ["Learning", "learning", "learning_partial", "in_a_partial", "holder", "method"])
def test_what_it_learns_is_given_to_the_optimizer_and_saved(file, name):
    loss = build_loss(f"{file}:{name}")
    (scale,) = loss.parameters()
    assert len(loss.state_dict()) == 1
    torch.optim.SGD(loss.parameters(), lr=1.0).step(lambda: [loss(LOGITS, LABELS).backward()])
    assert scale != 0 and loss(LOGITS, LABELS) != LOGITS.softmax(1)[:, 0].mean()
    check_loss(loss)


@pytest.mark.parametrize("name, parameters, text", [
    ("careless", {}, "the loss careless learns a tensor that it does not own"),
    ("Counting", {"kept": False}, "changes its attribute 'function.step' when it is called.*register_buffer"),
    ("counted", {}, "changes its attribute 'calls'"),
    ("patches_of_its_own", {}, r"patches_of_its_own fails with IndexError.* patch of all classes, logits \(1, 3, 16, 16, 16\)"),
    ("of_the_labels", {}, "no gradient"), ("not_finite", {}, "gradient is not finite, on a patch of background alone"), ("no_scalar", {}, "scalar tensor"),
])  # fmt: skip
def test_check_refuses_what_cannot_be_trained_or_resumed(file, name, parameters, text):
    with pytest.raises(ValueError, match=text):
        check_loss(build_loss(f"{file}:{name}", **parameters))


def test_check_leaves_buffers_as_they_were_and_takes_losses_of_volumes_alone(file):
    loss = build_loss(f"{file}:Counting", kept=True)
    before, random = plain_state(loss), torch.get_rng_state()
    check_loss(loss)
    assert loss.function.calls == 0 and plain_state(loss) == before and torch.equal(torch.get_rng_state(), random)
    check_loss(build_loss(f"{file}:volumes_only"))


@pytest.mark.parametrize("name, parameters, text", [
    ("Module", {"pover": 2.0}, "did you mean 'power'"), ("square_module", {"skale": 1}, "did you mean 'scale'"),
    ("demanding", {}, "missing.*weights"), ("Modul", {}, "did you mean 'Module'"), ("LABELS", {}, "no function 'LABELS'"),
    ("Callable", {"power": 1, "other": 2}, "unexpected keyword argument 'other'"), ("function", {"pover": 2.0}, "did you mean 'power'"),
])  # fmt: skip
def test_what_is_wrong_is_named(file, name, parameters, text):
    with pytest.raises(ValueError, match=text):
        build_loss(f"{file}:{name}", **parameters)


USES = "def mine(logits, target):\n    return 0 * logits.mean() + other.value\n"
LAZILY = "def mine(logits, target):\n    import helper\n    return 0 * logits.mean() + helper.value\n"


@pytest.mark.parametrize("text, helper", [
    ("import helper as other\n" + USES, "helper.py"), ("from . import helper as other\n" + USES, "helper.py"), (LAZILY, "helper.py"),
    ("import parts.helper\nother = parts.helper\n" + USES, "parts/helper.py"),
    ("from parts import helper as other\n" + USES, "parts/helper.py"), ("import between\nother = between.other\n" + USES, "helper.py"),
])  # fmt: skip
def test_an_edited_helper_counts_and_folders_do_not_share_theirs(tmp_path, text, helper):
    losses = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        (folder / "parts").mkdir(parents=True)
        (folder / "between.py").write_text("import helper as other\n")
        (folder / "own.py").write_text(text)
        for value in (len(losses) + 5, len(losses) + 1):  # edited within the second, to the same length
            (folder / helper).write_text(f"value = {value}\n")
            loss = build_loss(f"{folder / 'own.py'}:mine")
        losses.append(loss)
    assert [float(loss(LOGITS, LABELS)) for loss in losses] == [1, 2]
    files = {path.relative_to(folder).as_posix() for path in files_of(f"{folder / 'own.py'}:mine")}
    assert files - {"between.py"} == {"own.py", helper}


def test_files_of_the_repository_count_and_installed_packages_do_not(tmp_path):
    (tmp_path / "own.py").write_text("import numpy, torch\nfrom kitsnb.messages import nearest\n")
    assert {path.name for path in files_of(f"{tmp_path / 'own.py'}:mine")} == {"own.py", "messages.py", "__init__.py"}
    assert files_of("dice") == []


@pytest.mark.parametrize("text, reason", [
    ("\ndef mine(", "SyntaxError in line 2 of own.py"), ("import nothing_of_this_name", "ModuleNotFoundError in line 1 of own.py"),
    ("\n\nimport torch\ntorch.ones(2) @ torch.ones(3)", "RuntimeError in line 4 of own.py"),
    ("import helper", "SyntaxError in line 3 of helper.py"), ("open('none.txt')", "FileNotFoundError in line 1 of own.py"),
    ("import json\njson.loads('?')", "JSONDecodeError in line 2 of own.py"), ("import late", "ZeroDivisionError in line 2 of late.py"),
    ("raise SystemExit(2)", "SystemExit in line 1 of own.py"),
])  # fmt: skip
def test_a_file_that_fails_is_named_with_line_and_reason(tmp_path, text, reason):
    (tmp_path / "own.py").write_text(text)
    (tmp_path / "helper.py").write_text("\n\n1 +\n")
    (tmp_path / "late.py").write_text("\n1 / 0\n")
    with pytest.raises(ValueError, match=f"own.py fails with {reason}"):
        build_loss(f"{tmp_path / 'own.py'}:mine")
    with pytest.raises(ValueError, match="there is no file"):
        build_loss(f"{tmp_path / 'other.py'}:mine")

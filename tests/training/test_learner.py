"""What learns: no step waits for the device; a reader's own loss learns too, and loses nothing on resuming."""

import pytest
import torch
from helpers.training_at_hand import TINY, assert_same_run, table
from torch.utils._python_dispatch import TorchDispatchMode

from kitsnb.training import run as training
from kitsnb.training.learner import Learner
from kitsnb.training.run import train
from kitsnb.training.settings import Training

SMALL = Training(network={"base_filters": 2, "depth": 1, "normalization": "instance"}, patch_size=(8, 8, 8))
#: What copies a value from the device to Python, and waits for it on a GPU.
WAITING = ("_local_scalar_dense", "is_nonzero", "nonzero", "item", "equal", "unique", "masked_select")


class Calls(TorchDispatchMode):
    """Lists the calls of what waits for the device."""

    def __init__(self):
        super().__init__()
        self.waiting = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if any(name in function.__name__ for name in WAITING):
            self.waiting.append(function.__name__)
        return function(*args, **kwargs or {})


@pytest.mark.parametrize(("loss", "parameters"), [
    ("dice", {"batch": True}), ("dice", {}), ("weighted_dice", {"weights": [1, 2, 3]}), ("generalized_dice", {}),
    ("tversky", {}), ("log_cosh_focal_tversky", {"exponent": 0.75}), ("weighted_cross_entropy", {"weights": [1, 2, 3]}),
    ("dice_cross_entropy", {}), ("focal", {}),
])
def test_no_step_waits_for_the_device(loss, parameters):
    """Forward, loss, sums, backward, and the optimizer's step; the draw of a patch is looked at in test_patches."""
    learner = Learner(SMALL.changed(loss=loss, loss_parameters=parameters), torch.device("cpu"), "32-true")
    imaging = torch.randn(2, 1, 8, 8, 8)
    labels = torch.randint(3, (2, 8, 8, 8), dtype=torch.uint8)
    for _ in range(2):  # the first one makes the optimizer's state
        with Calls() as calls:
            learner.evaluate(imaging, labels)[0].backward()
            learner.optimizer.step()
            learner.optimizer.zero_grad()
    assert calls.waiting == []
    with Calls() as calls:
        torch.ones(3).sum().item()
    assert calls.waiting == ["_local_scalar_dense.default"]


OWN = """
import torch
from kitsnb.losses import cross_entropy

calls = []

class Learned(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.zeros(()))
    def forward(self, logits, target):
        return (cross_entropy(logits, target) * torch.exp(-self.scale)).mean() + self.scale

class Counting(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("steps", torch.zeros(()))
    def forward(self, logits, target):
        if self.training:
            self.steps += 1
        return cross_entropy(logits, target).mean() * (1 + self.steps)

def random(logits, target):
    return (cross_entropy(logits, target) * torch.rand(target.shape)).mean()

class Forgetful(torch.nn.Module):
    step = 0
    def forward(self, logits, target):
        self.step += 1
        return cross_entropy(logits, target).mean() * self.step

def forgetful(logits, target):
    calls.append(1)
    return cross_entropy(logits, target).mean() * len(calls)
"""


def own(tmp_path, name: str) -> Training:
    (tmp_path / "own.py").write_text(OWN)
    return TINY.changed(loss=f"{tmp_path / 'own.py'}:{name}", loss_parameters={})


def stop_after_two(settings, cases, folder, monkeypatch) -> None:
    """Train two epochs of a run that is stopped in the third."""
    real = training.train_epoch

    def epoch(learner, sampler, batches, number):
        if number == 2:
            raise KeyboardInterrupt
        return real(learner, sampler, batches, number)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "train_epoch", epoch)
        train(settings, *cases, folder)
    assert len(table(folder)) == 2


@pytest.mark.parametrize("name", ["Learned", "Counting", "random"])
def test_a_reader_s_loss_goes_on_as_if_never_interrupted(cases, tmp_path, monkeypatch, name):
    """Its parameters, its buffers, and the numbers that it draws."""
    settings = own(tmp_path, name)
    train(settings, *cases, tmp_path / "whole")
    stop_after_two(settings, cases, tmp_path / "cut", monkeypatch)
    train(settings, *cases, tmp_path / "cut")
    assert_same_run(tmp_path / "whole", tmp_path / "cut")
    state = torch.load(tmp_path / "whole" / "checkpoints" / "last.ckpt")["loss"]
    if name == "Learned":
        assert abs(float(state["function.scale"])) > 0.05  # 12 steps of Adam at a rate of 0.01
    if name == "Counting":
        assert float(state["function.steps"]) == 12


@pytest.mark.parametrize(("name", "kept"), [("Forgetful", "function.step"), ("forgetful", "global calls")])
def test_a_loss_whose_state_a_checkpoint_would_lack_is_refused(cases, tmp_path, name, kept):
    with pytest.raises(ValueError, match=f"the loss changes {kept} as it trains.*register_buffer"):
        train(own(tmp_path, name), *cases, tmp_path / "run")

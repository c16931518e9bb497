"""A reader's own loss: it learns, loses nothing on resuming, or is refused; no loss waits for the device."""

from contextlib import nullcontext

import pytest
import torch
from helpers.losses_at_hand import BASE
from helpers.training_at_hand import TINY, assert_same_run, cut

from kitsnb.losses import build_loss
from kitsnb.training.run import evaluate, train
from kitsnb.training.settings import Training
from kitsnb.unet import UNet3D

OWN = """
import torch
from kitsnb.losses import cross_entropy

class Learned(torch.nn.Module):
    forgotten = 0

    def __init__(self, keeps):
        super().__init__()
        self.keeps = keeps
        self.scale = torch.nn.Parameter(torch.zeros(()))
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, logits, target):
        if self.training:
            self.steps += 1
        if not self.keeps:
            self.forgotten += 1
        entropy = cross_entropy(logits, target) * torch.rand(target.shape) * (1 + self.steps)
        return (entropy * torch.exp(-self.scale)).mean() + self.scale
"""


def own(tmp_path, keeps: bool) -> Training:
    (tmp_path / "own.py").write_text(OWN)
    return TINY.changed(loss=f"{tmp_path / 'own.py'}:Learned", loss_parameters={"keeps": keeps})


def test_a_reader_s_loss_goes_on_as_if_never_interrupted(cases, tmp_path, monkeypatch):
    """Its parameters, its buffers, and the numbers that it draws."""
    settings = own(tmp_path, keeps=True)
    train(settings, *cases, tmp_path / "whole")
    cut(monkeypatch, "train_epoch", settings, cases, tmp_path / "cut", 2)
    train(settings, *cases, tmp_path / "cut")
    assert_same_run(tmp_path / "whole", tmp_path / "cut")
    state = torch.load(tmp_path / "whole" / "checkpoints" / "last.ckpt")["loss"]
    assert abs(float(state["function.scale"])) > 0.02  # 12 steps of Adam at a rate of 0.01
    assert float(state["function.steps"]) == 12


def test_a_loss_whose_state_a_checkpoint_would_lack_is_refused(cases, tmp_path):
    with pytest.raises(ValueError, match="changes 'function.forgotten'.*register_buffer"):
        train(own(tmp_path, keeps=False), *cases, tmp_path / "run")


@pytest.mark.parametrize("name, parameters", BASE)
def test_no_step_asks_the_device_for_a_value(monkeypatch, name, parameters):
    """A GPU would have to wait for it. The device "meta" has no values, and raises where one is asked for."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # it knows no such device
    network = UNet3D(base_filters=2, depth=1).to("meta")
    imaging = torch.zeros(2, 1, 8, 8, 8, device="meta")
    labels = torch.zeros(2, 8, 8, 8, dtype=torch.uint8, device="meta")
    loss, sums = evaluate(network, build_loss(name, **parameters), TINY, imaging, labels)
    loss.backward()
    assert sums.shape == (11,) and sums.device.type == "meta"

"""A training step: nothing waits for the device; many devices have the loss and the gradient of the whole batch."""

import os
import subprocess
import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kitsnb.files import ROOT
from kitsnb.training.devices import Ranks
from kitsnb.training.history import PooledScores
from kitsnb.training.module import SegmentationModule, TimedStep, compile_in_place
from kitsnb.training.settings import Training
from kitsnb.unet import UNet3D

TINY = Training(network={"base_filters": 2, "depth": 1, "normalization": "instance"}, patch_size=(8, 8, 8), batch_size=2)
#: What copies a value from the device to Python, and waits for it on a GPU.
WAITING = ("_local_scalar_dense", "is_nonzero", "nonzero", "item", "equal", "unique", "masked_select")


class Calls(TorchDispatchMode):
    """Counts the calls of what waits for the device."""

    def __init__(self):
        super().__init__()
        self.waiting = []

    @classmethod
    def counts_what_waits(cls) -> bool:
        with cls() as calls:
            torch.ones(3).sum().item()
        return calls.waiting == ["_local_scalar_dense.default"]

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if any(name in function.__name__ for name in WAITING):
            self.waiting.append(function.__name__)
        return function(*args, **kwargs or {})


class Sampler:
    """The same batch, which is there already."""

    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(2, 1, 8, 8, 8, generator=generator), torch.randint(3, (2, 8, 8, 8), generator=generator, dtype=torch.uint8)

    def batch(self, step: int):
        return self.drawn


@pytest.mark.parametrize(("loss", "parameters"), [
    ("dice", {"batch": True}), ("dice", {}), ("weighted_dice", {"weights": [1, 2, 3]}), ("generalized_dice", {}),
    ("tversky", {}), ("log_cosh_focal_tversky", {"exponent": 0.75}), ("weighted_cross_entropy", {"weights": [1, 2, 3]}),
    ("dice_cross_entropy", {}), ("focal", {}),
])
def test_no_step_waits_for_the_device(loss, parameters):
    """Forward, loss, scores, backward, and the optimizer's step; the draw of a patch is looked at in test_patches."""
    module = SegmentationModule(TINY.changed(loss=loss, loss_parameters=parameters), Sampler(), [Sampler.drawn], Ranks())
    module.scores = {"training": PooledScores(), "validation": PooledScores()}
    optimizer = module.configure_optimizers()["optimizer"]
    for _ in range(2):  # the first one makes the optimizer's state
        with Calls() as calls:
            module.training_step(0, 0).backward()
            optimizer.step()
            optimizer.zero_grad()
            with torch.no_grad():
                module.validation_step(0, 0)
    assert calls.waiting == [] and Calls.counts_what_waits()


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("layout", [None, torch.contiguous_format])
def test_a_step_outside_of_a_run_is_timed_and_changes_the_weights(precision, layout):
    step, ticks = TimedStep(TINY, "cpu", precision, layout), iter([2.0, 5.0])
    before = [p.clone() for p in step.module.parameters()]
    assert step.seconds(TINY.patch_size, lambda: next(ticks)) == 3.0
    changed = [bool((a != b).any()) for a, b in zip(before, step.module.parameters())]
    assert any(changed) and all(p.isfinite().all() and p.dtype == torch.float32 for p in step.module.parameters())


def test_without_a_compiler_the_network_is_not_compiled_and_that_is_said(monkeypatch, capsys):
    def broken(self):
        self._compiled_call_impl = lambda *_: (_ for _ in ()).throw(RuntimeError("no compiler found"))

    monkeypatch.setattr(torch.nn.Module, "compile", broken)
    network = UNet3D(base_filters=2, depth=1)
    assert not compile_in_place(network, "cpu") and "no compiler found" in capsys.readouterr().out
    assert network._compiled_call_impl is None


RANK = """
import os, sys, torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from kitsnb.losses import build_loss
from kitsnb.training.devices import Ranks
from kitsnb.training.module import pool_over_ranks
rank, folder = int(os.environ["RANK"]), sys.argv[1]
dist.init_process_group("gloo")
task = torch.load(f"{folder}/task.pt", weights_only=False)
network, found = DistributedDataParallel(task["network"]), {}
for name, parameters in task["losses"]:
    loss = build_loss(name, **parameters)
    pool_over_ranks(loss, Ranks(size=2, rank=rank))
    network.zero_grad()
    value = loss(network(task["imaging"][rank::2]), task["labels"][rank::2])
    value.backward()
    loss.eval()
    alone = loss(network(task["imaging"][rank::2]), task["labels"][rank::2])
    found[name] = value.detach(), [p.grad.clone() for p in network.parameters()], alone.detach()
torch.save(found, f"{folder}/found{rank}.pt")
"""


def test_two_processes_have_the_loss_and_the_gradient_of_the_whole_batch(tmp_path):
    from kitsnb.losses import build_loss

    torch.manual_seed(0)
    network = torch.nn.Conv3d(1, 3, 3, padding=1)
    losses = [("dice", {"batch": True}), ("log_cosh_weighted_dice", {"weights": [1, 2, 3], "batch": True}),
              ("focal_tversky", {"batch": True}), ("dice_cross_entropy", {"batch": True})]
    task = {"network": network, "losses": losses, "imaging": torch.randn(4, 1, 6, 6, 6), "labels": torch.randint(3, (4, 6, 6, 6))}
    task["labels"][0] = 0  # a patch that lacks two classes: where pooling matters
    torch.save(task, tmp_path / "task.pt")
    environment = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "WORLD_SIZE": "2"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    (tmp_path / "rank.py").write_text(RANK)
    subprocess.run([*torchrun, tmp_path / "rank.py", tmp_path], check=True, timeout=300, cwd=ROOT, env=environment)
    one, other = (torch.load(tmp_path / f"found{rank}.pt") for rank in (0, 1))
    for name, parameters in task["losses"]:
        loss = build_loss(name, **parameters)
        network.zero_grad()
        value = loss(network(task["imaging"]), task["labels"])
        value.backward()
        assert torch.allclose((one[name][0] + other[name][0]) / 2, value, atol=1e-6)
        for got, again, parameter in zip(one[name][1], other[name][1], network.parameters()):
            assert torch.allclose(got, parameter.grad, atol=1e-6) and torch.equal(got, again)
        half = loss(network(task["imaging"][0::2]), task["labels"][0::2])
        assert torch.allclose(one[name][2], half, atol=1e-6)  # in validation each has its own batches

"""One training step and one validation step: network, loss and optimizer as a Lightning module."""

import math
import time
from collections.abc import Callable, Sequence

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from kitsnb.losses import build_loss
from kitsnb.losses.losses import RegionLoss
from kitsnb.training.devices import Ranks
from kitsnb.training.history import Clock, PooledScores
from kitsnb.training.patches import PatchSampler
from kitsnb.training.settings import Training
from kitsnb.unet import UNet3D

KEPT = "the last good checkpoint is kept"


class SegmentationModule(pl.LightningModule):
    """Network, loss, optimizer and the epoch's measures. Batches come from the sampler, indexed by the global step.

    No step asks the device for a value, and so waits for a GPU: whether each loss was finite is looked at when the
    epoch's steps are done.
    """

    layout = torch.channels_last_3d  # of the network and its input

    def __init__(self, settings: Training, sampler: PatchSampler, validation: list[tuple[Tensor, Tensor]],
                 ranks: Ranks):
        super().__init__()
        self.settings, self.sampler, self.validation, self.ranks = settings, sampler, validation, ranks
        self.network = UNet3D(**settings.network.model_dump()).to(memory_format=self.layout)
        self.loss = build_loss(settings.loss, **settings.loss_parameters)
        if ranks.size > 1:
            pool_over_ranks(self.loss, ranks)
        self.clock, self.scores, self.measures, self.epoch_rate = Clock(), {}, {}, settings.learning_rate

    def step(self, imaging: Tensor, segmentation: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and logits of a batch."""
        logits = self.network(imaging.to(memory_format=self.layout))
        return self.loss(logits, segmentation), logits

    def training_step(self, index, _) -> Tensor:
        with self.clock.data():
            imaging, segmentation = self.sampler.batch(self.global_step)
        index = self.global_step * self.ranks.size + self.ranks.rank
        loss, logits = self.step(imaging, segmentation)
        self.scores["training"].add(index, loss.detach(), logits.detach(), segmentation)
        return loss

    def validation_step(self, number, _) -> Tensor:
        index = int(number) * self.ranks.size + self.ranks.rank
        # Where there is none, a forward without use: every process must do as many, or the others wait.
        there = index < len(self.validation)
        batch = self.validation[index if there else 0]
        loss, logits = self.step(*batch)
        if there:
            self.scores["validation"].add(index, loss, logits, batch[1])
        return logits

    def on_train_epoch_start(self) -> None:
        self.scores = {"training": PooledScores(), "validation": PooledScores()}
        self.clock = Clock()

    def on_validation_start(self) -> None:
        """Training of the epoch is over: FloatingPointError that names the first step whose loss was not finite."""
        self.clock.validation()
        losses, self.measures = self.scores["training"].measures("training", self.ranks)
        for index, loss in losses.items():
            if not math.isfinite(loss):
                step = index // self.ranks.size
                raise FloatingPointError(f"the loss is {loss} at step {step}; {KEPT}")

    def on_validation_epoch_end(self) -> None:
        self.measures |= self.scores["validation"].measures("validation", self.ranks)[1]
        if not math.isfinite(loss := self.measures["validation_loss"]):
            step = self.global_step
            raise FloatingPointError(f"the validation loss is {loss} after step {step}; {KEPT}")
        self.epoch_rate = self.optimizers().param_groups[0]["lr"]
        if isinstance(scheduler := self.lr_schedulers(), ReduceLROnPlateau):
            scheduler.step(loss)

    def lr_scheduler_step(self, scheduler, metric) -> None:
        """The plateau is stepped above; here would be after the checkpoint is saved."""
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()

    def configure_optimizers(self):
        s = self.settings
        # Not fused, it asks the device for its count of steps.
        optimizer = torch.optim.Adam(self.network.parameters(), lr=s.learning_rate, fused=True)
        if s.schedule == "plateau":
            scheduler = ReduceLROnPlateau(optimizer, patience=s.plateau_patience, factor=0.1,
                                          min_lr=s.minimum_learning_rate)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "reduce_on_plateau": False}}
        total = s.epochs * s.steps_of_a_rank

        def poly(step: int) -> float:
            return min(1.0, (step + 1) / max(1, s.warm_up)) * max(0.0, 1 - step / total) ** 0.9

        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, poly), "interval": "step"}}


class TimedStep:
    """A step of training outside of a run, to be timed: network, loss, gradients and Adam, on random patches."""

    def __init__(self, settings: Training, device: str, precision: str, layout: torch.memory_format | None = None):
        self.module = SegmentationModule(settings, None, [], Ranks())
        self.module.layout = layout or self.module.layout
        self.module.to(device).network.to(memory_format=self.module.layout)
        self.optimizer = self.module.configure_optimizers()["optimizer"]
        self.dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
        self.scaler = torch.amp.GradScaler(device, enabled=self.dtype == torch.float16)

    def seconds(self, sides: Sequence[int], clock: Callable[[], float] = time.perf_counter) -> float:
        """How long a step takes by ``clock``, on a batch of patches of ``sides``."""
        device, shape = self.module.device, (self.module.settings.batch_size, *sides)
        labels = torch.randint(0, 3, shape, dtype=torch.uint8, device=device)
        imaging, began = torch.randn(shape, device=device)[:, None], self._now(clock)
        with torch.autocast(device.type, self.dtype, enabled=self.dtype is not None):
            loss, _ = self.module.step(imaging, labels)
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return self._now(clock) - began

    def _now(self, clock: Callable[[], float]) -> float:
        if self.module.device.type == "cuda":
            torch.cuda.synchronize(self.module.device)
        return clock()


def pool_over_ranks(loss: nn.Module, ranks: Ranks) -> None:
    """Let region losses with ``batch=True`` in ``loss`` pool over all ranks in training, as nnU-Net does.

    In validation each process has batches of its own, as many as a process alone would have.
    """
    for part in loss.modules():
        if isinstance(part, RegionLoss) and part.batch:
            part.pool = lambda statistics, part=part: ranks.pooled(statistics) if part.training else statistics.pooled()


def compile_in_place(network: nn.Module, device: str) -> bool:
    """Compile ``network``, whose weights keep their names; without a working compiler, say so and go on."""
    # Of the network's kinds of layers: those that are written in the compiler's language, and not only called from it.
    probe = nn.Sequential(nn.Conv3d(1, 2, 3), nn.LeakyReLU(0.1), nn.BatchNorm3d(2)).to(device)
    probe.compile()
    try:
        probe(torch.ones(2, 1, 4, 4, 4, device=device)).square().sum().backward()
    except Exception as error:  # whatever is missing or broken in a compiler's tool chain
        reason = str(error).strip().splitlines()[0]
        print(f"compile_network: torch.compile does not work here ({reason}); the network is not compiled", flush=True)
        return False
    network.compile()
    return True

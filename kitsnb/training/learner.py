"""All that learns in a run, and that its checkpoints hold: network, loss, optimizer and schedule."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from kitsnb.losses import build_loss, plain_state
from kitsnb.training.history import batch_sums
from kitsnb.training.settings import Training
from kitsnb.unet import UNet3D

AUTOCAST = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
PARTS = ("network", "loss", "optimizer", "scheduler", "scaler")


class Learner:
    """Network, loss, optimizer, schedule, and the scale of float16's gradients."""

    def __init__(self, settings: Training, device: torch.device, precision: str):
        self.device = device
        self.dtype = AUTOCAST[precision]
        self.network = UNet3D(**settings.network.model_dump()).to(device, memory_format=torch.channels_last_3d)
        self.loss = build_loss(settings.loss, settings.loss_defaults, **settings.loss_parameters).to(device)
        learned = [*self.network.parameters(), *self.loss.parameters()]
        # Fused, since the other forms of Adam ask the device for their count of steps.
        self.optimizer = torch.optim.Adam(learned, lr=settings.learning_rate, fused=True)
        self.scheduler = make_scheduler(self.optimizer, settings)
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "16-mixed")
        self.plain_state = plain_state(self.loss)

    def evaluate(self, imaging: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss of imaging [B, 1, D, H, W] against labels [B, D, H, W], checked when loaded, and sums."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            logits = self.network(imaging.to(memory_format=torch.channels_last_3d))
            loss = self.loss(logits, labels)
            return loss, batch_sums(loss, logits, labels)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all parts. Raises ValueError where the loss has changed state that it would lack."""
        for name, value in plain_state(self.loss).items():
            if value != self.plain_state.get(name):
                raise ValueError(f"the loss changes {name} as it trains, which an interrupted run would lose; keep it "
                                 "in a buffer of a module (self.register_buffer), which checkpoints hold")
        return {name: getattr(self, name).state_dict() for name in PARTS}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Put back what ``state_dict`` returned."""
        for name in PARTS:
            getattr(self, name).load_state_dict(saved[name])


def make_scheduler(optimizer: torch.optim.Optimizer, settings: Training) -> LambdaLR | ReduceLROnPlateau:
    """Return the paper's schedule, which waits for a plateau, or a polynomial decay after a warm-up."""
    if settings.schedule == "plateau":
        return ReduceLROnPlateau(optimizer, patience=settings.plateau_patience, min_lr=settings.minimum_learning_rate)
    steps = settings.epochs * settings.steps_per_epoch
    warm_up = max(1, settings.warm_up)
    return LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / warm_up) * max(0.0, 1 - step / steps) ** 0.9)

"""All that learns in a run, and that its checkpoints hold: network, loss, optimizer and schedule."""

from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from kitsnb.losses import build_loss
from kitsnb.training.history import batch_sums
from kitsnb.training.settings import Training
from kitsnb.unet import UNet3D

AUTOCAST = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class Learner:
    """Network, loss, optimizer, schedule, and the scale of float16's gradients."""

    def __init__(self, settings: Training, device: torch.device, precision: str):
        self.device = device
        self.dtype = AUTOCAST[precision]
        self.network = UNet3D(**settings.network.model_dump())
        self.network.to(device, memory_format=torch.channels_last_3d)
        self.loss = build_loss(settings.loss, settings.loss_defaults, **settings.loss_parameters).to(device)
        learned = [*self.network.parameters(), *self.loss.parameters()]
        # Fused, since the other forms of Adam ask the device for their count of steps.
        self.optimizer = torch.optim.Adam(learned, lr=settings.learning_rate, fused=True)
        self.scheduler = make_scheduler(self.optimizer, settings)
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "16-mixed")
        self.parts = {"network": self.network, "loss": self.loss, "optimizer": self.optimizer,
                      "scheduler": self.scheduler, "scaler": self.scaler}
        self.plain_state = plain_state(self.loss)

    def evaluate(self, imaging: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return a batch's loss, and its sums for the epoch's measures; no value is asked of the device.

        ``imaging`` is [B, 1, D, H, W] and ``labels`` [B, D, H, W], checked when volumes were loaded.
        """
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            logits = self.network(imaging.to(memory_format=torch.channels_last_3d))
            loss = self.loss(logits, labels)
            return loss, batch_sums(loss, logits, labels)

    def train(self, mode: bool) -> None:
        """Switch network and loss to training, or to evaluation."""
        self.network.train(mode)
        self.loss.train(mode)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all parts. Raises ValueError where the loss has changed state that it would lack."""
        for name, value in plain_state(self.loss).items():
            if value != self.plain_state.get(name):
                raise ValueError(
                    f"the loss changes {name} as it trains, which a run that is interrupted would lose; keep it in a "
                    "buffer of a module (self.register_buffer), which checkpoints hold")
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Put back what ``state_dict`` returned."""
        for name, part in self.parts.items():
            part.load_state_dict(saved[name])


def make_scheduler(optimizer: torch.optim.Optimizer, settings: Training) -> LambdaLR | ReduceLROnPlateau:
    """Return the paper's schedule, which waits for a plateau, or a polynomial decay after a warm-up."""
    if settings.schedule == "plateau":
        return ReduceLROnPlateau(optimizer, patience=settings.plateau_patience, factor=0.1,
                                 min_lr=settings.minimum_learning_rate)
    steps = settings.epochs * settings.steps_per_epoch
    warm_up = max(1, settings.warm_up)

    def share(step: int) -> float:
        return min(1.0, (step + 1) / warm_up) * max(0.0, 1 - step / steps) ** 0.9

    return LambdaLR(optimizer, share)


def plain_state(loss: nn.Module) -> dict[str, str]:
    """Describe what ``loss`` keeps beside its ``state_dict``: attributes, and globals of a reader's function.

    Left out are what can be called, modules, and names that begin with an underscore.
    """
    places = {f"{name}.".removeprefix("."): vars(module) for name, module in loss.named_modules()}
    function = getattr(loss, "function", None)
    places["attribute "] = getattr(function, "__dict__", {})
    places["global "] = getattr(function, "__globals__", {})
    found = {}
    for place, values in places.items():
        for name, value in values.items():
            hidden = name.startswith("_") or name == "training"
            if not (hidden or callable(value) or isinstance(value, ModuleType)):
                found[place + name] = repr(value)
    return found

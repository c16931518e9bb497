"""What the tests of the losses share: every loss of the registry with arguments that it accepts, and inputs for it."""

import torch
import torch.nn.functional as F

from kitsnb.losses import LOSSES

#: (name, parameters) of every name of the registry.
EVERY = [(name, {"weights": [1, 2, 3]} if "weighted" in name else {}) for name in LOSSES]
#: The same without the log-cosh of each.
BASE = [row for row in EVERY if "log_cosh" not in row[0]]


def random_input(classes: int, *spatial: int, batch: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return normal logits [batch, classes, *spatial] in float64, and labels of all classes."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, *spatial, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, classes, (batch, *spatial), generator=generator)


def certain(labels: torch.Tensor, classes: int = 3, logit: float = 1e4) -> torch.Tensor:
    """Return logits [B, classes, *spatial] in float32 that name ``labels`` beyond doubt."""
    return F.one_hot(labels, classes).movedim(-1, 1).float() * logit


def value_and_gradient(loss, logits: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    logits = logits.detach().clone().requires_grad_()
    value = loss(logits, target)
    return value.detach(), torch.autograd.grad(value, logits)[0]

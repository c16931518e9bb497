"""The 3D U-Net of MIScnn's "standard" architecture (Müller and Kramer 2019; Çiçek et al. 2016)."""

import math
from functools import partial

import torch
from torch import Tensor, nn

NORMALIZATIONS = ("batch", "instance", "group")
#: Groups of "group": few, since a group of one channel is instance normalization.
GROUPS = 2
ORDERS = ("relu_norm", "norm_relu")


class ConvolutionBlock(nn.Sequential):
    """Twice: 3x3x3 convolution, then activation and normalization in the given order."""

    def __init__(self, in_channels: int, out_channels: int, normalization, activation, order: str):
        layers: list[nn.Module] = []
        for channels in (in_channels, out_channels):
            layers.append(nn.Conv3d(channels, out_channels, 3, padding=1))
            pair = [activation(inplace=True), normalization(out_channels)]
            layers += pair if order == "relu_norm" else pair[::-1]
        super().__init__(*layers)


class UNet3D(nn.Module):
    """3D U-Net: [B, in_channels, D, H, W] -> logits [B, num_classes, D, H, W]; sides must be multiples of 2^depth.

    The defaults are the paper's network: 22,581,283 trainable parameters and 5,888 running statistics. Filters double
    from ``base_filters`` at each of ``depth`` poolings. Normalization is ``"batch"`` (the paper's), ``"instance"`` or
    ``"group"``, after the activation (``order="relu_norm"``, MIScnn's) or before it (``"norm_relu"``). ``momentum`` is
    torch's: MIScnn's Keras value 0.99 is 0.01 here. ``negative_slope`` > 0 makes the activation a leaky ReLU.
    Instance normalization takes away a patch's own mean and scale, and so absolute HU: ``outer_normalization=False``
    leaves it out at full resolution, in the first block and the last, so that one way through the network keeps it.
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 3,
        base_filters: int = 32,
        depth: int = 4,
        *,
        normalization: str = "batch",
        order: str = "relu_norm",
        momentum: float = 0.01,
        negative_slope: float = 0.0,
        outer_normalization: bool = True,
    ):
        super().__init__()
        if normalization not in NORMALIZATIONS or order not in ORDERS:
            raise ValueError(f"normalization is one of {NORMALIZATIONS}, order of {ORDERS}, "
                             f"not {normalization!r}, {order!r}")
        if normalization == "batch":
            norm = partial(nn.BatchNorm3d, eps=1e-3, momentum=momentum)
        elif normalization == "instance":
            norm = partial(nn.InstanceNorm3d, eps=1e-3, affine=True)
        else:
            norm = lambda channels: nn.GroupNorm(math.gcd(GROUPS, channels), channels, eps=1e-3)  # noqa: E731
        activation = partial(nn.LeakyReLU, negative_slope) if negative_slope else nn.ReLU
        block = partial(ConvolutionBlock, normalization=norm, activation=activation, order=order)
        outer = block if outer_normalization else partial(block, normalization=nn.Identity)
        filters = [base_filters * 2**level for level in range(depth + 1)]
        self.depth = depth
        self.encoder = nn.ModuleList([outer(in_channels, base_filters), *(block(i, 2 * i) for i in filters[:-1])])
        self.pool = nn.MaxPool3d(2)
        self.up = nn.ModuleList(nn.ConvTranspose3d(2 * f, f, 2, stride=2) for f in reversed(filters[:-1]))
        self.decoder = nn.ModuleList([*(block(2 * f, f) for f in filters[-2:0:-1]),
                                      outer(2 * base_filters, base_filters)])
        self.output = nn.Conv3d(base_filters, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        if any(side % 2**self.depth for side in x.shape[2:]):
            raise ValueError(f"sides must be multiples of {2**self.depth} (depth {self.depth}), "
                             f"got {tuple(x.shape[2:])}")
        skips = []
        for block in self.encoder[:-1]:
            x = block(x)
            skips.append(x)
            x = self.pool(x)
        x = self.encoder[-1](x)
        for up, block in zip(self.up, self.decoder):
            x = block(torch.cat([up(x), skips.pop()], 1))
        return self.output(x)


def count_parameters(network: nn.Module) -> tuple[int, int]:
    """(trainable parameters, running statistics of normalization layers), as numbers of values."""
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    running = sum(b.numel() for name, b in network.named_buffers() if "running" in name)
    return trainable, running

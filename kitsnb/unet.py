"""The 3D U-Net of MIScnn's "standard" architecture (Müller and Kramer 2019; Çiçek et al. 2016)."""

from functools import partial

import torch
from torch import Tensor, nn


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
    from ``base_filters`` at each of ``depth`` poolings. Normalization is ``"batch"`` (the paper's) or ``"instance"``,
    after the activation (``order="relu_norm"``, MIScnn's) or before it (``"norm_relu"``). ``momentum`` is torch's:
    MIScnn's Keras value 0.99 is 0.01 here. ``negative_slope`` > 0 makes the activation a leaky ReLU. Instance
    normalization takes away a patch's own mean and scale, and so absolute HU. Raises ``ValueError`` for other words
    and sides.
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
    ):
        super().__init__()
        if normalization not in ("batch", "instance"):
            raise ValueError(f"normalization is 'batch' or 'instance', not {normalization!r}")
        if order not in ("relu_norm", "norm_relu"):
            raise ValueError(f"order is 'relu_norm' or 'norm_relu', not {order!r}")
        norm = partial(nn.BatchNorm3d, eps=1e-3, momentum=momentum)
        if normalization == "instance":
            norm = partial(nn.InstanceNorm3d, eps=1e-3, affine=True)
        activation = partial(nn.LeakyReLU, negative_slope) if negative_slope else nn.ReLU
        block = partial(ConvolutionBlock, normalization=norm, activation=activation, order=order)
        filters = [base_filters * 2**level for level in range(depth + 1)]
        self.depth = depth
        self.encoder = nn.ModuleList([block(in_channels, base_filters), *(block(f, 2 * f) for f in filters[:-1])])
        self.pool = nn.MaxPool3d(2)
        self.up = nn.ModuleList(nn.ConvTranspose3d(2 * f, f, 2, stride=2) for f in reversed(filters[:-1]))
        self.decoder = nn.ModuleList(block(2 * f, f) for f in reversed(filters[:-1]))
        self.output = nn.Conv3d(base_filters, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        unit = 2**self.depth
        if any(side % unit for side in x.shape[2:]):
            raise ValueError(f"sides must be multiples of {unit} (depth {self.depth}), got {tuple(x.shape[2:])}")
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
    """Count (trainable parameters, running statistics of normalization layers), as numbers of values."""
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    running = sum(b.numel() for name, b in network.named_buffers() if "running" in name)
    return trainable, running

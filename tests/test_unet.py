"""The network: the paper's counts, shapes, and errors."""

import pytest
import torch

from kitsnb.unet import UNet3D, count_parameters


def test_the_papers_network_has_the_papers_parameters():
    assert count_parameters(UNet3D(in_channels=1, num_classes=3, base_filters=32, depth=4)) == (22_581_283, 5_888)


@pytest.mark.parametrize("normalization", ["batch", "instance", "group"])
@pytest.mark.parametrize("order", ["relu_norm", "norm_relu"])
def test_output_has_the_input_size(normalization, order):
    network = UNet3D(base_filters=2, depth=2, normalization=normalization, order=order)
    assert network(torch.randn(2, 1, 8, 12, 4)).shape == (2, 3, 8, 12, 4)


def test_order_of_a_block():
    kinds = [type(layer).__name__ for layer in UNet3D(base_filters=2, depth=1).encoder[0]]
    assert kinds == ["Conv3d", "ReLU", "BatchNorm3d"] * 2


@pytest.mark.parametrize(("given", "knows"), [
    ({"normalization": "batch"}, True), ({"normalization": "instance"}, False),
    ({"normalization": "instance", "outer_normalization": False}, True),
])
@torch.no_grad()
def test_absolute_hu_is_known(given, knows):
    """Instance normalization gives the same labels to a patch of twice the HU: so half of a liver was called tumour."""
    torch.manual_seed(0)
    network, patch = UNet3D(base_filters=4, depth=1, order="norm_relu", **given).eval(), 10 * torch.randn(1, 1, 8, 8, 8)
    once, twice = network(patch), network(2 * patch)
    assert (float((twice - once).std() / once.std()) > 0.1) == knows


def test_every_parameter_gets_a_gradient():
    network = UNet3D(base_filters=2, depth=2)
    network(torch.randn(1, 1, 8, 8, 8)).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_wrong_sides_and_arguments_are_named():
    with pytest.raises(ValueError, match="multiples of 16"):
        UNet3D(base_filters=2)(torch.zeros(1, 1, 40, 32, 32))
    with pytest.raises(ValueError, match="normalization"):
        UNet3D(normalization="layer")

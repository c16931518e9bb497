"""The network: the paper's counts, shapes, and errors."""

import pytest
import torch

from kitsnb.unet import UNet3D, count_parameters


def test_the_papers_network_has_the_papers_parameters():
    assert count_parameters(UNet3D(in_channels=1, num_classes=3, base_filters=32, depth=4)) == (22_581_283, 5_888)


@pytest.mark.parametrize("normalization", ["batch", "instance"])
@pytest.mark.parametrize(("order", "kinds"), [("relu_norm", ["Conv3d", "ReLU", 2]), ("norm_relu", ["Conv3d", 2, "ReLU"])])
def test_output_has_the_input_size_and_every_parameter_a_gradient(normalization, order, kinds):
    network = UNet3D(base_filters=2, depth=2, normalization=normalization, order=order)
    output = network(torch.randn(2, 1, 8, 12, 4))
    assert output.shape == (2, 3, 8, 12, 4)
    output.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    norm = {"batch": "BatchNorm3d", "instance": "InstanceNorm3d"}[normalization]
    assert [type(layer).__name__ for layer in network.encoder[0]] == [norm if kind == 2 else kind for kind in kinds] * 2


def test_wrong_sides_and_arguments_are_named():
    with pytest.raises(ValueError, match="multiples of 16"):
        UNet3D(base_filters=2)(torch.zeros(1, 1, 40, 32, 32))
    for wrong in ("normalization", "order"):
        with pytest.raises(ValueError, match=f"{wrong} is .*not 'layer'"):
            UNet3D(**{wrong: "layer"})

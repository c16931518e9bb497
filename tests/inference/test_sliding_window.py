"""Sliding window: blending changes nothing that patches agree on, and thin volumes are padded as in training."""

import pytest
import torch
from helpers.network_at_hand import Constant

from kitsnb.inference import Prediction, predict_probabilities
from kitsnb.training.patches import pad_to


@pytest.mark.parametrize(("shape", "patch", "overlap"), [
    ((40, 50, 60), (32, 40, 48), (8, 10, 12)), ((3, 5, 7), (16, 16, 16), (0, 0, 0)),
    ((16, 16, 16), (16, 16, 16), (8, 8, 8)), ((37, 41, 33), (8, 16, 16), (6, 2, 8)),
])
def test_a_pointwise_network_comes_back_exactly(shape, patch, overlap):
    volume = torch.randn(shape, generator=torch.Generator().manual_seed(0)).half()
    expected = torch.stack([volume, -volume, 0 * volume]).float().softmax(0)
    got = predict_probabilities(Constant().train(), volume, patch, overlap)
    assert got.shape == (3, *shape) and got.dtype == torch.float32
    assert torch.allclose(got, expected, atol=1e-5)


def test_patches_that_contradict_each_other_are_averaged_by_a_hann_window():
    window = torch.hann_window(10, periodic=False)[1:-1]

    class Odd(Constant):
        def forward(self, x):
            return super().forward(x.mean(dim=(2, 3, 4), keepdim=True).expand_as(x))

    volume = torch.arange(12.0).view(12, 1, 1).expand(12, 8, 8) / 10
    got = predict_probabilities(Odd(), volume, (8, 8, 8), (4, 0, 0))
    total = torch.zeros(3, 12)
    weights = torch.zeros(12)
    for first in (0, 4):
        mean = volume[first : first + 8].mean()
        total[:, first : first + 8] += torch.stack([mean, -mean, 0 * mean]).softmax(0)[:, None] * window
        weights[first : first + 8] += window
    assert torch.allclose(got[:, :, 3, 4], total / weights, atol=1e-6)


def test_thin_volumes_are_padded_as_in_training():
    """What the network is shown of a volume thinner than the patch is what ``pad_to`` makes of it in training."""
    seen = []
    network = Constant()
    network.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    volume = torch.randn((5, 24, 3), generator=torch.Generator().manual_seed(0)) + 7
    predict_probabilities(network, volume, (16, 16, 16), (0, 0, 0))
    padded = pad_to(volume, (16, 16, 16))
    assert torch.equal(seen[0][0, 0], padded[:16, :16, :16]) and padded.min() == volume.min()


@pytest.mark.parametrize(("overlap", "said"), [((3, 4, 4), "multiple of 2"), ((8, 4, 4), "below")])
def test_an_overlap_that_torchio_would_refuse_in_a_build_is_refused_in_the_profile(overlap, said):
    with pytest.raises(ValueError, match="overlap"):
        predict_probabilities(Constant(), torch.zeros(16, 16, 16), (8, 8, 8), overlap)
    with pytest.raises(ValueError, match=said):
        Prediction.checked({"overlap": overlap}).check((8, 8, 8))

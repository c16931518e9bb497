"""Sliding window: blending changes nothing that patches agree on, and thin volumes are padded as in training."""

import pytest
import torch
import torchio as tio
from helpers.network_at_hand import Constant

from kitsnb.inference import Prediction, predict_probabilities
from kitsnb.training.patches import pad_to

#: Patch and overlap of the profiles quick and hybrid, and small ones.
WINDOWS = [((24, 32, 32), (12, 16, 16)), ((32, 40, 48), (8, 10, 12)), ((16, 16, 16), (0, 0, 0)), ((8, 16, 16), (6, 2, 8))]
#: Thicker than the patch, one slice, thinner along all axes, exactly a patch, and sizes that do not fit evenly.
SHAPES = [(40, 50, 60), (1, 50, 60), (3, 5, 7), (16, 16, 16), (37, 41, 33)]


@pytest.mark.parametrize(("patch", "overlap"), WINDOWS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_pointwise_network_comes_back_exactly(shape, patch, overlap):
    volume = torch.randn(shape, generator=torch.Generator().manual_seed(0)).half()
    expected = torch.stack([volume, -volume, 0 * volume]).float().softmax(0)
    got = predict_probabilities(Constant().train(), volume, patch, overlap)
    assert got.shape == (3, *shape) and got.dtype == torch.float32
    assert torch.allclose(got, expected, atol=1e-5)


def test_patches_that_contradict_each_other_are_averaged_by_a_hann_window():
    patch, length = 8, 12
    window = torch.hann_window(patch + 2, periodic=False)[1:-1]

    class Odd(Constant):
        def forward(self, x):
            x = x.mean(dim=(2, 3, 4), keepdim=True).expand_as(x)
            return torch.cat([x, -x, 0 * x], 1)

    volume = torch.arange(float(length)).view(length, 1, 1).expand(length, patch, patch) / 10
    got = predict_probabilities(Odd(), volume, (patch,) * 3, (4, 0, 0))
    total, weights = torch.zeros(3, length), torch.zeros(length)
    for first in (0, 4):
        mean = volume[first : first + patch].mean()
        answer = torch.stack([mean, -mean, 0 * mean]).softmax(0)
        total[:, first : first + patch] += answer[:, None] * window
        weights[first : first + patch] += window
    assert torch.allclose(got[:, :, 3, 4], total / weights, atol=1e-6)


@pytest.mark.parametrize("shape", [(5, 24, 20), (1, 3, 40)])
def test_thin_volumes_are_padded_as_in_training(shape):
    """What the network is shown of a volume thinner than the patch is what ``pad_to`` makes of it in training."""
    seen = []

    class Watching(Constant):
        def forward(self, x):
            seen.append(x.clone())
            return super().forward(x)

    volume = torch.randn(shape, generator=torch.Generator().manual_seed(0)) + 7
    predict_probabilities(Watching(), volume, (16, 16, 16), (0, 0, 0))
    padded = pad_to(volume, (16, 16, 16))
    assert torch.equal(seen[0][0, 0], padded[:16, :16, :16]) and padded.min() == volume.min()


def test_the_rules_of_torchio_are_ours():
    """An overlap that torchio would refuse in the middle of a build is refused in the profile."""
    subject = tio.Subject(ct=tio.ScalarImage(tensor=torch.zeros(1, 16, 16, 16)))
    for overlap, said in (((3, 4, 4), "multiple of 2"), ((8, 4, 4), "below")):
        with pytest.raises(ValueError, match="overlap"):
            tio.GridSampler(subject, (8, 8, 8), overlap)
        with pytest.raises(ValueError, match=said):
            Prediction.checked({"overlap": overlap}).check((8, 8, 8))

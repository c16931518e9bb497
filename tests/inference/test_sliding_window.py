"""Sliding window: blending changes nothing, thin volumes, memory, cost; in a box; kidneys located."""

import itertools

import numpy as np
import pytest
import torch
from helpers.network_at_hand import Constant
from peers.jobs import inference, trivial
from peers.measure import peak_bytes

from kitsnb.inference.sliding_window import (
    Window,
    blending_weights,
    locate,
    only_in,
    predict_probabilities,
    slide,
    summed_weights,
)

#: Thicker than the patch, thinner along one and all axes, exactly the patch, and patches that do not fit evenly.
SHAPES = [(20, 24, 28), (5, 24, 28), (3, 5, 7), (16, 16, 16), (17, 31, 33)]


@pytest.mark.parametrize("shape", SHAPES)
def test_an_identity_network_returns_its_input(shape):
    volume = torch.randn(shape, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    for at_a_time in (1, 4):
        got = slide(trivial, volume, Window(patch_size=(16, 16, 16), overlap=(8, 8, 8), at_a_time=at_a_time), 3)
        assert got.shape == (3, *shape) and (got - volume).abs().max() < 1e-6


@pytest.mark.parametrize("shape", SHAPES)
def test_a_pointwise_network_comes_back_exactly(shape):
    volume = torch.randn(shape)
    expected = torch.stack([volume, -volume, 0 * volume]).softmax(0)
    for at_a_time in (1, 4):
        got = predict_probabilities(Constant(), volume, Window(patch_size=(16, 16, 16), overlap=(8, 8, 8), at_a_time=at_a_time))
        assert torch.allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("shape, patch, overlap", [((20, 24, 31), (8, 16, 10), (4, 8, 3)), ((9, 9, 9), (4, 4, 4), (0, 1, 3))])
def test_normalisation_by_axes_equals_that_by_a_map(shape, patch, overlap):
    """Patches that contradict each other: the mean weighted voxel by voxel, as the textbook does it."""
    window, generator = Window(patch_size=patch, overlap=overlap, at_a_time=1), torch.Generator().manual_seed(0)
    starts = window.starts(shape)
    boxes = [tuple(slice(s, s + p) for s, p in zip(start, patch)) for start in itertools.product(*starts)]
    answers = [torch.rand(2, *patch, generator=generator) for _ in boxes]
    d, h, w = map(blending_weights, patch)
    weights = (d[:, None, None] * h[:, None] * w).double()
    total, norm = torch.zeros(2, *shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
    for box, answer in zip(boxes, answers):
        total[(slice(None), *box)] += answer * weights
        norm[box] += weights
    given = iter(answers)
    assert torch.allclose(slide(lambda _: next(given)[None], torch.zeros(shape), window, 2).double(), total / norm, atol=1e-5)
    d, h, w = (summed_weights(blending_weights(p), s).double() for p, s in zip(patch, starts))
    assert torch.allclose(d[:, None, None] * h[:, None] * w, norm, rtol=1e-5)


def test_memory_is_one_result_and_one_patch():
    volume, window = torch.randn(48, 48, 48), Window(patch_size=(16, 16, 16), overlap=(8, 8, 8), at_a_time=1)
    result, patch = 3 * 4 * volume.numel(), 4 * 16**3
    assert peak_bytes(lambda: slide(trivial, volume, window, 3)) < result + 10 * patch


def test_blending_holds_no_more_than_monai_s():
    for row in inference(repeats=1):
        assert row["memory_ratio"] < 1.1 and row["milliseconds"] > 0 and row["megabytes"] > 0, row
        assert row["peer"].startswith("MONAI") and row["job"]


@pytest.mark.parametrize("length, patch, overlap", [(80, 80, 40), (81, 80, 40), (247, 80, 40), (33, 32, 16), (100, 10, 0)])
def test_windows_cover_everything_with_the_overlap(length, patch, overlap):
    starts, *_ = Window(patch_size=(patch,) * 3, overlap=(overlap,) * 3).starts((length,) * 3)
    assert starts[0] == 0 and starts[-1] + patch == length
    assert all(later - earlier <= patch - overlap for earlier, later in zip(starts, starts[1:]))


def test_bad_overlap_is_named():
    with pytest.raises(ValueError, match="overlap"):
        Window(patch_size=(8, 8, 8), overlap=(8, 8, 8))


@pytest.mark.parametrize("shape", SHAPES)
def test_in_a_box_the_labels_are_those_of_the_whole_volume(shape):
    """Of patches that contradict each other; fewer are asked for."""
    window, asked = Window(patch_size=(8, 16, 16), overlap=(4, 8, 8), at_a_time=1), []
    volume, box = torch.randn(shape, generator=torch.Generator().manual_seed(0)), tuple(slice(n // 3, n // 2 + 1) for n in shape)

    class Odd(Constant):
        def forward(self, x):
            asked.append(x)
            return super().forward(x - x.mean())

    whole, of_all = predict_probabilities(Odd(), volume, window), len(asked)
    part = predict_probabilities(Odd(), volume, window, box=box)
    assert torch.equal(part, only_in(whole, box)) and len(asked) <= 2 * of_all
    assert float(part[0].sum()) > part[0].numel() - part[0][box].numel() - 1e-3


class Ellipsoids(Constant):
    """Kidney where the volume is above 1."""

    def forward(self, x):
        return torch.cat([0 * x, 9 * (x - 1), 0 * x - 9], 1)


def test_kidneys_are_located_and_what_lies_elsewhere_is_not():
    affine = np.array([[0, 0, -4.0, 120], [0, -4, 0, 100], [-4, 0, 0, 0], [0, 0, 0, 1]])  # axes IPL
    volume = torch.full((40, 50, 60), -2.0)
    volume[:, 5:45, 4:56] = 0  # a body
    for place in ((20, 30, 16), (20, 30, 44)):
        volume[tuple(slice(n - 5, n + 5) for n in place)] = 2
    volume[2:12, 6:16, 20:40] = 2  # as large, in front
    window = Window(patch_size=(16, 16, 16), overlap=(8, 8, 8))
    box = locate(Ellipsoids(), volume, affine, window)
    assert box == (slice(7, 33), slice(17, 43), slice(3, 57))
    volume[15:25, 25:35] = 0
    assert locate(Ellipsoids(), volume, affine, window) is None

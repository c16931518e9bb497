"""HD95 and surface Dice against what is known by hand, and against MONAI."""

import math

import numpy as np
import pytest
import torch
from monai.metrics import compute_surface_dice
from scipy import ndimage

from kitsnb.metric.labels import foreground_box
from kitsnb.metric.surface import REGIONS, TOLERANCES_MM, surface_scores


def sheet(slices: slice) -> np.ndarray:
    """Wide, so that what the rims do is some hundredths of its surface."""
    labels = np.zeros((12, 200, 200), np.uint8)
    labels[slices, 10:190, 10:190] = 2
    return labels


def blobs(seed: int, shape=(30, 40, 50)) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 3)
    return np.digitize(noise, np.quantile(noise, [0.8, 0.93])).astype(np.uint8)


@pytest.mark.parametrize(("first", "second", "slice_mm", "hd95", "nsd"), [
    # a sheet one slice thick, and the same one slice on: one face of each is off by a slice, the other none
    (slice(4, 5), slice(5, 6), 2.0, 2.0, 0.5), (slice(4, 5), slice(5, 6), 1.0, 1.0, 1.0),
    # one face of two agrees, the other is 3 slices off
    (slice(2, 8), slice(2, 5), 1.5, 4.5, 0.5),
])  # fmt: skip
def test_parallel_planes(first, second, slice_mm, hd95, nsd):
    scores = surface_scores(sheet(first), sheet(second), (slice_mm, 0.7, 0.5))
    assert scores["hd95_tumour"] == scores["hd95_kidney_and_tumour"] == hd95
    assert scores["nsd_tumour"] == scores["nsd_kidney_and_tumour"] == pytest.approx(nsd, abs=0.05)


def test_elements_count_by_their_area():
    """A high block of 13,600 mm2, and a missed flat one of 2,050, which has many elements for its share of the area."""
    reference = np.zeros((40, 80, 80), np.uint8)
    reference[2:22, 5:45, 5:45] = 1
    prediction = reference.copy()
    reference[30, 5:55, 5:55] = 1
    scores = surface_scores(prediction, reference, (8.0, 0.5, 0.5))
    assert scores["nsd_kidney_and_tumour"] == pytest.approx(2 * 13_600 / (2 * 13_600 + 2_050), abs=0.02)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_shifted_cube(axis):
    """Two of six faces are off by the shift; the edges of the others, too, but at most by that."""
    spacing, labels = np.array([3.0, 0.75, 1.0]), np.zeros((40, 40, 40), np.uint8)
    labels[8:28, 8:28, 8:28] = 2
    scores = surface_scores(np.roll(labels, 2, axis), labels, spacing)
    assert scores["hd95_tumour"] == scores["hd95_kidney_and_tumour"] == 2 * spacing[axis]
    assert 0.3 < scores["nsd_tumour"] < 0.95


def test_identical_masks_and_masks_at_the_border():
    labels = np.ones((9, 8, 7), np.uint8)
    labels[:, :4] = 2
    assert surface_scores(labels, labels, (1, 2, 3)) == {
        "hd95_kidney_and_tumour": 0, "nsd_kidney_and_tumour": 1, "hd95_tumour": 0, "nsd_tumour": 1}


def test_undefined_where_a_region_is_empty():
    empty, kidney, tumour = (np.full((4, 4, 4), label, np.uint8) for label in range(3))
    pairs = (kidney, tumour), (tumour, kidney), (kidney, kidney)
    missed, invented, neither = (surface_scores(*pair, (1, 1, 1)) for pair in pairs)
    assert all(math.isnan(scores["hd95_tumour"]) for scores in (missed, invented, neither))
    assert missed["nsd_tumour"] == invented["nsd_tumour"] == 0 and math.isnan(neither["nsd_tumour"])
    assert missed["hd95_kidney_and_tumour"] == 0 and missed["nsd_kidney_and_tumour"] == 1
    assert all(math.isnan(value) for value in surface_scores(empty, empty, (1, 1, 1)).values())


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of MONAI, about itself
@pytest.mark.parametrize("seed", range(2))
def test_monai_says_the_same(seed):
    spacing = (2.5, 0.8, 0.7)
    prediction, reference = blobs(2 * seed), blobs(2 * seed + 1)
    found = surface_scores(prediction, reference, spacing)
    assert surface_scores(reference, prediction, spacing) == pytest.approx(found)
    for region, smallest in REGIONS.items():
        pair = [torch.from_numpy(labels >= smallest)[None, None] for labels in (prediction, reference)]
        monai = compute_surface_dice(
            *pair, [TOLERANCES_MM[region]], include_background=True, spacing=list(spacing), use_subvoxels=True)
        assert found[f"nsd_{region}"] == pytest.approx(monai.item(), abs=1e-6)


def test_memory_order_and_surroundings_change_nothing():
    prediction, reference = blobs(0), blobs(1)
    found = surface_scores(prediction, reference, (3, 1, 1))
    assert surface_scores(np.asfortranarray(prediction), reference.astype(np.int64), (3, 1, 1)) == found
    padded = [np.pad(labels, ((20, 3), (0, 9), (5, 0))) for labels in (prediction, reference)]
    assert surface_scores(*padded, (3, 1, 1)) == pytest.approx(found)


def test_box_of_the_foreground():
    a, b = np.zeros((2, 6, 7, 8), np.uint8)
    assert foreground_box(a, b) == (slice(0, 0),) * 3
    a[1, 2, 3] = b[4, 2, 7] = 1
    assert foreground_box(a, b) == (slice(1, 5), slice(2, 3), slice(3, 8))


@pytest.mark.parametrize("spacing", [(1, 1), (1, 1, 0), (1, 1, float("nan")), (1, 1, -1)])
def test_bad_spacing_and_dimensions_are_refused(spacing):
    with pytest.raises(ValueError, match="three positive"):
        surface_scores(blobs(0), blobs(1), spacing)
    with pytest.raises(ValueError, match="3D"):
        surface_scores(blobs(0)[0], blobs(0)[0], (1, 1, 1))

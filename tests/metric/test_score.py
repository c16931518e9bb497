"""The KiTS19 score against plain definitions; labels of any library; surface distances by hand and against MONAI."""

import math

import numpy as np
import pytest
import torch
from monai.metrics import compute_surface_dice
from scipy import ndimage

from kitsnb.metric import SCORES, SIZES, case_row, kits19_score, lesion_size, summarise, surface_scores
from kitsnb.metric.score import REGIONS, TOLERANCES_MM, confusion

RIGHT = np.ones((3, 3, 3), np.uint8)


def blobs(seed: int) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(30, 40, 50)), 3)
    return np.digitize(noise, np.quantile(noise, [0.8, 0.93])).astype(np.uint8)


def test_score_worked_by_hand():
    assert kits19_score([[[1, 1, 2, 2]]], [[[0, 1, 1, 2]]]) == pytest.approx(
        {"kidney_and_tumour": 6 / 7, "kidney": 2 / 4, "tumour": 2 / 3, "composite": (6 / 7 + 2 / 3) / 2})


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, np.uint64, np.float32, np.dtype(">i4")])
@pytest.mark.parametrize("shape", [(0,), (7,), (5, 6, 7)])
def test_counts_whatever_the_shape_dtype_and_memory_order(shape, dtype):
    """Also views with gaps and steps backwards, labels in one corner, and none at all."""
    rng = np.random.default_rng(0)
    for share in (0.3, 0.02, 0):
        reference, prediction = rng.integers(0, 3, (2, *shape), dtype=np.uint8) * (rng.random((2, *shape)) < share)
        plain = [[((reference == i) & (prediction == j)).sum() for j in range(3)] for i in range(3)]
        gaps = np.repeat(prediction.astype(dtype), 2, axis=-1)[..., ::2]
        backwards = reference.astype(dtype)[::-1].copy()[::-1]
        for pair in ((gaps, reference), (np.asfortranarray(prediction, dtype), backwards)):
            assert np.array_equal(confusion(*pair), plain)


@pytest.mark.parametrize("kind", [
    np.ndarray.tolist, torch.from_numpy, memoryview, np.float64, lambda labels: torch.from_numpy(labels).float().requires_grad_(),
])  # fmt: skip
def test_labels_of_any_library(kind):
    prediction, reference = np.random.default_rng(0).integers(0, 3, (2, 4, 5, 6), dtype=np.uint8)
    expected = kits19_score(prediction, reference)
    assert kits19_score(kind(prediction), kind(reference)) == kits19_score(kind(prediction), reference) == expected


def with_one(value, dtype) -> np.ndarray:
    """Labels with one wrong voxel, also one that a cast to a byte would turn into a label."""
    labels = np.zeros((3, 3, 3), dtype)
    labels[2, 1, 0] = value
    return labels


@pytest.mark.parametrize(("bad", "text"), [
    (with_one(3, "u1"), "has 3$"), (with_one(-1, "i1"), "has -1$"), (with_one(256, "u2"), "has 256$"),
    (with_one(0.5, "f4"), "has 0.5$"), (with_one(math.nan, "f8"), "has nan$"), (with_one(-math.inf, "f8"), "has -inf$"),
    (RIGHT > 0, "not of type bool"), (None, "not of type object"),
])  # fmt: skip
def test_what_is_no_label_map_is_refused_in_plain_words_by_all(bad, text):
    for function in (kits19_score, lambda p, r: case_row(p, r, np.eye(4)), lambda p, r: surface_scores(p, r, (1, 1, 1))):
        for name, pair in {"prediction": (bad, RIGHT), "reference": (RIGHT, bad)}.items():
            with pytest.raises(ValueError, match=f"^{name} must.*{text}"):
                function(*pair)
        with pytest.raises(ValueError, match=r"prediction \(3, 3, 3\) and reference \(2, 3, 3\) must have the same shape"):
            function(RIGHT, RIGHT[1:])


def test_undefined_is_nan_and_a_missed_tumour_is_zero():
    kidney = np.ones((2, 2, 2), int)
    scores = kits19_score(kidney, kidney)
    assert scores["kidney"] == 1 and math.isnan(scores["tumour"]) and math.isnan(scores["composite"])
    assert kits19_score(kidney, 2 * kidney)["tumour"] == 0
    assert all(math.isnan(v) for v in kits19_score(0 * kidney, 0 * kidney).values())
    assert summarise([0.5, math.nan, 1.0]) == pytest.approx({"mean": 0.75, "sd": 0.125**0.5, "n": 2, "undefined": 1})
    assert math.isnan(summarise([math.nan])["mean"])


def test_lesion_sizes_by_the_ball_of_the_same_volume():
    cut_offs = [math.pi / 6 * diameter**3 for diameter in (4, 7)]
    found = [lesion_size(factor * volume) for volume in cut_offs for factor in (0.999, 1.001)]
    assert found == ["up to 4 cm", "4-7 cm", "4-7 cm", "over 7 cm"]
    assert (lesion_size(0), *SIZES) == ("none", "up to 4 cm", "4-7 cm", "over 7 cm")
    for bad in (-1, math.nan):
        with pytest.raises(ValueError, match="at least 0 ml"):
            lesion_size(bad)


def test_row_of_a_case():
    reference = np.zeros((12, 12, 12), np.uint8)
    reference[2:9, 2:9, 2:9] = 1
    reference[4:7, 4:7, 4:7] = 2
    kidney, tumour = 0.5 * (7**3 - 3**3), 0.5 * 27
    assert case_row(reference, reference, np.diag([5, 10, 10, 1])) == pytest.approx({
        **dict.fromkeys(SCORES, 1), "hd95_kidney_and_tumour": 0, "nsd_kidney_and_tumour": 1, "hd95_tumour": 0, "nsd_tumour": 1,
        "kidney_ml": kidney, "tumour_ml": tumour, "predicted_kidney_ml": kidney, "predicted_tumour_ml": tumour,
        "size": "up to 4 cm"})
    row = case_row(np.minimum(reference, 1), reference, np.eye(4))
    assert (row["tumour"], row["nsd_tumour"], row["predicted_tumour_ml"]) == (0, 0, 0) and math.isnan(row["hd95_tumour"])


def test_a_sheared_grid_has_its_determinant_s_volume_and_no_distances():
    """A gantry tilt of 20 degrees: slices of 5 mm lie 5 cos 20 mm apart."""
    reference = np.zeros((6, 6, 6), np.uint8)
    reference[2:4, 2:4, 2:4] = 2
    tilt = np.deg2rad(20)
    sheared = np.diag([5.0 * np.cos(tilt), 2, 2, 1])
    sheared[1, 0] = 5 * np.sin(tilt)
    row, upright = (case_row(reference, reference, affine) for affine in (sheared, np.diag([5.0, 2, 2, 1])))
    assert row["tumour_ml"] == pytest.approx(upright["tumour_ml"] * np.cos(tilt))
    assert all(math.isnan(row[name]) for name in row if name.startswith(("hd95", "nsd")))
    assert list(row) == list(upright) and upright["hd95_tumour"] == 0 and row["composite"] == 1


@pytest.mark.parametrize(("first", "second", "slice_mm", "hd95", "nsd"), [
    # a sheet one slice thick, and the same one slice on: one face of each is off by a slice, the other none
    (slice(4, 5), slice(5, 6), 2.0, 2.0, 0.5), (slice(4, 5), slice(5, 6), 1.0, 1.0, 1.0),
    # one face of two agrees, the other is 3 slices off
    (slice(2, 8), slice(2, 5), 1.5, 4.5, 0.5),
])  # fmt: skip
def test_surfaces_of_parallel_planes(first, second, slice_mm, hd95, nsd):
    """Wide sheets, so that what the rims do is some hundredths of the surface."""
    labels = np.zeros((2, 12, 120, 120), np.uint8)
    labels[0, first, 5:115, 5:115] = 2
    labels[1, second, 5:115, 5:115] = 2
    scores = surface_scores(*labels, (slice_mm, 1.1, 0.9))
    assert scores["hd95_tumour"] == scores["hd95_kidney_and_tumour"] == hd95
    assert scores["nsd_tumour"] == pytest.approx(nsd, abs=0.05)


def test_surfaces_that_are_empty_or_touch_the_border():
    empty, kidney, tumour = (np.full((4, 4, 4), label, np.uint8) for label in range(3))
    missed, invented, neither = (surface_scores(*pair, (1, 2, 3)) for pair in ((kidney, tumour), (tumour, kidney), (kidney, kidney)))
    assert all(math.isnan(scores["hd95_tumour"]) for scores in (missed, invented, neither))
    assert missed["nsd_tumour"] == invented["nsd_tumour"] == 0 and math.isnan(neither["nsd_tumour"])
    assert missed["hd95_kidney_and_tumour"] == 0 and missed["nsd_kidney_and_tumour"] == 1
    assert all(math.isnan(value) for value in surface_scores(empty, empty, (1, 1, 1)).values())


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of MONAI, about itself
def test_monai_says_the_same_of_surfaces():
    spacing = (2.5, 0.8, 0.7)
    prediction, reference = blobs(0), blobs(1)
    found = surface_scores(prediction, reference, spacing)
    assert surface_scores(np.asfortranarray(reference), prediction.astype(np.int64), spacing) == pytest.approx(found)
    for region, smallest in REGIONS.items():
        pair = [torch.from_numpy(labels >= smallest)[None, None] for labels in (prediction, reference)]
        monai = compute_surface_dice(
            *pair, [TOLERANCES_MM[region]], include_background=True, spacing=list(spacing), use_subvoxels=True)
        assert found[f"nsd_{region}"] == pytest.approx(monai.item(), abs=1e-6)


@pytest.mark.parametrize(("labels", "spacing"), [(RIGHT, (1, 1)), (RIGHT, (1, 1, math.nan)), (RIGHT[0], (1, 1, 1))])
def test_bad_spacing_and_dimensions_are_refused(labels, spacing):
    with pytest.raises(ValueError, match="must be 3D, and spacing three positive"):
        surface_scores(labels, labels, spacing)

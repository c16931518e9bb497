"""The KiTS19 score against plain definitions; labels of any library; volumes, size classes and the row of a case."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kitsnb.data.cases import discover
from kitsnb.data.nifti import read_nifti
from kitsnb.metric import SCORES, SIZES, case_row, kits19_score, lesion_size, summarise, surface_scores, volumes_of
from kitsnb.metric.score import confusion, equivalent_diameter


def plain_dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def plain_score(prediction: np.ndarray, reference: np.ndarray) -> dict:
    both = plain_dice(prediction > 0, reference > 0)
    tumour = plain_dice(prediction == 2, reference == 2)
    kidney = plain_dice(prediction == 1, reference == 1)
    return {"kidney_and_tumour": both, "kidney": kidney, "tumour": tumour, "composite": (both + tumour) / 2}


def test_score_worked_by_hand():
    reference, prediction = np.array([[[0, 1, 1, 2]]]), np.array([[[1, 1, 2, 2]]])
    assert kits19_score(prediction, reference) == pytest.approx(
        {"kidney_and_tumour": 6 / 7, "kidney": 2 / 4, "tumour": 2 / 3, "composite": (6 / 7 + 2 / 3) / 2})


LABELS = hnp.arrays(np.uint8, hnp.array_shapes(max_dims=4, min_side=0, max_side=9), elements=st.integers(0, 2))
DTYPES = [np.uint8, np.int8, np.uint16, np.int64, np.uint64, np.float32, np.dtype(">i4")]


@given(LABELS, st.data())
def test_counts_whatever_the_shape_dtype_and_memory_order(reference, data):
    """Also steps backwards and views with gaps."""
    prediction = data.draw(hnp.arrays(np.uint8, reference.shape, elements=st.integers(0, 2)))
    plain = [[((reference == i) & (prediction == j)).sum() for j in range(3)] for i in range(3)]

    def laid_out(labels):
        axes = data.draw(st.permutations(range(labels.ndim)))
        steps = tuple(slice(None, None, data.draw(st.sampled_from([1, -1, 2]))) for _ in axes)
        shape = [labels.shape[axis] * (2 if step.step == 2 else 1) for axis, step in zip(axes, steps)]
        view = np.zeros(shape, data.draw(st.sampled_from(DTYPES)))[steps].transpose(np.argsort(axes))
        view[...] = labels
        return view

    assert np.array_equal(confusion(laid_out(prediction), laid_out(reference)), plain)


class Foreign:
    """An array of a library that numpy knows by its protocol alone, as jax's and torchio's images."""

    def __init__(self, labels):
        self.labels = labels

    def __array__(self, dtype=None, copy=None):
        return self.labels


@pytest.mark.parametrize("kind", [
    np.ndarray.tolist, torch.from_numpy, Foreign, np.float64, lambda labels: torch.from_numpy(labels).float().requires_grad_(),
    lambda labels: torch.from_numpy(labels.astype(np.int16)),
])  # fmt: skip
def test_labels_of_any_library(kind):
    prediction, reference = np.random.default_rng(0).integers(0, 3, (2, 4, 5, 6), dtype=np.uint8)
    expected = plain_score(prediction, reference)
    assert kits19_score(kind(prediction), kind(reference)) == kits19_score(kind(prediction), reference) == expected


RIGHT = np.ones((3, 3, 3), np.uint8)


def with_one(value, dtype) -> np.ndarray:
    """Labels with one wrong voxel, also one that a cast to a byte would turn into a label."""
    labels = np.ones((3, 3, 3), dtype)
    labels[2, 1, 0] = value
    return labels


@pytest.mark.parametrize(("bad", "text"), [
    (with_one(3, "u1"), "has 3$"), (with_one(-1, "i1"), "has -1$"), (with_one(256, "u2"), "has 256$"), (with_one(-1, "i8"), "has -1$"),
    (with_one(2**40, "i8"), f"has {2**40}$"), (with_one(2**24, ">i4"), f"has {2**24}$"), (with_one(0.5, "f4"), "has 0.5$"),
    (with_one(math.nan, "f8"), "has nan$"), (with_one(7.0, "f8"), "has 7.0$"), (with_one(-math.inf, "f8"), "has -inf$"),
    (RIGHT > 0, "not of type bool"), (RIGHT * 1j, "not of type complex"), (RIGHT.astype(str), "not of type <U"),
    ("case_00210", "not of type str"), (None, "not of type NoneType"), ([[1, 2], [1]], "not list"),
    (torch.ones(3, 3, 3, dtype=torch.bfloat16), "not Tensor"),
])  # fmt: skip
def test_what_is_no_label_map_is_refused_in_plain_words_by_all(bad, text):
    for function in (kits19_score, lambda p, r: case_row(p, r, np.eye(4)), lambda p, r: surface_scores(p, r, (1, 1, 1))):
        for name, pair in {"prediction": (bad, RIGHT), "reference": (RIGHT, bad)}.items():
            with pytest.raises(ValueError, match=f"^{name} must.*{text}"):
                function(*pair)
        with pytest.raises(ValueError, match=r"prediction \(3, 3, 3\) and reference \(2, 3, 3\) must have the same shape"):
            function(RIGHT, RIGHT[1:])


def test_undefined_is_nan_and_a_missed_tumour_is_zero():
    kidney_only = np.ones((2, 2, 2), int)
    scores = kits19_score(kidney_only, kidney_only)
    assert scores["kidney"] == 1 and math.isnan(scores["tumour"]) and math.isnan(scores["composite"])
    assert kits19_score(kidney_only, np.full((2, 2, 2), 2))["tumour"] == 0
    assert all(math.isnan(v) for v in kits19_score(np.zeros((2, 2, 2), int), np.zeros((2, 2, 2), int)).values())


def test_mean_leaves_undefined_scores_out_and_counts_them():
    assert summarise([0.5, float("nan"), 1.0]) == pytest.approx({"mean": 0.75, "sd": 0.125**0.5, "n": 2, "undefined": 1})
    assert math.isnan(summarise([float("nan")])["mean"])


def test_volumes_worked_by_hand():
    counts = confusion(np.array([[[1, 1, 2, 2]]]), np.array([[[0, 1, 1, 2]]]))
    assert volumes_of(counts, 0.1) == pytest.approx(
        {"kidney_ml": 0.2, "tumour_ml": 0.1, "predicted_kidney_ml": 0.2, "predicted_tumour_ml": 0.2})


def test_lesion_sizes_by_the_ball_of_the_same_volume():
    assert equivalent_diameter(4 / 3 * math.pi * 3**3) == pytest.approx(60)
    cut_offs = [math.pi / 6 * diameter**3 for diameter in (4, 7)]
    assert cut_offs == pytest.approx([33.5, 179.6], abs=0.05)
    found = [lesion_size(factor * volume) for volume in cut_offs for factor in (0.999, 1.001)]
    assert found == ["up to 4 cm", "4-7 cm", "4-7 cm", "over 7 cm"]
    assert list(SIZES) == ["up to 4 cm", "4-7 cm", "over 7 cm"]
    assert (lesion_size(0), lesion_size(1e-3), lesion_size(5000)) == ("none", "up to 4 cm", "over 7 cm")
    for bad in (-1, float("nan")):
        with pytest.raises(ValueError, match="at least 0 ml"):
            lesion_size(bad)


def test_row_of_a_case():
    reference = np.zeros((12, 12, 12), np.uint8)
    reference[2:9, 2:9, 2:9], reference[4:7, 4:7, 4:7] = 1, 2
    kidney, tumour = 0.5 * (7**3 - 3**3), 0.5 * 27
    assert case_row(reference, reference, np.diag([5, 10, 10, 1])) == pytest.approx({
        **dict.fromkeys(SCORES, 1), "hd95_kidney_and_tumour": 0, "nsd_kidney_and_tumour": 1, "hd95_tumour": 0, "nsd_tumour": 1,
        "kidney_ml": kidney, "tumour_ml": tumour, "predicted_kidney_ml": kidney, "predicted_tumour_ml": tumour,
        "size": "up to 4 cm"})


def test_row_of_a_missed_tumour():
    reference, prediction = np.full((4, 4, 4), 1), np.full((4, 4, 4), 1)
    reference[1:3] = 2
    row = case_row(prediction, reference, np.eye(4))
    assert (row["tumour"], row["nsd_tumour"], row["predicted_tumour_ml"]) == (0, 0, 0) and math.isnan(row["hd95_tumour"])
    assert case_row(prediction, prediction, np.eye(4))["size"] == "none"


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


def test_real_labels_against_changed_copies(kits19_labels):
    """Validation cases in two memory orders: not one bit off."""
    for case in discover(kits19_labels)[166::22]:
        reference = read_nifti(case.segmentation)[0]
        prediction = np.roll(reference, (1, -2, 3), (0, 1, 2))
        expected = plain_score(prediction, reference)
        assert kits19_score(prediction, reference) == expected
        assert kits19_score(np.ascontiguousarray(prediction), reference) == expected

"""The KiTS19 score against plain definitions; volumes, size classes and the row of a case."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from peers.jobs import labels_for, perturbed

from kitsnb.data.cases import discover
from kitsnb.data.nifti import read_nifti
from kitsnb.metric.score import (
    SCORES,
    SIZES,
    case_row,
    confusion,
    equivalent_diameter,
    kits19_score,
    lesion_size,
    summarise,
    volumes_of,
)
from kitsnb.metric.surface import surface_scores


def plain_dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def plain_score(prediction: np.ndarray, reference: np.ndarray) -> dict:
    both, tumour = plain_dice(prediction > 0, reference > 0), plain_dice(prediction == 2, reference == 2)
    return {"kidney_and_tumour": both, "kidney": plain_dice(prediction == 1, reference == 1), "tumour": tumour,
            "composite": (both + tumour) / 2}


def test_score_worked_by_hand():
    reference, prediction = np.array([[[0, 1, 1, 2]]]), np.array([[[1, 1, 2, 2]]])
    assert kits19_score(prediction, reference) == pytest.approx(
        {"kidney_and_tumour": 6 / 7, "kidney": 2 / 4, "tumour": 2 / 3, "composite": (6 / 7 + 2 / 3) / 2})


def test_equals_the_plain_definition_exactly():
    generator = np.random.default_rng(0)
    for _ in range(10):
        prediction, reference = generator.integers(0, 3, (2, 9, 8, 7), dtype=np.uint8)
        prediction[:2] = reference[:2] = 0
        assert kits19_score(prediction, reference) == plain_score(prediction, reference)


LABELS = hnp.arrays(np.uint8, hnp.array_shapes(max_dims=4, min_side=0, max_side=9), elements=st.integers(0, 2))
DTYPES = [np.uint8, np.int8, np.uint16, np.int64, np.dtype(">i4")]


@given(LABELS, st.data())
def test_counts_whatever_the_shape_dtype_and_memory_order(reference, data):
    """Also steps backwards and views with gaps; most arrays' sizes are no multiple of a word's eight voxels."""
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


def test_volume_of_many_pieces():
    """Larger than what is looked at together, and no multiple of it."""
    prediction, reference = np.random.default_rng(0).integers(0, 3, (2, 37, 129, 131), dtype=np.uint8)
    prediction[:20] = reference[5:30] = 0
    plain = [[((reference == i) & (prediction == j)).sum() for j in range(3)] for i in range(3)]
    for first, second in itertools.product("CF", "CF"):
        assert np.array_equal(confusion(np.asarray(prediction, order=first), np.asarray(reference, order=second)), plain)


@pytest.mark.parametrize(("dtype", "value"), [("u1", 3), ("i1", -1), ("u2", 256), ("i8", -1), ("i8", 2**40), (">i4", 2**24)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_single_wrong_label_is_found_and_named(dtype, value, order):
    """Also one that a cast to a byte would turn into a label."""
    wrong, right = np.zeros((5, 6, 7), dtype, order=order), np.zeros((5, 6, 7), np.uint8)
    wrong[4, 5, 6] = value
    with pytest.raises(ValueError, match=r"reference must hold integer labels 0, 1, 2; got "):
        kits19_score(right, wrong)
    with pytest.raises(ValueError, match=rf"prediction must hold .* from {min(value, 0)} to {max(value, 0)}$"):
        kits19_score(wrong, right)


def test_no_array_of_the_volume_s_size_is_made():
    reference = np.zeros((300, 256, 256), np.uint8)  # 20 MB
    reference[50:200, 80:140, 80:140], reference[90:110, 90:110, 90:110] = 1, 2
    prediction = perturbed(reference)
    for array in (prediction, np.asfortranarray(prediction)):
        tracemalloc.start()
        try:
            kits19_score(array, reference)
            held = tracemalloc.get_traced_memory()[1]  # numpy reports its arrays
        finally:
            tracemalloc.stop()
        assert held < 4e6


def test_undefined_is_nan_and_a_missed_tumour_is_zero():
    kidney_only = np.ones((2, 2, 2), int)
    scores = kits19_score(kidney_only, kidney_only)
    assert scores["kidney"] == 1 and math.isnan(scores["tumour"]) and math.isnan(scores["composite"])
    assert kits19_score(kidney_only, np.full((2, 2, 2), 2))["tumour"] == 0
    assert all(math.isnan(v) for v in kits19_score(np.zeros((2, 2, 2), int), np.zeros((2, 2, 2), int)).values())


def test_mean_leaves_undefined_scores_out_and_counts_them():
    assert summarise([0.5, float("nan"), 1.0]) == pytest.approx({"mean": 0.75, "sd": 0.125**0.5, "n": 2, "undefined": 1})
    assert math.isnan(summarise([float("nan")])["mean"])


@pytest.mark.parametrize("bad", [np.zeros((2, 2, 3), int), np.full((2, 2, 2), 3), np.full((2, 2, 2), 0.5)])
def test_bad_input_is_refused(bad):
    with pytest.raises(ValueError, match="prediction"):
        kits19_score(bad, np.zeros((2, 2, 2), int))


def test_volumes_worked_by_hand():
    reference, prediction = np.array([[[0, 1, 1, 2]]]), np.array([[[1, 1, 2, 2]]])
    assert volumes_of(confusion(prediction, reference), 0.1) == pytest.approx(
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
    row = case_row(reference, reference, np.diag([5, 10, 10, 1]))
    assert list(row) == [*SCORES, "hd95_kidney_and_tumour", "nsd_kidney_and_tumour", "hd95_tumour", "nsd_tumour", "kidney_ml",
                         "tumour_ml", "predicted_kidney_ml", "predicted_tumour_ml", "size"]
    assert {name: value for name, value in row.items() if name.startswith(("hd95", "nsd", *SCORES)) and "_ml" not in name} == {
        **dict.fromkeys(SCORES, 1), "hd95_kidney_and_tumour": 0, "nsd_kidney_and_tumour": 1, "hd95_tumour": 0, "nsd_tumour": 1}
    assert row["kidney_ml"] == row["predicted_kidney_ml"] == pytest.approx(0.5 * (7**3 - 3**3))
    assert row["size"] == lesion_size(0.5 * 27) == "up to 4 cm"
    with pytest.raises(ValueError, match="prediction must hold"):
        case_row(reference + 1, reference, np.eye(4))


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


@pytest.mark.parametrize("bad", [np.full((3, 3, 3), 3), np.full((3, 3, 3), -1), np.full((3, 3, 3), 1.0), np.ones((3, 3, 3), bool),
                                 np.ones((3, 3, 3), complex), np.full((3, 3, 3), 2**40)])
def test_every_public_function_checks_its_labels_alike(bad):
    good, affine = np.ones((3, 3, 3), np.uint8), np.eye(4)
    for function in (confusion, kits19_score, lambda p, r: case_row(p, r, affine), lambda p, r: surface_scores(p, r, (1, 1, 1))):
        for name, pair in {"prediction": (bad, good), "reference": (good, bad)}.items():
            with pytest.raises(ValueError, match=f"^{name} must hold integer labels 0, 1, 2; got {bad.dtype}"):
                function(*pair)
        with pytest.raises(ValueError, match="same shape"):
            function(good, good[1:])


def test_real_labels_against_changed_copies(kits19_labels):
    """All validation cases, some in two memory orders: not one bit off."""
    for number, case in enumerate(discover(kits19_labels)[166:]):
        reference, _ = read_nifti(case.segmentation)
        prediction = perturbed(reference)
        expected = plain_score(prediction, reference)
        assert kits19_score(prediction, reference) == expected
        if number % 4 == 0:
            assert kits19_score(np.ascontiguousarray(prediction), reference) == expected
            assert kits19_score(reference, reference) == dict.fromkeys(SCORES, 1.0)


def test_labels_for_the_benchmark_are_real_where_there_are_some(kits19_labels):
    (real,) = labels_for(kits19_labels, [166, 166])
    assert real.shape[1:] == (512, 512) and (real == 2).any()
    assert min(next(labels_for(None, [0, 0])).shape) > 60

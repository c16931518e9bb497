"""The KiTS19 score against plain definitions."""

import math

import numpy as np
import pytest

from kitsnb.cases import discover
from kitsnb.nifti import read_nifti
from kitsnb.metric import kits19_score, summarise


def plain_dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.logical_and(a, b).sum() / (a.sum() + b.sum())


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


def test_real_labels_against_shifted_copies(kits19_labels):
    for case in discover(kits19_labels)[166:174]:
        reference, _ = read_nifti(case.segmentation)
        assert kits19_score(reference, reference) == dict.fromkeys(("kidney_and_tumour", "kidney", "tumour", "composite"), 1.0)
        shifted = np.roll(reference, (1, 3, -2), (0, 1, 2))
        assert kits19_score(shifted, reference) == plain_score(shifted, reference)

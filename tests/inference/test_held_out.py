"""Held-out cases: native geometry, what is kept, and scores of the kidneys' box."""

import numpy as np
import pytest
import torch
from helpers.network_at_hand import Constant

from kitsnb.data.cases import discover
from kitsnb.data.nifti import orientation_of, read_nifti, write_nifti
from kitsnb.inference import held_out
from kitsnb.inference.held_out import predict_and_score
from kitsnb.inference.window import Window
from kitsnb.preprocessing.prepare import Preprocessing, preprocess_cases
from kitsnb.simulation.organs import ORGANS
from kitsnb.simulation.phantom import write_dataset


def test_predictions_lie_in_the_case_s_own_geometry(tmp_path):
    cases = write_dataset(tmp_path / "data", 3, 3)  # the third is stored along other axes
    preprocess_cases(cases, tmp_path / "grid", Preprocessing(spacing=(6, 5, 5), resize_in_plane=None))
    pairs = list(zip(discover(tmp_path / "grid"), cases))
    scores = predict_and_score(Constant(), pairs, tmp_path / "predictions", Window(patch_size=(16, 16, 16), overlap=(4, 4, 4)))
    assert len({orientation_of(read_nifti(case.imaging)[1]) for case in cases}) > 1
    for case, row in zip(cases, scores.itertuples()):
        prediction, affine = read_nifti(tmp_path / "predictions" / f"{case.name}.nii.gz")
        reference, native = read_nifti(case.segmentation)
        assert prediction.shape == reference.shape and np.allclose(affine, native) and prediction.dtype == np.uint8
        assert row.tumour_ml == pytest.approx((reference == 2).sum() * abs(np.linalg.det(native[:3, :3])) / 1000)


def test_the_kidneys_box_and_false_positives_by_organ(tmp_path):
    """A network that calls all that is dense kidney, on a phantom with an organ map of two halves."""
    cases = write_dataset(tmp_path / "data", 1, 0)
    preprocess_cases(cases, tmp_path / "grid", Preprocessing(spacing=(6, 5, 5), resize_in_plane=None))
    labels, affine = read_nifti(cases[0].segmentation)
    organs, (first, second, *_) = np.zeros_like(labels), sorted(ORGANS)[1:]
    organs[:20], organs[20:] = first, second
    write_nifti(cases[0].organs, organs, affine)
    window = Window(patch_size=(16, 16, 16), overlap=(4, 4, 4))
    pairs = list(zip(discover(tmp_path / "grid"), cases))
    row = predict_and_score(Dense(), pairs, tmp_path / "out", window, located=True).iloc[0]
    false = (read_nifti(tmp_path / "out" / "case_00000.nii.gz")[0] > 0) & (labels == 0)
    for organ, part in ((first, false[:20]), (second, false[20:])):
        assert row[f"false_ml_{ORGANS[organ]}"] == pytest.approx(part.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000)
    assert 0 < row.kidney < 1 and row.located_kidney >= row.kidney and row.located_tumour == 0
    assert "located_kidney" not in predict_and_score(Dense(), pairs, tmp_path / "plain", window)


class Dense(Constant):
    def forward(self, x):
        return torch.cat([0 * x, 4 * (x - 1), 0 * x - 9], 1)


def test_predictions_that_are_there_are_kept_until_something_they_come_from_changes(tmp_path, monkeypatch):
    cases, weights = write_dataset(tmp_path / "data", 2, 0), tmp_path / "best.ckpt"
    preprocess_cases(cases, tmp_path / "grid", Preprocessing(spacing=(6, 5, 5), resize_in_plane=None))
    pairs, made = list(zip(discover(tmp_path / "grid"), cases)), []
    real = held_out.predict_probabilities
    monkeypatch.setattr(held_out, "predict_probabilities", lambda *given: made.append(given) or real(*given))

    def scores(overlap=4):
        window = Window(patch_size=(16, 16, 16), overlap=(overlap,) * 3)
        return predict_and_score(Constant(), pairs, tmp_path / "predictions", window, weights=weights)

    weights.write_bytes(b"one")
    first = scores()
    assert first.equals(scores()) and len(made) == 2
    scores(8)
    weights.write_bytes(b"two")
    scores(8)
    assert len(made) == 6
    (tmp_path / "predictions" / "case_00001.nii.gz").write_bytes(b"damaged")
    assert scores(8).equals(scores(8)) and len(made) == 8

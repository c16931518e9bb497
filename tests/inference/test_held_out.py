"""Held-out cases: predicted in native geometry, scored, and kept until something changes."""

import numpy as np
import pytest
import torch
from helpers.ct_at_hand import Kidneys, small_ct

from kitsnb.data.cases import Case, discover
from kitsnb.data.nifti import orientation_of, read_nifti
from kitsnb.inference import held_out, predict_and_score
from kitsnb.preprocessing import Preprocessing, preprocess_cases

PATCH, OVERLAP = (16, 16, 16), (4, 4, 4)


@pytest.fixture
def build(tmp_path):
    """Two cases along different axes, on the working grid."""
    for number, orientation in enumerate(("IPL", "LPS")):
        small_ct(number).turned(orientation).write(Case(tmp_path / "data" / f"case_{number:05d}"))
    preprocess_cases(discover(tmp_path / "data"), tmp_path / "grid", Preprocessing(spacing=(6, 5, 5), resize_in_plane=None))
    return tmp_path


def pairs(build):
    return list(zip(discover(build / "grid"), discover(build / "data")))


def test_predictions_lie_in_the_case_s_own_geometry(build):
    scores = predict_and_score(Kidneys(), pairs(build), build / "predictions", PATCH, OVERLAP)
    assert scores.case.tolist() == ["case_00000", "case_00001"]
    seen = set()
    for _, case in pairs(build):
        prediction, affine = read_nifti(build / "predictions" / f"{case.name}.nii.gz")
        reference, native = read_nifti(case.segmentation)
        assert prediction.shape == reference.shape and np.allclose(affine, native) and prediction.dtype == np.uint8
        row = scores.set_index("case").loc[case.name]
        assert row.tumour_ml == pytest.approx((reference == 2).sum() * abs(np.linalg.det(native[:3, :3])) / 1000)
        assert row.kidney > 0.8 and row.tumour > 0.5
        seen.add(orientation_of(native))
    assert len(seen) == 2


@pytest.fixture
def made(monkeypatch):
    """What is predicted, one entry per volume."""
    found, real = [], held_out.predict_probabilities
    monkeypatch.setattr(held_out, "predict_probabilities", lambda *given: found.append(given) or real(*given))
    return found


def test_predictions_are_kept_until_something_they_come_from_changes(build, made):
    network, folder = Kidneys(), build / "predictions"
    first = predict_and_score(network, pairs(build), folder, PATCH, OVERLAP)
    assert predict_and_score(network, pairs(build), folder, PATCH, OVERLAP).equals(first) and len(made) == 2
    predict_and_score(network, pairs(build), folder, PATCH, (8, 8, 8))
    assert len(made) == 4
    torch.nn.init.ones_(network.unused)
    predict_and_score(network, pairs(build), folder, PATCH, (8, 8, 8))
    assert len(made) == 6
    (folder / "case_00001.nii.gz").write_bytes(b"damaged")
    predict_and_score(network, pairs(build), folder, PATCH, (8, 8, 8))
    assert len(made) == 8
    predict_and_score(network, pairs(build)[:1], folder, PATCH, (8, 8, 8))
    assert len(made) == 9


def test_an_undefined_score_stays_undefined_when_it_is_kept(build, made):
    """JSON has no NaN: a kept score that is undefined must not come back as None."""
    nothing = small_ct(5)
    nothing.labels[:] = 0
    nothing.turned("LPS").write(Case(build / "data" / "case_00001"))
    network = Kidneys()
    given = network, pairs(build), build / "predictions", PATCH, OVERLAP
    first, kept = predict_and_score(*given), predict_and_score(*given)
    assert len(made) == 2 and kept.dtypes.equals(first.dtypes) and kept.equals(first)


def test_a_moved_build_is_not_predicted_again(build, made):
    predict_and_score(Kidneys(), pairs(build), build / "predictions", PATCH, OVERLAP)
    moved = build.rename(build.with_name("moved"))
    predict_and_score(Kidneys(), pairs(moved), moved / "predictions", PATCH, OVERLAP)
    assert len(made) == 2

"""Held-out cases: predicted in native geometry, scored, and kept until something changes."""

import numpy as np
import pytest
import torch
from helpers.ct_at_hand import Kidneys, small_ct

from kitsnb.data.cases import Case, discover
from kitsnb.data.nifti import read_nifti
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


@pytest.fixture
def made(monkeypatch):
    """What is predicted, one entry per volume."""
    found, real = [], held_out.predict_probabilities
    monkeypatch.setattr(held_out, "predict_probabilities", lambda *given: found.append(given) or real(*given))
    return found


def score(build, network, overlap=OVERLAP, count=2):
    pairs = list(zip(discover(build / "grid"), discover(build / "data")))[:count]
    return predict_and_score(network, pairs, build / "predictions", PATCH, overlap)


def test_predictions_lie_in_the_case_s_own_geometry(build):
    scores = score(build, Kidneys())
    assert scores.case.tolist() == ["case_00000", "case_00001"]
    for row in scores.itertuples():
        prediction, affine = read_nifti(build / "predictions" / f"{row.case}.nii.gz")
        reference, native = read_nifti(build / "data" / row.case / "segmentation.nii.gz")
        assert prediction.shape == reference.shape and np.allclose(affine, native) and prediction.dtype == np.uint8
        assert row.tumour_ml == pytest.approx((reference == 2).sum() * 0.036)
        assert row.kidney > 0.8 and row.tumour > 0.5


def test_predictions_are_kept_until_something_they_come_from_changes(build, made):
    network = Kidneys()
    first = score(build, network)
    assert score(build, network).equals(first) and len(made) == 2
    score(build, network, (8, 8, 8))
    assert len(made) == 4
    torch.nn.init.ones_(network.unused)
    score(build, network, (8, 8, 8))
    assert len(made) == 6
    (build / "predictions" / "case_00001.nii.gz").write_bytes(b"damaged")
    score(build, network, (8, 8, 8))
    assert len(made) == 8
    score(build, network, (8, 8, 8), count=1)
    assert len(made) == 9
    score(build.rename(build.with_name("moved")), network, (8, 8, 8), count=1)
    assert len(made) == 9


def test_an_undefined_score_stays_undefined_when_it_is_kept(build, made):
    """JSON has no NaN: a kept score that is undefined, here in all cases, must not come back as None."""
    nothing = small_ct(5)
    nothing.labels[:] = 0
    nothing.write(Case(build / "data" / "case_00000"))
    first, kept = score(build, Kidneys(), count=1), score(build, Kidneys(), count=1)
    assert first.hd95_tumour.isna().all() and len(made) == 1 and kept.dtypes.equals(first.dtypes) and kept.equals(first)

"""Sliding window: blending changes nothing, thin volumes, native geometry."""

import numpy as np
import pytest
import torch

from kitsnb.nifti import orientation_of, read_nifti
from kitsnb.inference import Window, predict_and_score, predict_probabilities, window_starts
from kitsnb.phantom import write_dataset
from kitsnb.preprocessing import Preprocessing, preprocess_cases
from kitsnb.cases import discover


class Constant(torch.nn.Module):
    """Logits that depend on the voxel alone: (x, -x, 0)."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return torch.cat([x, -x, 0 * x], 1)


@pytest.mark.parametrize("shape", [(20, 24, 28), (5, 24, 28), (16, 16, 16)])
def test_a_pointwise_network_comes_back_exactly(shape):
    volume = torch.randn(shape)
    expected = torch.stack([volume, -volume, 0 * volume]).softmax(0)
    for batch_size in (1, 4):
        got = predict_probabilities(Constant(), volume, Window((16, 16, 16), (8, 8, 8), batch_size))
        assert torch.allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("length, patch, overlap", [(80, 80, 40), (81, 80, 40), (247, 80, 40), (33, 32, 16), (100, 10, 0)])
def test_windows_cover_everything_with_the_overlap(length, patch, overlap):
    starts = window_starts(length, patch, overlap)
    assert starts[0] == 0 and starts[-1] + patch == length
    assert all(later - earlier <= patch - overlap for earlier, later in zip(starts, starts[1:]))


def test_bad_overlap_is_named():
    with pytest.raises(ValueError, match="overlap"):
        Window((8, 8, 8), (8, 8, 8))


def test_predictions_lie_in_the_case_s_own_geometry(tmp_path):
    cases = write_dataset(tmp_path / "data", 6, 0)
    preprocess_cases(cases, tmp_path / "grid", Preprocessing((6, 5, 5), resize_in_plane=None))
    pairs = list(zip(discover(tmp_path / "grid"), cases))
    scores = predict_and_score(Constant(), pairs, tmp_path / "predictions", Window((16, 16, 16), (4, 4, 4)))
    assert len({orientation_of(read_nifti(case.imaging)[1]) for case in cases}) > 1
    for case, row in zip(cases, scores.itertuples()):
        prediction, affine = read_nifti(tmp_path / "predictions" / f"{case.name}.nii.gz")
        reference, native = read_nifti(case.segmentation)
        assert prediction.shape == reference.shape and np.allclose(affine, native) and prediction.dtype == np.uint8
        assert row.tumour_ml == pytest.approx((reference == 2).sum() * abs(np.linalg.det(native[:3, :3])) / 1000)

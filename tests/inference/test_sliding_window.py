"""Sliding window: blending changes nothing, thin volumes, memory, cost; components; native geometry."""

import itertools

import numpy as np
import pytest
import torch
from peers.jobs import inference, trivial
from peers.measure import peak_bytes

from kitsnb.data.cases import discover
from kitsnb.data.nifti import orientation_of, read_nifti
from kitsnb.inference import sliding_window
from kitsnb.inference.sliding_window import (
    Window,
    blending_weights,
    largest_components,
    predict_and_score,
    predict_probabilities,
    slide,
    summed_weights,
)
from kitsnb.inference.window import window_starts
from kitsnb.preprocessing.prepare import Preprocessing, preprocess_cases
from kitsnb.simulation.phantom import write_dataset

#: Thicker than the patch, thinner along one and all axes, exactly the patch, and patches that do not fit evenly.
SHAPES = [(20, 24, 28), (5, 24, 28), (3, 5, 7), (16, 16, 16), (17, 31, 33)]


class Constant(torch.nn.Module):
    """Logits that depend on the voxel alone: (x, -x, 0)."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return torch.cat([x, -x, 0 * x], 1)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_identity_network_returns_its_input(shape):
    volume = torch.randn(shape, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    for batch_size in (1, 4):
        got = slide(trivial, volume, Window(patch_size=(16, 16, 16), overlap=(8, 8, 8), batch_size=batch_size), 3)
        assert got.shape == (3, *shape) and (got - volume).abs().max() < 1e-6


@pytest.mark.parametrize("shape", SHAPES)
def test_a_pointwise_network_comes_back_exactly(shape):
    volume = torch.randn(shape)
    expected = torch.stack([volume, -volume, 0 * volume]).softmax(0)
    for batch_size in (1, 4):
        got = predict_probabilities(Constant(), volume, Window(patch_size=(16, 16, 16), overlap=(8, 8, 8), batch_size=batch_size))
        assert torch.allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("shape, patch, overlap", [((20, 24, 31), (8, 16, 10), (4, 8, 3)), ((9, 9, 9), (4, 4, 4), (0, 1, 3))])
def test_normalisation_by_axes_equals_that_by_a_map(shape, patch, overlap):
    """Patches that contradict each other: the mean weighted voxel by voxel, as the textbook does it."""
    window, generator = Window(patch_size=patch, overlap=overlap, batch_size=1), torch.Generator().manual_seed(0)
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
    volume, window = torch.randn(48, 48, 48), Window(patch_size=(16, 16, 16), overlap=(8, 8, 8), batch_size=1)
    result, patch = 3 * 4 * volume.numel(), 4 * 16**3
    assert peak_bytes(lambda: slide(trivial, volume, window, 3)) < result + 10 * patch


def test_blending_holds_no_more_than_monai_s():
    for row in inference(repeats=1):
        assert row["memory_ratio"] < 1.1 and row["milliseconds"] > 0 and row["megabytes"] > 0, row
        assert row["peer"].startswith("MONAI") and row["job"]


@pytest.mark.parametrize("length, patch, overlap", [(80, 80, 40), (81, 80, 40), (247, 80, 40), (33, 32, 16), (100, 10, 0)])
def test_windows_cover_everything_with_the_overlap(length, patch, overlap):
    starts = window_starts(length, patch, overlap)
    assert starts[0] == 0 and starts[-1] + patch == length
    assert all(later - earlier <= patch - overlap for earlier, later in zip(starts, starts[1:]))


def test_bad_overlap_is_named():
    with pytest.raises(ValueError, match="overlap"):
        Window(patch_size=(8, 8, 8), overlap=(8, 8, 8))


def test_the_largest_components_stay():
    labels = np.zeros((12, 20, 20), np.uint8)
    labels[2:8, 2:8, 2:8] = 1  # a kidney
    labels[8, 8, 8] = 2  # its tumour, which touches it by a corner only
    labels[2:6, 12:16, 12:16] = 1  # the other kidney
    labels[10, 15:17, 15] = 2  # a speck of tumour in no kidney
    labels[11, 0, 0] = 1
    two = labels.copy()
    two[10, 15:17, 15] = two[11, 0, 0] = 0
    one = two.copy()
    one[2:6, 12:16, 12:16] = 0
    assert np.array_equal(largest_components(labels, 2), two)
    assert np.array_equal(largest_components(labels, 1), one)
    assert np.array_equal(largest_components(labels, 9), labels)
    assert np.array_equal(largest_components(np.asfortranarray(labels), 2), two)
    assert not largest_components(np.zeros_like(labels), 2).any()
    with pytest.raises(ValueError, match="at least one"):
        largest_components(labels, 0)


def test_predictions_lie_in_the_case_s_own_geometry(tmp_path):
    cases = write_dataset(tmp_path / "data", 6, 0)
    preprocess_cases(cases, tmp_path / "grid", Preprocessing(spacing=(6, 5, 5), resize_in_plane=None))
    pairs = list(zip(discover(tmp_path / "grid"), cases))
    scores = predict_and_score(Constant(), pairs, tmp_path / "predictions", Window(patch_size=(16, 16, 16), overlap=(4, 4, 4)))
    assert len({orientation_of(read_nifti(case.imaging)[1]) for case in cases}) > 1
    for case, row in zip(cases, scores.itertuples()):
        prediction, affine = read_nifti(tmp_path / "predictions" / f"{case.name}.nii.gz")
        reference, native = read_nifti(case.segmentation)
        assert prediction.shape == reference.shape and np.allclose(affine, native) and prediction.dtype == np.uint8
        assert row.tumour_ml == pytest.approx((reference == 2).sum() * abs(np.linalg.det(native[:3, :3])) / 1000)


def test_predictions_that_are_there_are_kept_until_something_they_come_from_changes(tmp_path, monkeypatch):
    cases, weights = write_dataset(tmp_path / "data", 2, 0), tmp_path / "best.ckpt"
    preprocess_cases(cases, tmp_path / "grid", Preprocessing(spacing=(6, 5, 5), resize_in_plane=None))
    pairs, made = list(zip(discover(tmp_path / "grid"), cases)), []
    real = sliding_window.predict_case
    monkeypatch.setattr(sliding_window, "predict_case", lambda *given: made.append(given[1].name) or real(*given))

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

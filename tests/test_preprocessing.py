"""To the working grid and back: geometry, values, refusals."""

import nibabel as nib
import numpy as np
import pytest
import torch
import torchio as tio

from kitsnb.cases import discover
from kitsnb.checks import load_subject
from kitsnb.nifti import CaseError, orientation_of, read_nifti, spacing_of, write_nifti
from kitsnb.phantom import simulate_case, write_dataset
from kitsnb.preprocessing import Preprocessing, grid_ceiling, one_hot, preprocess, preprocess_cases, reorient, to_native

SMALL = Preprocessing(spacing=(6.0, 5.0, 5.0), resize_in_plane=None)


def subject(imaging: np.ndarray, segmentation: np.ndarray, affine: np.ndarray) -> tio.Subject:
    return tio.Subject(
        imaging=tio.ScalarImage(tensor=torch.from_numpy(imaging.astype(np.float32))[None], affine=affine),
        segmentation=tio.LabelMap(tensor=torch.from_numpy(segmentation)[None], affine=affine),
        name="case_00000",
    )


@pytest.mark.parametrize("orientation", ["IPL", "RAS", "LPS", "PIR"])
def test_any_orientation_gives_the_same_volume(orientation):
    phantom = simulate_case(0, 1)
    expected = preprocess(subject(phantom.imaging, phantom.segmentation, phantom.affine), SMALL)
    imaging, affine = reorient(phantom.imaging, phantom.affine, orientation)
    segmentation, _ = reorient(phantom.segmentation, phantom.affine, orientation)
    result = preprocess(subject(imaging.copy(), segmentation.copy(), affine), SMALL)
    assert orientation_of(result["imaging"].affine) == "IPL"
    assert torch.allclose(result["imaging"].data, expected["imaging"].data, atol=1e-4)
    assert torch.equal(result["segmentation"].data, expected["segmentation"].data)
    assert np.allclose(result["imaging"].affine, expected["imaging"].affine, atol=1e-6)


def test_landmarks_stay_where_they_are():
    """A linear ramp in world coordinates is resampled to itself: every voxel still knows its place, to 0.01 mm."""
    affine = np.diag([-2.0, -1.5, -1.5, 1.0])[:, [2, 1, 0, 3]]
    affine[:3, 3] = 40, -30, 100
    index = np.stack(np.meshgrid(*map(np.arange, (30, 40, 50)), indexing="ij"), -1)
    height = nib.affines.apply_affine(affine, index)[..., 2]
    wide = Preprocessing((3.22, 1.62, 1.62), (-1e4, 1e4), None)
    result = preprocess(subject(height, np.zeros(height.shape, np.uint8), affine), wide)["imaging"]
    new = np.stack(np.meshgrid(*map(np.arange, result.spatial_shape), indexing="ij"), -1)
    wanted = nib.affines.apply_affine(result.affine, new)[..., 2]
    inner = (slice(2, -2),) * 3
    got = result.numpy()[0]
    slope, offset = np.polyfit(got[inner].ravel(), wanted[inner].ravel(), 1)
    assert np.abs(got[inner] * slope + offset - wanted[inner]).max() < 0.01
    assert spacing_of(result.affine) == pytest.approx([3.22, 1.62, 1.62], rel=0.03)


def test_image_is_clipped_and_z_scored():
    phantom = simulate_case(0, 2)
    data = preprocess(subject(phantom.imaging, phantom.segmentation, phantom.affine), SMALL)["imaging"].data
    assert float(data.mean()) == pytest.approx(0, abs=1e-3) and float(data.std()) == pytest.approx(1, abs=1e-3)


def test_way_back_is_exact_on_an_equal_grid():
    phantom = simulate_case(0, 3)
    for orientation in ("IPL", "RAS", "PIR"):
        labels, affine = reorient(phantom.segmentation, phantom.affine, orientation)
        grid, _ = reorient(labels, affine)
        back = to_native(one_hot(torch.from_numpy(grid.copy())[None]), labels.shape, affine)
        assert np.array_equal(back, labels)


def test_way_back_over_slabs_is_trilinear():
    torch.manual_seed(0)
    probabilities = torch.rand(3, 13, 9, 10).softmax(0)
    affine = np.diag([-1.0, -1.0, -1.0, 1.0])[:, [2, 1, 0, 3]]
    whole = torch.nn.functional.interpolate(probabilities[None], (37, 20, 21), mode="trilinear")[0].argmax(0)
    assert (to_native(probabilities, (37, 20, 21), affine) == whole.numpy()).mean() > 0.999


def test_real_labels_survive_the_papers_spacing(kits19_labels):
    cases = discover(kits19_labels)[166:169]
    scores = []
    for case in cases:
        labels, affine = read_nifti(case.segmentation)
        item = tio.Subject(segmentation=tio.LabelMap(tensor=torch.from_numpy(labels.astype(np.uint8))[None], affine=affine),
                           imaging=tio.ScalarImage(tensor=torch.from_numpy(labels.astype(np.float32))[None], affine=affine),
                           name=case.name)
        scores.append(grid_ceiling(labels.astype(np.uint8), affine, preprocess(item, Preprocessing(resize_in_plane=None))))
    assert np.mean([s["kidney_and_tumour"] for s in scores]) > 0.96
    assert np.mean([s["tumour"] for s in scores]) > 0.92


def test_one_bad_case_does_not_stop_the_others(tmp_path):
    cases = write_dataset(tmp_path / "data", 3, 0)
    labels, affine = read_nifti(cases[1].segmentation)
    write_nifti(cases[1].segmentation, labels + 3, affine)
    flat, affine = read_nifti(cases[2].imaging)
    write_nifti(cases[2].imaging, np.full_like(flat, -1000), affine)
    with pytest.warns(UserWarning, match="refused"):
        report = preprocess_cases(cases, tmp_path / "grid", SMALL)
    assert set(report["rows"]) == {"case_00000"} and set(report["refused"]) == {"case_00001", "case_00002"}
    assert "labels" in report["refused"]["case_00001"] and "clipping" in report["refused"]["case_00002"]
    prepared = discover(tmp_path / "grid")
    assert [case.name for case in prepared] == ["case_00000"]
    assert load_subject(prepared[0])["imaging"].spatial_shape == tuple(report["rows"]["case_00000"]["shape"])


def test_constant_volume_and_bad_settings_are_named():
    affine = np.diag([1.0, 1, 1, 1])
    with pytest.raises(CaseError, match="Hounsfield"):
        preprocess(subject(np.zeros((4, 4, 4)), np.zeros((4, 4, 4), np.uint8), affine), SMALL)
    with pytest.raises(ValueError, match="spacing"):
        Preprocessing(spacing=(0, 1, 1))
    with pytest.raises(ValueError, match="clip"):
        Preprocessing(clip=(5, 5))

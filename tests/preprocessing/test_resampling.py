"""To the working grid and back: geometry and values."""

import nibabel as nib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.ct_at_hand import AFFINE, small_ct

from kitsnb.data.cases import Case
from kitsnb.data.nifti import orientation_of, read_nifti, spacing_of
from kitsnb.preprocessing import Preprocessing, grid_ceiling, reorient, to_grid, to_native, z_score
from kitsnb.preprocessing.resampling import resize, resize_labels, working_grid

SMALL = Preprocessing(spacing=(6.0, 5.0, 5.0), resize_in_plane=None)
PAPER = Preprocessing(resize_in_plane=(60, 70))


def one_hot(labels) -> torch.Tensor:
    return torch.stack([torch.from_numpy(np.asarray(labels) == label) for label in range(3)]).float()


@pytest.mark.parametrize("settings", [SMALL, PAPER])
@pytest.mark.parametrize("orientation", ["IPL", "RAS", "LPS", "PIR"])
def test_any_orientation_gives_the_same_volume(orientation, settings):
    ct = small_ct()
    turned = ct.turned(orientation)
    wanted, affine = to_grid(ct.imaging, ct.affine, settings)
    imaging, turned_affine = to_grid(turned.imaging, turned.affine, settings)
    labels, _ = to_grid(turned.labels, turned.affine, settings, labels=True)
    assert orientation_of(turned_affine) == "IPL" and np.allclose(turned_affine, affine, atol=1e-6)
    assert torch.allclose(imaging, wanted, atol=1e-3)
    assert torch.equal(labels, to_grid(ct.labels, ct.affine, settings, labels=True)[0])
    assert np.array_equal(turned.imaging, ct.turned(orientation).imaging)  # the file's own array is left as it is
    assert working_grid(turned.imaging.shape, turned.affine, settings.spacing)[0] == imaging.shape


@pytest.mark.parametrize("resize_in_plane", [None, (60, 70)])
@pytest.mark.parametrize("orientation", ["IPL", "RAS", "LPS", "oblique"])
def test_landmarks_stay_where_they_are(orientation, resize_in_plane):
    """The centre of a smooth blob, in the world, moves by less than 0.01 mm; "oblique" is as by a tilted gantry."""
    finer = AFFINE @ np.diag([0.5, 0.5, 0.5, 1])
    array, affine = reorient(np.empty((60, 80, 90)), finer, "IPL" if orientation == "oblique" else orientation)
    if orientation == "oblique":
        affine[:3, :3] = nib.eulerangles.euler2mat(0.2, -0.15, 0.1) @ affine[:3, :3]
    landmark = nib.affines.apply_affine(affine, np.array(array.shape) * [0.45, 0.52, 0.57])
    blob = 300 * np.exp(-0.5 * (distances(array.shape, affine, landmark) / 10) ** 2)
    settings = Preprocessing(clip=(0, 304), resize_in_plane=resize_in_plane)
    result, grid_affine = to_grid(blob, affine, settings)
    near = distances(result.shape, grid_affine, landmark) < 45
    places = nib.affines.apply_affine(grid_affine, np.argwhere(near))
    centre = np.average(places, axis=0, weights=result.numpy()[near])
    assert np.linalg.norm(centre - landmark) < 0.01
    assert spacing_of(grid_affine) == pytest.approx([3.22, 1.62, 1.62], rel=0.03)


def distances(shape, affine, landmark) -> np.ndarray:
    index = np.moveaxis(np.indices(shape), 0, -1)
    return np.linalg.norm(nib.affines.apply_affine(affine, index) - landmark, axis=-1)


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.float64])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_resizing_is_torchs_in_any_order_of_memory(order, dtype):
    volume = np.random.default_rng(0).integers(0, 400, (21, 40, 33)).astype(dtype)
    stored = np.ascontiguousarray(volume.transpose(order)).transpose(np.argsort(order))[:, ::-1]
    whole = torch.from_numpy(volume[:, ::-1].astype(np.float32))[None, None]
    wanted = F.interpolate(whole.clamp(50, 304), (17, 52, 20), mode="trilinear")[0, 0]
    assert torch.allclose(resize(stored, (17, 52, 20), clip=(50, 304)), wanted, atol=1e-3)
    nearest = F.interpolate(whole, (17, 52, 20), mode="nearest-exact")[0, 0]
    assert np.array_equal(resize_labels(stored, (17, 52, 20)).numpy(), nearest.numpy())


@pytest.mark.parametrize("shape", [(1, 40, 44), (3, 1, 44)])
def test_a_single_slice_goes_there_and_back(shape):
    ct = small_ct(shape=shape)
    volume, affine = to_grid(ct.imaging, ct.affine, SMALL)
    assert min(volume.shape) == 1 and np.isfinite(affine).all()
    assert to_native(torch.full((3, *volume.shape), 1 / 3), shape, ct.affine).shape == shape


@pytest.mark.parametrize("by", [None, (101.0, 76.9)])
def test_z_score_is_undone_by_what_it_returns(by):
    imaging, _ = to_grid(*small_ct()[::2], SMALL)
    score, (mean, sd) = z_score(imaging.clone(), SMALL.changed(z_score_by=by))
    assert torch.allclose(score * sd + mean, imaging, atol=1e-3)
    if by:
        assert (mean, sd) == by
    else:
        assert float(score.mean()) == pytest.approx(0, abs=1e-3) and float(score.std()) == pytest.approx(1, abs=1e-3)
    with pytest.raises(ValueError, match="all voxels are -79 HU after clipping"):
        z_score(torch.full((4, 4, 4), -79.0), SMALL)


@pytest.mark.parametrize("orientation", ["IPL", "RAS", "PIR"])
def test_way_back_is_exact_on_an_equal_grid(orientation):
    labels = small_ct().turned(orientation).labels
    affine = small_ct().turned(orientation).affine
    assert np.array_equal(to_native(one_hot(reorient(labels, affine)[0]), labels.shape, affine), labels)


def test_way_back_is_trilinear_then_argmax():
    probabilities = torch.rand(3, 13, 9, 10, generator=torch.Generator().manual_seed(0)).softmax(0)
    whole = F.interpolate(probabilities[None], (37, 20, 21), mode="trilinear")[0].argmax(0)
    assert (to_native(probabilities, (37, 20, 21), AFFINE) == whole.numpy()).mean() > 0.999


def test_way_back_of_little_foreground_of_none_and_of_ties():
    """Only the box around the foreground is worked on: the result is that of the whole."""
    probabilities = one_hot(np.zeros((20, 20, 20)))
    assert not to_native(probabilities, (9, 9, 9), AFFINE).any()
    assert set(np.unique(to_native(torch.full((3, 5, 6, 7), 1 / 3), (9, 9, 9), AFFINE))) <= {0, 1, 2}
    probabilities[:, 4:7, 11:13, 0:2] = torch.tensor([0.2, 0.1, 0.7]).view(3, 1, 1, 1)
    whole = F.interpolate(probabilities[None], (33, 41, 50), mode="trilinear")[0].argmax(0)
    assert np.array_equal(to_native(probabilities, (33, 41, 50), AFFINE), whole.numpy()) and whole.any()


def test_real_labels_survive_the_papers_spacing(kits19_labels):
    """A case with the score that a perfect network would have on the paper's grid."""
    labels, affine = read_nifti(Case(kits19_labels / "case_00176").segmentation)
    labels = labels.astype(np.uint8)
    grid, _ = to_grid(labels, affine, Preprocessing(resize_in_plane=None), labels=True)
    score = grid_ceiling(labels, affine, grid)
    assert score["kidney_and_tumour"] >= 0.98 and score["tumour"] >= 0.965

"""To the working grid and back: geometry and values."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.ct_at_hand import AFFINE, small_ct

from kitsnb.data.cases import Case
from kitsnb.data.geometry import orientation_of, spacing_of
from kitsnb.data.nifti import CaseError, read_nifti
from kitsnb.preprocessing import Preprocessing, grid_ceiling, reorient, to_grid, to_native, z_score
from kitsnb.preprocessing.resampling import resize, resize_labels

SMALL = Preprocessing(spacing=(6.0, 5.0, 5.0), resize_in_plane=None)


@pytest.mark.parametrize("settings", [SMALL, Preprocessing(resize_in_plane=(60, 70))])
@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PIR"])
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
    result, grid_affine = to_grid(blob, affine, Preprocessing(clip=(0, 304), resize_in_plane=resize_in_plane))
    near = distances(result.shape, grid_affine, landmark) < 45
    places = nib.affines.apply_affine(grid_affine, np.argwhere(near))
    centre = np.average(places, axis=0, weights=result.numpy()[near])
    assert np.linalg.norm(centre - landmark) < 0.01
    assert spacing_of(grid_affine) == pytest.approx([3.22, 1.62, 1.62], rel=0.03)


@pytest.mark.parametrize("pixels", [100, 97])
def test_labels_lie_where_their_image_does_by_way_of_half_the_pixels(pixels):
    affine = np.array([[0, 0, -0.8, 0], [0, -0.8, 0, 0], [-3, 0, 0, 0], [0, 0, 0, 1]])
    centre = nib.affines.apply_affine(affine, [10, 0.53 * pixels, 0.47 * pixels])
    ball = (distances((20, pixels, pixels), affine, centre) < 12).astype(np.uint8)
    settings = Preprocessing(clip=(0, 304), resize_in_plane=(50, 50))
    image, grid_affine = to_grid(300.0 * ball, affine, settings)
    labels, _ = to_grid(ball, affine, settings, labels=True)
    places = nib.affines.apply_affine(grid_affine, np.moveaxis(np.indices(labels.shape), 0, -1))
    centres = [np.average(places.reshape(-1, 3), axis=0, weights=volume.numpy().ravel()) for volume in (image, labels)]
    assert np.abs(centres[1] - centres[0]).max() < 0.2


def distances(shape, affine, landmark) -> np.ndarray:
    index = np.moveaxis(np.indices(shape), 0, -1)
    return np.linalg.norm(nib.affines.apply_affine(affine, index) - landmark, axis=-1)


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.float64])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_resizing_is_torchs_in_any_order_of_memory(order, dtype):
    volume = np.random.default_rng(0).integers(0, 255, (21, 40, 33)).astype(dtype)
    stored = np.ascontiguousarray(volume.transpose(order)).transpose(np.argsort(order))[:, ::-1]
    whole = torch.from_numpy(volume[:, ::-1].astype(np.float32))[None, None]
    wanted = F.interpolate(whole.clamp(50, 204), (17, 52, 20), mode="trilinear")[0, 0]
    assert torch.allclose(resize(stored, (17, 52, 20), clip=(50, 204)), wanted, atol=1e-3)
    nearest = F.interpolate(whole, (17, 52, 20), mode="nearest-exact")[0, 0]
    assert torch.equal(resize_labels(stored.astype(np.uint8), (17, 52, 20)), nearest.byte())


def test_z_score_is_undone_by_what_it_returns():
    imaging, _ = to_grid(*small_ct()[::2], SMALL)
    own, by = z_score(imaging.clone(), SMALL)
    assert float(own.mean()) == pytest.approx(0, abs=1e-3) and float(own.std()) == pytest.approx(1, abs=1e-3)
    assert torch.allclose(own * by[1] + by[0], imaging, atol=1e-3)
    given, by = z_score(imaging.clone(), SMALL.changed(z_score_by=(101.0, 76.9)))
    assert torch.allclose(given * 76.9 + 101, imaging, atol=1e-3) and by == (101.0, 76.9)
    with pytest.raises(CaseError, match="anna: anna.nii: all voxels are -79 HU after clipping"):
        z_score(torch.full((4, 4, 4), -79.0), SMALL, Path("anna.nii"))


@pytest.mark.parametrize("little", [False, True])
@pytest.mark.parametrize(("grid", "native"), [
    ((13, 9, 10), (33, 41, 50)), ((1, 30, 20), (1, 40, 44)), ((20, 20, 20), (3, 1, 60)),
])
def test_way_back_is_trilinear_then_argmax(grid, native, little):
    """Also of little foreground, of none, of what lies between native slices alone, and of a single slice."""
    probabilities = torch.rand(3, *grid, generator=torch.Generator().manual_seed(0)).softmax(0)
    if little:
        probabilities[0] = 1
        assert not to_native(probabilities, native, AFFINE).any()
        probabilities[:, :7, 3:8, 0:2] = torch.tensor([0.2, 0.1, 0.7]).view(3, 1, 1, 1)
    whole = F.interpolate(probabilities[None], native, mode="trilinear")[0].argmax(0)
    assert (to_native(probabilities, native, AFFINE) == whole.numpy()).mean() > 0.9999


@pytest.mark.parametrize("orientation", ["IPL", "RAS", "PIR"])
def test_way_back_leads_to_the_file_s_own_axes(orientation):
    labels, affine = small_ct().turned(orientation)[1:]
    one_hot = F.one_hot(torch.from_numpy(small_ct().labels).long(), 3).movedim(-1, 0).float()
    assert np.array_equal(to_native(one_hot, labels.shape, affine), labels)


def test_real_labels_survive_the_papers_spacing(kits19_labels):
    """A case with the score that a perfect network would have on the paper's grid."""
    labels, affine = read_nifti(Case(kits19_labels / "case_00176").segmentation)
    labels = labels.astype(np.uint8)
    grid, _ = to_grid(labels, affine, Preprocessing(resize_in_plane=None), labels=True)
    score = grid_ceiling(labels, affine, grid)
    assert score["kidney_and_tumour"] >= 0.98 and score["tumour"] >= 0.965

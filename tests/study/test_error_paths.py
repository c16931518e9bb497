"""Controlled errors on a box whose volumes and distances are known by hand, on phantoms and on a real label."""

import numpy as np
import pytest
import torch

from kitsnb.data.cases import Case, discover
from kitsnb.data.nifti import CaseError, write_nifti
from kitsnb.metric.score import kits19_score
from kitsnb.study.error_paths import PATHS, Geometry, crop, phantom_geometry, real_geometry, soft_logits


def box(spacing=(2.0, 1.0, 1.0)) -> Geometry:
    """A kidney of 10 x 20 x 20 voxels (20 mm a side) in 20 x 60 x 60, its upper half in the slice axis a tumour."""
    labels = np.zeros((20, 60, 60), np.uint8)
    labels[5:15, 20:40, 20:40] = 1
    labels[5:10, 20:40, 20:40] = 2
    return Geometry("box", labels, np.asarray(spacing), simulated=True)


@pytest.mark.parametrize("name", PATHS)
def test_a_path_starts_at_the_label_and_scores_fall_along_it(name):
    geometry, path = box(), PATHS[name]
    amounts = path.amounts(geometry, 5)
    assert amounts[0] == 0 and amounts[-1] == path.most(geometry)
    assert np.array_equal(path.make(geometry, 0.0), geometry.segmentation)
    tumour = [kits19_score(path.make(geometry, amount), geometry.segmentation)["tumour"] for amount in amounts]
    assert all(after <= before for before, after in zip(tumour, tumour[1:])) and tumour[1] < tumour[0]


def test_erosion_and_dilation_are_in_millimetres():
    geometry = box()
    eroded = PATHS["erosion"].make(geometry, 4.0) > 0
    assert np.array_equal(np.argwhere(eroded).min(0), [5 + 2, 24, 24]) and eroded.sum() == 6 * 12 * 12
    dilated = PATHS["dilation"].make(geometry, 4.0)
    assert np.array_equal(np.argwhere(dilated > 0).min(0), [5 - 2, 16, 16])
    assert dilated[3, 30, 30] == 2 and dilated[16, 30, 30] == 1  # the nearest label


def test_shift_leaves_background_behind():
    shifted = PATHS["shift"].make(box(), 12.0)
    assert np.array_equal(np.argwhere(shifted > 0).min(0), [5, 20, 32])
    assert (shifted > 0).sum() == 10 * 20 * 20
    assert not PATHS["shift"].make(box(), 60.0).any()


def test_volumes_of_missed_and_invented_tumour():
    geometry = box()
    assert geometry.tumour_ml == pytest.approx(5 * 20 * 20 * 2 / 1000)
    missed = PATHS["missed tumour"].make(geometry, 1.0)
    assert ((missed == 2).sum(), (missed == 1).sum()) == (2000 - 500, 2000 + 500)
    assert not (missed[9] == 2).any()  # from the lowest slice upwards
    assert not (PATHS["missed tumour"].make(geometry, 99.0) == 2).any()
    false = PATHS["false tumour"].make(geometry, 1.0)
    new = (false == 2) & (geometry.segmentation == 0)
    assert new.sum() == 500 and np.array_equal(false[~new], geometry.segmentation[~new])


def test_soft_logits_name_the_labels_and_are_unsure_at_borders():
    geometry = box()
    logits = soft_logits(geometry.segmentation, geometry.spacing, softness=2.0, most=5.0)
    assert logits.shape == (1, 3, 20, 60, 60)
    assert np.array_equal(logits[0].argmax(0).numpy(), geometry.segmentation)
    assert logits.abs().max() == 5
    assert float(logits[0, 1, 12, 20, 30]) == pytest.approx(1 / 2)  # 1 mm from the background
    assert torch.equal(soft_logits(np.zeros((3, 4, 5), np.uint8), (1, 1, 1))[0, :, 0, 0, 0], torch.tensor([5.0, -5.0, -5.0]))


def test_crop_stays_inside_and_holds_the_tumour():
    labels = np.zeros((30, 40, 50), np.uint8)
    labels[1:3, 36:39, 20:24] = 2
    assert crop(labels, (2.0, 1.0, 1.0), (20.0, 10.0, 16.0)).shape == (10, 10, 16)
    for extent in ((20.0, 10.0, 16.0), (500.0, 500.0, 500.0)):
        assert (crop(labels, (2.0, 1.0, 1.0), extent) == 2).sum() == 2 * 3 * 4


def test_phantom_geometry_is_called_simulated_and_repeats():
    one, again = (phantom_geometry(1, 0, (120.0, 120.0, 120.0)) for _ in range(2))
    assert one.simulated and np.array_equal(one.segmentation, again.segmentation)
    assert set(np.unique(one.segmentation)) == {0, 1, 2} and sum(one.shares_percent) == pytest.approx(100)


def test_a_case_without_tumour_is_named(tmp_path):
    folder = tmp_path / "case_00007"
    folder.mkdir()
    write_nifti(folder / "segmentation.nii.gz", np.ones((80, 5, 6), np.uint8), np.diag([-1.0, -1.0, -1.0, 1.0]))
    with pytest.raises(CaseError, match="case_00007.*no tumour"):
        real_geometry(Case(folder), (1, 1, 1), (10, 10, 10))


def test_real_geometry_keeps_the_tumour_volume(kits19_labels):
    case = next(case for case in discover(kits19_labels) if case.number == 122)
    geometry = real_geometry(case, (3.22, 1.62, 1.62), (257.6, 129.6, 129.6))
    assert not geometry.simulated and geometry.name == "case_00122"
    assert np.allclose(geometry.spacing, (3.22, 1.62, 1.62), rtol=0.01)
    assert geometry.tumour_ml == pytest.approx(30.22, rel=0.03)  # notebook 01's volume of the whole tumour

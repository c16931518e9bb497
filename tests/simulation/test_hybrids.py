"""Hybrids: simulated CT around label maps, repeatable and in place; refused cases are named."""

import shutil

import numpy as np
import pytest
from scipy import ndimage

from kitsnb.data.cases import Case, discover
from kitsnb.data.checks import check_cases, read_case
from kitsnb.data.geometry import orientation_of, spacing_of
from kitsnb.data.nifti import read_nifti, write_nifti
from kitsnb.preprocessing.resampling import reorient
from kitsnb.simulation import simulate_case, write_hybrid
from kitsnb.simulation.cases import labels_on_grid
from kitsnb.simulation.numbers import PLACE
from kitsnb.simulation.painter import KIDNEY, TUMOUR, paint, patient_axes

GRID = (6.0, 4.0, 4.0)
SHAPE = (30, 50, 70)
AFFINE = np.array([[0, 0, -4.0, 100], [0, -4.0, 0, 80], [-6.0, 0, 0, 50], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def labels():
    """A phantom's label map, axes IPL, and its affine."""
    phantom = simulate_case(seed=2, number=0)
    return reorient(phantom.segmentation, phantom.affine)


def ball(centre, radius=28):
    """Mask of a ball; ``centre`` in voxels, ``radius`` in mm."""
    offsets = np.indices(SHAPE) - np.reshape(centre, (3, 1, 1, 1))
    return ((offsets * np.reshape(GRID, (3, 1, 1, 1))) ** 2).sum(0) <= radius**2


def make_folder(folder, count=2):
    """Label maps of phantoms, without imaging."""
    for number in range(count):
        phantom = simulate_case(5, number)
        write_nifti(Case(folder / f"case_{number:05d}").segmentation, phantom.segmentation, phantom.affine)
    return folder


def test_hu_depend_on_labels_seed_and_number_alone(labels):
    first = paint(*labels, seed=1, number=7)
    turned, affine = reorient(*labels, "RAS")
    again = paint(turned, affine, seed=1, number=7)  # in another orientation, the same patient
    np.testing.assert_array_equal(reorient(again, affine)[0], first)
    assert (first != paint(*labels, seed=2, number=7)).mean() > 0.5
    assert (first != paint(*labels, seed=1, number=8)).mean() > 0.5


@pytest.mark.parametrize("axis, index", [(0, 0), (1, 0), (2, 69)])
def test_a_kidney_that_the_field_of_view_cuts_has_no_surface_there(axis, index):
    centre = [15, 25, 18] if axis < 2 else [15, 25, 52]
    other = [15, 25, 52] if axis < 2 else [15, 25, 18]
    centre[axis] = index
    kidneys = (ball(centre) | ball(other)).astype(np.uint8)
    hu = paint(kidneys, AFFINE, 0, 0)
    inside = ndimage.binary_erosion(kidneys > 0, border_value=1).take(index, axis)
    assert inside.any() and np.median(hu.take(index, axis)[inside]) > 0


@pytest.mark.parametrize("column, side", [(15, 1), (54, -1)])  # columns run to the patient's left, x to the right
def test_a_kidney_alone_lies_beside_the_midline(column, side):
    kidney = ball((15, 25, column)).astype(np.uint8)
    (z, y, x), size = patient_axes(kidney, np.array(GRID))
    assert x[column] == pytest.approx(side * PLACE[2], abs=4)
    assert z[15] == pytest.approx(0, abs=4) and y[25] == pytest.approx(PLACE[1] * size, abs=4)


@pytest.mark.parametrize("value, reason", [(0, "no kidney"), (2, "no kidney"), (1, "nothing else")])
def test_labels_that_nothing_can_be_painted_around_are_refused(value, reason):
    with pytest.raises(ValueError, match=reason):
        paint(np.full((8, 9, 10), value, np.uint8), AFFINE, 0, 0)


def test_labels_keep_volume_and_place_on_the_grid(labels):
    moved, affine = labels_on_grid(*labels, (3.22, 1.62, 1.62))
    assert moved.dtype == np.uint8 and orientation_of(affine) == "IPL"
    np.testing.assert_allclose(spacing_of(affine), (3.22, 1.62, 1.62), rtol=0.02)
    for label in (KIDNEY, TUMOUR):
        volumes, centres = [], []
        for array, matrix in (labels, (moved, affine)):
            volumes.append((array == label).sum() * abs(np.linalg.det(matrix)))
            centres.append(matrix[:3, :3] @ np.argwhere(array == label).mean(0) + matrix[:3, 3])
        assert volumes[1] == pytest.approx(volumes[0], rel=0.1)
        np.testing.assert_allclose(centres[0], centres[1], atol=1.5)


def test_written_cases_pass_every_check(tmp_path):
    source = make_folder(tmp_path / "labels")
    cases, refused = write_hybrid(source, tmp_path / "data", GRID, seed=1, workers=1)
    assert cases == discover(tmp_path / "data") and refused == {}
    assert [report.status for report in check_cases(cases)] == ["ok", "ok"]
    for case in cases:
        imaging, segmentation, affine = read_case(case)
        labels, expected = labels_on_grid(*read_nifti(source / case.name / "segmentation.nii.gz"), GRID)
        assert np.array_equal(segmentation, labels) and np.allclose(affine, expected, atol=1e-3)
        assert np.array_equal(imaging, paint(labels, expected, 1, case.number))


def test_a_refused_case_is_named_and_the_others_go_on(tmp_path):
    source = make_folder(tmp_path / "labels", 4)
    empty, cut, missing = (Case(source / f"case_{number:05d}").segmentation for number in (0, 1, 3))
    write_nifti(empty, np.zeros((30, 9, 10), np.uint8), AFFINE)
    cut.write_bytes(cut.read_bytes()[:-100])
    missing.unlink()
    cases, refused = write_hybrid(source, tmp_path / "data", GRID, seed=0, workers=2)
    assert [case.name for case in cases] == ["case_00002"] == [path.name for path in (tmp_path / "data").iterdir()]
    assert list(refused) == ["case_00000", "case_00001", "case_00003"]
    assert "no kidney" in refused["case_00000"]


def test_another_seed_or_label_is_painted_again_and_real_labels_are_never_overwritten(tmp_path):
    source, data = make_folder(tmp_path / "labels"), tmp_path / "data"
    (first, second), _ = write_hybrid(source, data, GRID, seed=0, workers=1)
    before = second.imaging.read_bytes()
    source = source.rename(tmp_path / "moved")  # names in receipts are relative
    shutil.copy(source / "case_00000" / "segmentation.nii.gz", source / "case_00001" / "segmentation.nii.gz")
    kept = first.imaging.stat().st_mtime_ns
    write_hybrid(source, data, GRID, seed=0, workers=1)
    assert first.imaging.stat().st_mtime_ns == kept and second.imaging.read_bytes() != before
    write_hybrid(source, data, GRID, seed=1, workers=1)
    assert first.imaging.stat().st_mtime_ns != kept
    with pytest.raises(ValueError, match="overwrite the real labels"):
        write_hybrid(source, source, GRID, 0)


@pytest.mark.parametrize("number", [5, 10, 151])  # one kidney, one that reaches the last slice, a horseshoe
def test_real_labels_are_painted(kits19_labels, number):
    _, native, affine = read_case(Case(kits19_labels / f"case_{number:05d}"), imaging=False)
    labels, matrix = labels_on_grid(native, affine, GRID)
    hu = paint(labels, matrix, seed=0, number=number)
    assert 15 < np.median(hu[labels == KIDNEY]) < 300
    assert np.quantile(hu[labels > 0], 0.01) > -300  # no air, and no more than fat, in kidney and tumour

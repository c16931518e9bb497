"""Hybrid: simulated CT around label maps, repeatable and in place, whatever the kidneys are; cases kept, or refused by name."""

import shutil

import numpy as np
import pytest
from scipy import ndimage

from kitsnb.data.cases import Case, discover
from kitsnb.data.checks import check_cases, read_case
from kitsnb.data.nifti import orientation_of, read_nifti, spacing_of, write_nifti
from kitsnb.files import NOTEBOOKS
from kitsnb.preprocessing.resampling import reorient
from kitsnb.receipts import RECEIPT
from kitsnb.simulation import hybrid
from kitsnb.simulation.hybrid import groups, labels_on_grid, patient_axes, simulate_imaging, write_hybrid
from kitsnb.simulation.organs import HU_RANGES, NUMBER, ORGANS
from kitsnb.simulation.phantom import simulate_case
from kitsnb.simulation.scene import KIDNEY, TUMOUR
from kitsnb.workflow.profile import load
from kitsnb.workflow.before import what_is_lacking

GRID = (6.0, 4.0, 4.0)
AFFINE = np.array([[0, 0, -4.0, 100], [0, -4.0, 0, 80], [-6.0, 0, 0, 50], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def labels():
    """A phantom's label map, axes IPL, and its affine."""
    phantom = simulate_case(seed=2, number=0)
    return reorient(phantom.segmentation, phantom.affine)


def imaging_of(*arguments, **settings):
    return simulate_imaging(*arguments, **settings)[0]


def ball(shape, centre, radius, spacing=GRID):
    """Mask of a ball; ``centre`` in voxels, ``radius`` in mm."""
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    return sum(((axis - c) * step) ** 2 for axis, c, step in zip(axes, centre, spacing, strict=True)) <= radius**2


def make_folder(folder, count=2):
    """Label maps of phantoms, without imaging."""
    for number in range(count):
        phantom = simulate_case(5, number)
        write_nifti(Case(folder / f"case_{number:05d}").segmentation, phantom.segmentation, phantom.affine)
    return folder


def test_equal_seed_and_number_give_equal_voxels(labels):
    first = imaging_of(*labels, seed=1, number=7)
    np.testing.assert_array_equal(first, imaging_of(*labels, seed=1, number=7))
    assert (first != imaging_of(*labels, seed=2, number=7)).mean() > 0.5
    assert (first != imaging_of(*labels, seed=1, number=8)).mean() > 0.5


def test_the_organ_map_follows_the_labels(labels):
    imaging, organs = simulate_imaging(*labels, seed=1, number=7)
    assert organs.shape == imaging.shape and organs.dtype == np.uint8 and set(np.unique(organs)) <= set(ORGANS)
    for label, name in ((KIDNEY, "kidney"), (TUMOUR, "tumour")):
        painted = organs == NUMBER[name]
        assert painted.any() and (labels[0][painted] > 0).mean() > 0.99
    assert {"liver", "spleen", "aorta", "vena_cava", "marrow", "colon", "small_bowel"} <= {ORGANS[n] for n in np.unique(organs)}
    for name in ("liver", "spleen", "muscle", "fat"):
        low, high = HU_RANGES[NUMBER[name]]
        assert low - 10 < np.median(imaging[organs == NUMBER[name]]) < high + 10


def test_orientation_does_not_change_the_patient(labels):
    segmentation, affine = labels
    expected = imaging_of(segmentation, affine, seed=0)
    turned, turned_affine = reorient(segmentation, affine, "RAS")
    imaging = imaging_of(np.ascontiguousarray(turned), turned_affine, seed=0)
    assert imaging.shape == turned.shape
    np.testing.assert_array_equal(reorient(imaging, turned_affine)[0], expected)


def test_the_labels_given_are_left_alone(labels):
    segmentation, affine = labels[0].copy(), labels[1].copy()
    imaging_of(segmentation, affine, seed=0)
    np.testing.assert_array_equal(segmentation, labels[0])
    np.testing.assert_array_equal(affine, labels[1])


def test_hounsfield_units_are_plausible():
    kidneys, tumours, rims = [], [], []
    for number in range(12):
        phantom = simulate_case(3, number)
        hu = imaging_of(phantom.segmentation, phantom.affine, seed=0, number=number)
        assert hu.dtype == np.int16 and hu.shape == phantom.segmentation.shape and hu.min() >= -1024
        assert np.median(hu[hu < -900]) == pytest.approx(-1000, abs=25)  # air
        fat = (hu > -150) & (hu < -50)
        assert fat.mean() > 0.05
        assert ((hu > 20) & (hu < 130)).mean() > 0.05  # muscle, liver, bowel
        assert np.quantile(hu, 0.995) > 180  # bone
        kidneys.append(np.median(hu[phantom.segmentation == KIDNEY]))
        tumours.append(np.median(hu[phantom.segmentation == TUMOUR]))
        foreground = phantom.segmentation > 0
        rims.append(np.median(hu[ndimage.binary_dilation(foreground, iterations=2) & ~foreground]))
    assert all(10 < value < 330 for value in kidneys) and all(0 < value < 330 for value in tumours)
    assert np.ptp(kidneys) > 60  # phases of the contrast differ
    assert np.median(tumours) < np.median(kidneys)
    assert np.median(rims) < np.median(tumours) - 30  # fat parts the kidney from its surroundings


@pytest.mark.parametrize("where", ["first slice", "last slice", "first row", "last column"])
def test_a_kidney_at_the_border_of_the_volume_is_painted(where):
    shape = (30, 50, 70)
    centres = {"first slice": (0, 25, 18), "last slice": (29, 25, 18), "first row": (15, 0, 18), "last column": (15, 25, 69)}
    centre = centres[where]
    segmentation = (ball(shape, centre, 28) | ball(shape, (15, 25, 52), 28)).astype(np.uint8)
    hu = imaging_of(segmentation, AFFINE, seed=0)
    assert 20 < np.median(hu[segmentation == 1]) < 330
    border = np.zeros(shape, bool)
    border[centre[0] if "slice" in where else slice(None), centre[1] if "row" in where else slice(None),
           centre[2] if "column" in where else slice(None)] = True
    inside = ndimage.binary_erosion(segmentation > 0, border_value=1) & border
    assert inside.any() and np.median(hu[inside]) > -50  # no fat and no air where the organ only leaves the field of view


@pytest.mark.parametrize("side, columns", [(1, 15), (-1, 54)])  # columns run to the patient's left, x to the right
def test_a_kidney_alone_is_beside_the_midline(side, columns):
    segmentation = ball((30, 50, 70), (15, 25, columns), 28).astype(np.uint8)
    (z, y, x), size = patient_axes(segmentation, np.array(GRID))
    assert x[columns] == pytest.approx(side * hybrid.KIDNEY_X, abs=4)
    assert z[15] == pytest.approx(0, abs=4) and y[25] == pytest.approx(hybrid.KIDNEY_Y * size, abs=4)
    hu = imaging_of(segmentation, AFFINE, seed=0)
    assert 20 < np.median(hu[segmentation == 1]) < 330


def test_two_kidneys_and_a_horseshoe_lie_about_the_midline():
    shape, spacing = (30, 50, 90), np.array(GRID)
    pair = (ball(shape, (15, 25, 20), 28) | ball(shape, (15, 25, 50), 28)).astype(np.uint8)
    assert len(groups(pair, patient_axes(pair, spacing)[0][2], spacing)) == 2
    assert patient_axes(pair, spacing)[0][2][35] == pytest.approx(0, abs=2)
    shoe = pair.copy()
    shoe[14:17, 23:27, 20:50] = 1
    (_, _, x), _ = patient_axes(shoe, spacing)
    assert x[35] == pytest.approx(0, abs=2) and len(groups(shoe, x, spacing)) == 1
    assert imaging_of(shoe, AFFINE, seed=0).shape == shape


def test_a_tumour_on_its_own_and_no_tumour_are_painted():
    shape = (30, 50, 70)
    kidney = ball(shape, (15, 25, 18), 28)
    for segmentation in (kidney.astype(np.uint8), 2 * kidney.astype(np.uint8)):
        assert 0 < np.median(imaging_of(segmentation, AFFINE, seed=3)[kidney]) < 330


@pytest.mark.parametrize("value, reason", [(0, "neither kidney nor tumour"), (1, "nothing but kidney and tumour")])
def test_labels_without_two_sides_are_refused(value, reason):
    with pytest.raises(ValueError, match=reason):
        imaging_of(np.full((8, 9, 10), value, np.uint8), AFFINE, seed=0)


def test_labels_keep_volume_and_place_on_the_grid(labels):
    segmentation, affine = labels
    moved, moved_affine = labels_on_grid(segmentation, affine, (3.22, 1.62, 1.62))
    assert moved.dtype == np.uint8 and orientation_of(moved_affine) == "IPL"
    np.testing.assert_allclose(spacing_of(moved_affine), (3.22, 1.62, 1.62), rtol=0.02)
    for label in (KIDNEY, TUMOUR):
        volumes, centres = [], []
        for array, matrix in ((segmentation, affine), (moved, moved_affine)):
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
        expected, expected_affine = labels_on_grid(*read_nifti(source / case.name / "segmentation.nii.gz"), GRID)
        np.testing.assert_array_equal(segmentation, expected)
        np.testing.assert_allclose(affine, expected_affine, atol=1e-3)
        np.testing.assert_array_equal(imaging, imaging_of(expected, expected_affine, 1, case.number))


def test_a_refused_case_is_named_and_the_others_go_on(tmp_path):
    source = make_folder(tmp_path / "labels", 4)
    empty, cut, missing = (Case(source / f"case_{number:05d}").segmentation for number in (0, 1, 3))
    write_nifti(empty, np.zeros((30, 9, 10), np.uint8), AFFINE)
    cut.write_bytes(cut.read_bytes()[:-100])
    missing.unlink()
    with pytest.warns(UserWarning, match="refused: case_0000"):
        cases, refused = write_hybrid(source, tmp_path / "data", GRID, workers=2)
    assert [case.name for case in cases] == ["case_00002"] == [path.name for path in (tmp_path / "data").iterdir()]
    assert list(refused) == ["case_00000", "case_00001", "case_00003"]
    assert "neither kidney nor tumour" in refused["case_00000"]
    assert "corrupt" in refused["case_00001"] and "missing" in refused["case_00003"]


def test_what_is_whole_is_kept_and_the_rest_is_made_again(tmp_path):
    source, data = make_folder(tmp_path / "labels"), tmp_path / "data"
    (first, second), _ = write_hybrid(source, data, GRID, workers=1)
    before, kept = second.imaging.read_bytes(), first.imaging.stat().st_mtime_ns
    second.imaging.write_bytes(before[:-50])
    (first.folder / RECEIPT).unlink()  # it is written last, so this is what a killed run leaves
    (first.folder / ".1-imaging.nii.gz").touch()
    write_hybrid(source, data, GRID, workers=2)
    assert first.imaging.stat().st_mtime_ns != kept and second.imaging.read_bytes() == before
    assert {path.name for path in first.folder.iterdir()} == {"imaging.nii.gz", "segmentation.nii.gz", "organs.nii.gz", RECEIPT}
    kept = first.imaging.stat().st_mtime_ns
    write_hybrid(source, data, GRID, workers=2)
    assert first.imaging.stat().st_mtime_ns == kept
    write_hybrid(source, data, GRID, seed=1, workers=1)
    assert first.imaging.stat().st_mtime_ns != kept and second.imaging.read_bytes() != before
    shutil.rmtree(source / "case_00001")
    assert [case.name for case in write_hybrid(source, data, GRID, seed=1, workers=1)[0]] == ["case_00000"]
    assert not second.folder.exists()


def test_what_the_labels_lack_is_said_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setenv("KITSNB_DATA", str(make_folder(tmp_path / "labels", 4)))
    (tmp_path / "labels" / "case_00001" / "imaging.nii.gz").touch()  # imaging is not read, so none is missed
    split = {"training": [0, 1], "validation": [2, 5], "excluded": []}
    overrides = [f"{stage}.{name}={value}" for stage in ("training", "data_analysis") for name, value in split.items()]
    profile = load(NOTEBOOKS / "profiles" / "hybrid.yml", overrides)
    assert profile.simulated and len(profile.experiments) == 7
    assert what_is_lacking(profile)[:2] == ["case_00004", "case_00005"]


def test_bad_arguments_are_refused(tmp_path):
    source = make_folder(tmp_path / "labels", 1)
    with pytest.raises(ValueError, match="overwrite the real labels"):
        write_hybrid(source, source)
    for arguments in ({"spacing": (3.0, 0.0, 1.0)}, {"spacing": (3.0, 1.0)}, {"seed": -1}):
        with pytest.raises(ValueError, match="at least 0"):
            write_hybrid(source, tmp_path / "data", **arguments)


@pytest.mark.parametrize("number", [5, 10, 151])  # one kidney, one that reaches the last slice, a horseshoe
def test_real_labels_are_painted(kits19_labels, number):
    _, native, affine = read_case(Case(kits19_labels / f"case_{number:05d}"), imaging=False)
    labels, matrix = labels_on_grid(native, affine)
    for label in (KIDNEY, TUMOUR):
        volume = (labels == label).sum() * abs(np.linalg.det(matrix))
        assert volume == pytest.approx((native == label).sum() * abs(np.linalg.det(affine)), rel=0.08)
    hu = imaging_of(labels, matrix, seed=0, number=number)
    assert 20 < np.median(hu[labels == KIDNEY]) < 330
    assert np.quantile(hu[labels > 0], 0.01) > -300  # no air, and no more than fat, in kidney and tumour

"""Phantoms: equal seeds give equal bytes, labels and HU are plausible, and stale cases go."""

import numpy as np
import pytest
from scipy import ndimage

from kitsnb.data.cases import discover
from kitsnb.data.checks import check_cases
from kitsnb.data.geometry import orientation_of, spacing_of
from kitsnb.data.nifti import read_nifti
from kitsnb.preprocessing.resampling import reorient
from kitsnb.simulation import Simulation, simulate_case, write_phantoms
from kitsnb.simulation.painter import KIDNEY, TUMOUR

COUNT = 20


@pytest.fixture(scope="module")
def phantoms():
    return [simulate_case(seed=1, number=number) for number in range(COUNT)]


def contents(folder):
    return {case.name: (case.imaging.read_bytes(), case.segmentation.read_bytes()) for case in discover(folder)}


def test_equal_seeds_give_equal_bytes_and_a_larger_set_contains_a_smaller(tmp_path):
    write_phantoms(tmp_path / "three", cases=3, seed=5)
    write_phantoms(tmp_path / "two", cases=2, seed=5)
    write_phantoms(tmp_path / "other", cases=2, seed=6)
    three, two, other = (contents(tmp_path / name) for name in ("three", "two", "other"))
    assert list(three) == ["case_00000", "case_00001", "case_00002"]
    assert two == {name: three[name] for name in two}
    assert two["case_00000"] != two["case_00001"] and two["case_00000"] != other["case_00000"]


def test_cases_of_an_earlier_build_are_removed(tmp_path):
    """Issue 20, item 5: four of seed 1, then two of seed 7, leave two of seed 7."""
    *_, unfinished, _ = write_phantoms(tmp_path / "data", cases=4, seed=1)
    unfinished.imaging.unlink()  # as a killed run leaves it
    own = tmp_path / "data" / "case_00009" / "imaging.nii.gz"
    own.parent.mkdir()
    own.write_text("a person's own file, which was not written here")
    write_phantoms(tmp_path / "data", cases=2, seed=7)
    assert own.read_text()
    own.unlink()
    own.parent.rmdir()
    write_phantoms(tmp_path / "fresh", cases=2, seed=7)
    assert contents(tmp_path / "data") == contents(tmp_path / "fresh")


def test_what_is_up_to_date_is_kept_and_what_is_damaged_is_made_again(tmp_path):
    first, second = write_phantoms(tmp_path, cases=2, seed=1)
    before = second.imaging.read_bytes()
    kept = first.imaging.stat().st_mtime_ns
    second.imaging.write_bytes(before[:-50])
    write_phantoms(tmp_path, cases=2, seed=1)
    assert first.imaging.stat().st_mtime_ns == kept
    assert second.imaging.read_bytes() == before


def test_files_pass_every_check(tmp_path):
    written = write_phantoms(tmp_path, cases=2, seed=1)
    assert [report.status for report in check_cases(written)] == ["ok", "ok"]
    for case in written:
        expected = simulate_case(1, case.number)
        for path, array in ((case.imaging, expected.imaging), (case.segmentation, expected.segmentation)):
            stored, affine = read_nifti(path)
            np.testing.assert_array_equal(stored, array)
            np.testing.assert_allclose(affine, expected.affine, atol=1e-4)
            assert stored.dtype == array.dtype


def test_spacings_sizes_and_orientations_vary(phantoms):
    orientations = [orientation_of(phantom.affine) for phantom in phantoms]
    assert {"IPL"} < set(orientations) <= {"IPL", "LPS", "RAS"} and orientations.count("IPL") > COUNT / 2
    upright = [reorient(phantom.segmentation, phantom.affine) for phantom in phantoms]
    spacings = np.array([spacing_of(affine) for _, affine in upright])
    assert ((3 <= spacings) & (spacings <= (7, 5, 5))).all()
    assert (np.ptp(spacings, axis=0) > 1.5).all()
    assert len({labels.shape for labels, _ in upright}) > COUNT / 2


def test_labels_are_two_kidneys_and_a_tumour(phantoms):
    for phantom in phantoms:
        labels, affine = reorient(phantom.segmentation, phantom.affine)
        assert labels.dtype == np.uint8 and np.unique(labels).tolist() == [0, 1, 2]
        ml = np.prod(spacing_of(affine)) / 1000
        assert 60 < ml * (labels == KIDNEY).sum() < 500
        assert 5 < ml * (labels == TUMOUR).sum() < 700
        assert (ndimage.binary_dilation(labels == TUMOUR) & (labels == KIDNEY)).any()
        middle = labels.shape[2] // 2
        left, right = (labels[:, :, :middle] > 0).sum(), (labels[:, :, middle:] > 0).sum()
        assert min(left, right) > 0.1 * (left + right)


def test_hu_are_those_of_ct(phantoms):
    kidneys, differences = [], []
    for phantom in phantoms:
        hu, labels = phantom.imaging, phantom.segmentation
        assert hu.dtype == np.int16 and hu.shape == labels.shape and hu.min() >= -1024
        assert np.median(hu[hu < -950]) == pytest.approx(-1000, abs=25)  # air
        assert ((hu > -140) & (hu < -60)).sum() > (labels > 0).sum()  # fat
        kidney, tumour = (hu[ndimage.binary_erosion(labels == label)].mean() for label in (KIDNEY, TUMOUR))
        assert 15 < kidney < 260 and 5 < tumour < 260
        kidneys.append(kidney)
        differences.append(tumour - kidney)
    assert np.ptp(kidneys) > 60  # phases of the contrast differ
    assert -60 < np.median(differences) < 0


def test_settings_are_checked():
    settings = Simulation.checked({"spacing": [3.22, 1.62, 1.62], "seed": 0})
    assert settings.spacing == (3.22, 1.62, 1.62) and settings.cases == 120
    for wrong in ({"cases": 0}, {"seed": -1}, {"spacing": [3.0, 0.0, 1.0]}, {"spacing": [3.0, 1.0]}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Simulation.checked(wrong)

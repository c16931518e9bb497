"""Phantoms: equal seeds give equal bytes, labels and HU are plausible, and stale cases go."""

import numpy as np
import pytest
from scipy import ndimage

from kitsnb.data.cases import discover
from kitsnb.data.geometry import spacing_of
from kitsnb.preprocessing.resampling import reorient
from kitsnb.simulation import simulate_case, write_phantoms
from kitsnb.simulation.painter import KIDNEY, TUMOUR


@pytest.fixture(scope="module")
def phantoms():
    return [simulate_case(seed=1, number=number) for number in range(20)]


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


def test_cases_of_an_earlier_build_are_removed_and_a_damaged_one_is_made_again(tmp_path):
    """Issue 20, item 5: four of seed 1, then two of seed 7, leave two of seed 7."""
    *_, unfinished, _ = write_phantoms(tmp_path / "data", cases=4, seed=1)
    unfinished.imaging.unlink()  # as a killed run leaves it
    own = tmp_path / "data" / "case_00009" / "own.txt"
    own.parent.mkdir()
    own.touch()
    first, second = write_phantoms(tmp_path / "data", cases=2, seed=7)
    own.unlink()  # still there
    own.parent.rmdir()
    made = contents(tmp_path / "data")
    second.imaging.write_bytes(b"damaged")
    kept = first.imaging.stat().st_mtime_ns
    write_phantoms(tmp_path / "data", cases=2, seed=7)
    write_phantoms(tmp_path / "fresh", cases=2, seed=7)
    assert contents(tmp_path / "data") == contents(tmp_path / "fresh") == made
    assert first.imaging.stat().st_mtime_ns == kept


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

"""Phantom: equal bytes for equal seeds, anatomy in its place."""

import gzip
import os
import signal
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from kitsnb.data import cases
from kitsnb.data.checks import check_cases
from kitsnb.data.nifti import orientation_of, read_nifti, spacing_of
from kitsnb.simulation import phantom as phantom_module
from kitsnb.simulation.organs import NUMBER, ORGANS
from kitsnb.simulation.phantom import reorient, simulate_case, write_dataset
from kitsnb.simulation.scene import KIDNEY, TUMOUR

COUNT = 36


@pytest.fixture(scope="module")
def phantoms():
    return [simulate_case(seed=3, number=number) for number in range(COUNT)]


def test_equal_seeds_give_equal_bytes(tmp_path):
    first = write_dataset(tmp_path / "first", count=3, seed=5)
    second = write_dataset(tmp_path / "second", count=1, seed=5, first=2)  # neither count nor start changes a case
    assert [case.name for case in first] == ["case_00000", "case_00001", "case_00002"]
    assert first[2].imaging.read_bytes() == second[0].imaging.read_bytes()
    assert first[2].segmentation.read_bytes() == second[0].segmentation.read_bytes()
    assert first[0].imaging.read_bytes() != first[1].imaging.read_bytes()
    other = write_dataset(tmp_path / "other", count=1, seed=6, first=2)
    assert other[0].imaging.read_bytes() != second[0].imaging.read_bytes()
    again = first[1].imaging.read_bytes()
    first[1].imaging.write_bytes(b"an interrupted run's rubbish")
    write_dataset(tmp_path / "first", count=3, seed=5)
    assert first[1].imaging.read_bytes() == again
    assert sorted(path.name for path in first[1].folder.iterdir()) == ["imaging.nii.gz", "organs.nii.gz", "segmentation.nii.gz"]


def test_files_are_kits19_like_and_pass_every_check(tmp_path):
    written = write_dataset(tmp_path, count=4, seed=1)
    assert cases.discover(tmp_path) == written
    reports = check_cases(written)
    assert [report.status for report in reports] == ["ok"] * 4
    for case in written:
        phantom = simulate_case(1, case.number)
        imaging, affine = read_nifti(case.imaging)
        segmentation, _ = read_nifti(case.segmentation)
        np.testing.assert_array_equal(imaging, phantom.imaging)
        np.testing.assert_array_equal(segmentation, phantom.segmentation)
        np.testing.assert_allclose(affine, phantom.affine, atol=1e-4)
        assert (imaging.dtype, segmentation.dtype) == (np.int16, np.uint8)
        header = nib.load(case.imaging).header
        assert header["sform_code"] > 0 and header["qform_code"] > 0
        np.testing.assert_allclose(header.get_sform(), header.get_qform(), atol=1e-3)
        data = case.imaging.read_bytes()
        assert data[3] == 0 and data[4:8] == bytes(4)  # gzip: no name, no time
        assert len(gzip.decompress(data)) == 352 + imaging.nbytes


def test_a_failed_write_leaves_no_half_file(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_dataset(tmp_path, count=1, seed=0)
    assert not cases.Case(tmp_path / "case_00000").imaging.exists()
    assert not list((tmp_path / "case_00000").iterdir())


def test_ctrl_c_ends_it_with_one_traceback(tmp_path):
    """That of the call itself; the threads that simulate end quietly with the case that they are at."""
    program = f"from kitsnb.simulation import write_dataset; write_dataset({str(tmp_path)!r}, 5000, 1)"
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not any(tmp_path.glob("case_*")):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT and said.count("Traceback") == 1
    assert said.rstrip().endswith("KeyboardInterrupt") and len(list(tmp_path.iterdir())) < 5000


@pytest.mark.parametrize("arguments", [{"count": -1, "seed": 0}, {"count": 1, "seed": -1}])
def test_negative_arguments_are_refused(tmp_path, arguments):
    with pytest.raises(ValueError, match="at least 0"):
        write_dataset(tmp_path, **arguments)


def test_cases_vary_as_in_kits19(phantoms):
    upright = [reorient(phantom, "IPL") for phantom in phantoms]
    spacings = np.array([spacing_of(phantom.affine) for phantom in upright])
    assert ((3 <= spacings[:, 0]) & (spacings[:, 0] <= 7)).all() and np.ptp(spacings[:, 0]) > 2
    assert ((3 <= spacings[:, 1]) & (spacings[:, 1] <= 5)).all() and np.ptp(spacings[:, 1]) > 1.5
    np.testing.assert_allclose(spacings[:, 1], spacings[:, 2])
    assert len({phantom.imaging.shape for phantom in upright}) > COUNT / 2
    orientations = [orientation_of(phantom.affine) for phantom in phantoms]
    assert set(orientations) == {"IPL", "LPS", "RAS"}
    assert orientations.count("IPL") > COUNT / 2
    assert len({tuple(phantom.affine[:3, 3]) for phantom in phantoms}) == COUNT


def test_every_voxel_keeps_its_place_when_reoriented(phantoms):
    original = phantoms[0]
    for wanted in ("LPS", "RAS", "PIR"):
        turned = reorient(original, wanted)
        assert orientation_of(turned.affine) == wanted
        for label in (KIDNEY, TUMOUR):
            np.testing.assert_allclose(centre(turned, label), centre(original, label), atol=1e-6)
        back = reorient(turned, "IPL")
        np.testing.assert_array_equal(back.imaging, reorient(original, "IPL").imaging)


def centre(phantom, label):
    """Centre of a label in world coordinates (mm)."""
    return phantom.affine[:3, :3] @ np.argwhere(phantom.segmentation == label).mean(axis=0) + phantom.affine[:3, 3]


def test_labels_and_volumes(phantoms):
    for phantom in phantoms:
        assert phantom.imaging.shape == phantom.segmentation.shape
        assert np.unique(phantom.segmentation).tolist() == [0, 1, 2]
        assert ndimage.label(phantom.segmentation == TUMOUR)[1] == 1
        millilitres = np.prod(spacing_of(phantom.affine)) / 1000
        assert 50 < millilitres * (phantom.segmentation == KIDNEY).sum() < 500
        assert 5 < millilitres * (phantom.segmentation == TUMOUR).sum() < 700
        touching = ndimage.binary_dilation(phantom.segmentation == TUMOUR) & (phantom.segmentation == KIDNEY)
        assert touching.any()


def test_a_tumour_has_the_volume_of_its_radius(monkeypatch):
    radii, place = [], phantom_module._place

    def record(scene, kidney, side, radius):
        radii.append(radius)
        return place(scene, kidney, side, radius)

    monkeypatch.setattr(phantom_module, "_place", record)
    ratios = []
    for number in range(COUNT):
        phantom = simulate_case(4, number)
        volume = np.prod(spacing_of(phantom.affine)) * (phantom.segmentation == TUMOUR).sum()
        ratios.append(volume / (4 / 3 * np.pi * radii[-1] ** 3))
    assert len(radii) == COUNT and min(radii) > 10 and max(radii) < 60
    # Lobes, and the abdominal wall or spine that a large one meets, spread single cases; the median stays.
    assert 0.8 < np.median(ratios) < 1.2 and min(ratios) > 0.3


def test_tumours_may_be_left_out():
    assert TUMOUR not in simulate_case(0, 0, tumours=0).segmentation
    assert TUMOUR in simulate_case(0, 0).segmentation


def test_hounsfield_units(phantoms):
    differences = []
    for phantom in phantoms:
        hu, labels = phantom.imaging, phantom.segmentation
        assert hu.min() >= -1024
        assert np.mean(np.abs(hu[hu < -900] + 1000)) < 20  # air
        kidney = np.median(hu[ndimage.binary_erosion(labels == KIDNEY)])
        tumour = np.median(hu[ndimage.binary_erosion(labels == TUMOUR)])
        assert 60 < kidney < 260 and 0 < tumour < 200
        assert tumour < kidney + 15
        fat = (hu > -140) & (hu < -60)
        assert fat.sum() > (labels > 0).sum()
        assert tumour > np.median(hu[fat]) + 60
        differences.append(kidney - tumour)
    assert np.median(differences) > 20


def test_the_organ_map_holds_what_is_labelled(phantoms):
    names = {name for phantom in phantoms for name in np.array([*ORGANS.values()])[np.unique(phantom.organs)]}
    assert set(ORGANS.values()) - names <= {"stone", "bladder", "heart", "lung"}  # these may lie outside the field of view
    for phantom in phantoms:
        tumour = phantom.segmentation == TUMOUR
        assert (phantom.organs[tumour] == NUMBER["tumour"]).mean() > 0.95
        assert not (phantom.organs[phantom.segmentation == 0] == NUMBER["tumour"]).any()


def test_anatomy_is_in_its_place(phantoms):
    """Liver on the patient's right, spine behind the kidneys, one kidney a side, in whatever orientation."""
    for phantom in phantoms:
        upright = reorient(phantom, "RAS")
        kidneys = upright.segmentation > 0
        middle = kidneys.shape[0] // 2
        liver, marrow = (np.argwhere(upright.organs == NUMBER[name]).mean(0) for name in ("liver", "marrow"))
        assert liver[0] > middle and marrow[1] < np.argwhere(kidneys)[:, 1].mean()
        left, right = kidneys[:middle].sum(), kidneys[middle:].sum()
        assert min(left, right) > 0.1 * (left + right)
        assert not kidneys[middle - 1 : middle + 1, : kidneys.shape[1] // 4].any()

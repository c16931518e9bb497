"""Measurements against closed forms on tiny cases, and against the known numbers of the real KiTS19 labels."""

import json
import math

import numpy as np
import pytest
from fingerprint import calibration, figures, measure

from kitsnb.data.cases import Case, discover
from kitsnb.data.nifti import write_nifti
from kitsnb.preprocessing.resampling import reorient
from kitsnb.simulation import simulate_case

#: A box of 2 x 3 x 4 voxels of kidney with a corner of 1 x 2 x 2 voxels of tumour.
SHAPE, SPACING = (6, 8, 10), (15.0, 5.0, 8.0)
VOXEL_ML = math.prod(SPACING) / 1000
AFFINE = np.array([[0, 0, -8.0, 0], [0, -5.0, 0, 0], [-15.0, 0, 0, 0], [0, 0, 0, 1]])


def labels():
    array = np.zeros(SHAPE, np.uint8)
    array[1:3, 2:5, 3:7] = 1
    array[1, 2:4, 3:5] = 2
    return array


def hu():
    """-1000 in the background, 100 and 101 in the kidney (10 voxels each), 40 in the tumour."""
    array = np.choose(labels(), [-1000, 100, 40]).astype(np.int16)
    array.flat[np.flatnonzero(labels() == 1)[1::2]] = 101
    return array


def write_case(folder, number, segmentation, imaging=None, orientation="IPL"):
    case = Case(folder / f"case_{number:05d}")
    for path, array in ((case.segmentation, segmentation), (case.imaging, imaging)):
        if array is not None:
            write_nifti(path, *map(np.ascontiguousarray, reorient(array, AFFINE, orientation)))
    return case


@pytest.mark.parametrize("orientation", ["IPL", "LPS", "PIR"])
def test_a_box_has_the_volume_slices_and_hu_of_a_box_whatever_the_file_s_axes(tmp_path, orientation):
    row = measure.measure_case(write_case(tmp_path, 0, labels(), hu(), orientation), True, None)
    assert (row["slices"], row["height"], row["width"]) == SHAPE
    assert [row[f"{axis}_mm"] for axis in ("slice", "height", "width")] == pytest.approx(SPACING)
    assert [row[name] for name in measure.VOXELS] == [456, 20, 4]
    assert row["kidney_ml"] == pytest.approx(20 * VOXEL_ML) and row["tumour_ml"] == pytest.approx(4 * VOXEL_ML)
    assert (row["kidney_hu"], row["tumour_hu"]) == (100, 40)
    values = np.repeat([100, 101, 40], [10, 10, 4])
    expected = {"low": 40, "high": 101, "mean": values.mean(), "sd": values.std()}
    assert measure.summarise_hu(row["hu"]) == pytest.approx(expected)


def test_hu_outside_the_bins_are_counted_at_their_ends_and_nothing_has_no_quantile():
    found = measure.hu_histogram(np.array([[[-5000, 9000]]]), np.zeros((1, 1, 2), np.uint8))
    assert found[0, 0] == found[0, -1] == 1 and found.sum() == 2
    assert math.isnan(measure.hu_quantile(np.zeros(4096, int), 0.5))


def test_summary_pools_voxels_and_is_plain_json(tmp_path):
    double = np.concatenate([labels(), np.zeros((18, 8, 10), np.uint8)])
    cases = [write_case(tmp_path, number, array) for number, array in enumerate((labels(), double, labels() % 2))]
    _, hu, summary = measure.measure_cases(cases, imaging=False)
    assert hu is None and summary["refused"] == {}
    assert summary["slices"] == {"mean": 12, "median": 6, "min": 6, "max": 24}
    assert summary["shares_percent"]["kidney"] == pytest.approx(100 * 60 / (480 * 6))
    assert summary["without_tumour"] == 1 and len(summary["not_512"]) == 3
    assert summary["tumour_ml"]["min"] == pytest.approx(4 * VOXEL_ML)  # the case without tumour is no tumour of 0 ml
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    _, _, summary = measure.measure_cases(cases[2:], imaging=False)
    assert summary["tumour_ml"] == {"min": None, "median": None, "max": None}


@pytest.mark.parametrize("simulated", [True, False])
def test_a_bad_case_is_refused_and_every_figure_says_when_its_data_are_simulated(tmp_path, simulated):
    cases = [write_case(tmp_path, number, labels(), hu()) for number in range(3)]
    cases.append(write_case(tmp_path, 3, labels()))
    with pytest.raises(ValueError, match="case_00003"):
        measure.measure_cases(cases[3:])
    table, counts, summary = measure.measure_cases(cases)
    assert counts.sum() == 3 * math.prod(SHAPE) and counts[1, measure.HU == 101] == 30
    assert list(summary["refused"]) == ["case_00003"] and "missing" in summary["refused"]["case_00003"]
    drawn = [draw(table, simulated) for draw in (figures.geometry, figures.imbalance, figures.volumes)]
    drawn.append(figures.intensities(counts, (-79, 304), simulated))
    drawn.append(figures.clipping(hu(), 1, (-79, 304), SPACING, simulated))
    for figure in drawn:
        figure.canvas.draw()
        assert ("simulated CT" in figure.get_suptitle()) == simulated


def test_a_slab_is_measured_beside_the_same_slab_painted(tmp_path):
    """The slab's voxels are 1 x 2 x 2 of the label's, its first slice is the label's fourth."""
    phantom = simulate_case(1, 0)
    segmentation, affine = map(np.array, reorient(phantom.segmentation, phantom.affine))
    write_nifti(Case(tmp_path / "labels" / "case_00000").segmentation, segmentation, affine)
    steps = np.diag([1.0, 2, 2, 1])
    steps[:3, 3] = (3, 4.5, 6.5)
    part = np.ascontiguousarray(segmentation[3:, 4:, 6:][:, ::2, ::2][:, :-1, :-1])
    slab = Case(tmp_path / "slabs" / "case_00000")
    write_nifti(slab.segmentation, part, affine @ steps)
    write_nifti(slab.imaging, 100 * part.astype(np.int16) - 50, affine @ steps)
    painted, found = calibration.paint_slab(slab, Case(tmp_path / "labels" / "case_00000"), seed=0)
    assert painted.shape == part.shape and (found == part).mean() > 0.97
    pairs = list(calibration.read_pairs(tmp_path / "slabs", tmp_path / "labels", range(2)))
    table = calibration.measure_pairs(pairs)
    assert table.iloc[0, :6].tolist() == ["real", 50, 0, 150, 0, 100] and table.source[1] == "simulated"
    said = calibration.calibration_table(table).set_index("measure")
    assert said.real["tumour less kidney (HU)"] == "100 (100 to 100)" and said.index[-1] == "correlation of the two means"
    drawn = calibration.calibration_figure(table)
    drawn.canvas.draw()
    calibration.picture_pairs(pairs).canvas.draw()


def test_texture_border_and_fat_are_measured_in_mm():
    hu = np.full((9, 40, 40), -100.0)
    labels = np.zeros(hu.shape, np.uint8)
    labels[:, 12:28, 12:28] = 1
    hu[labels == 1] = 80
    hu[:, :, :12] = 50  # half of a shell's left side is muscle
    row = calibration.measure(hu, labels, np.array([3.0, 1.0, 1.0]))
    assert row["texture (HU)"] == 0 and row["step at the border (HU)"] == pytest.approx(142, abs=8)
    assert 60 < row["fat within 10 mm (%)"] < 80 and np.isnan(row["tumour less kidney (HU)"])
    noisy = hu + np.random.default_rng(0).normal(0, 10, hu.shape)
    assert calibration.measure(noisy, labels, np.array([3.0, 1.0, 1.0]))["texture (HU)"] == pytest.approx(9.8, abs=0.4)


def test_the_real_labels_have_the_known_fingerprint(kits19_labels):
    table, _, summary = measure.measure_cases(discover(kits19_labels)[:4], imaging=False)
    assert summary["refused"] == {} and summary["not_512"] == []
    assert table.slices.tolist() == [611, 602, 261, 270]

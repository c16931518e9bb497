"""Measurements against closed forms on tiny cases, and against the known numbers of the real KiTS19 labels."""

import json
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from fingerprint import figures
from fingerprint import measure as fingerprint

from kitsnb.data.cases import Case, discover
from kitsnb.data.nifti import CaseError
from kitsnb.files import write_json
from kitsnb.drawing import three_views

#: A box of 2 x 3 x 4 voxels of kidney with a corner of 1 x 2 x 2 voxels of tumour.
SHAPE, SPACING = (6, 8, 10), (15.0, 5.0, 8.0)
VOXEL_ML = math.prod(SPACING) / 1000


def labels() -> np.ndarray:
    array = np.zeros(SHAPE, np.uint8)
    array[1:3, 2:5, 3:7] = 1
    array[1, 2:4, 3:5] = 2
    return array


def write_case(folder: Path, number: int, segmentation: np.ndarray, imaging=None, orientation: str = "IPL") -> Case:
    """A case whose arrays are given in KiTS19's orientation, written with the axes of ``orientation``."""
    case = Case(folder / f"case_{number:05d}")
    case.folder.mkdir(parents=True)
    spacing = dict(zip(("IS", "AP", "RL"), SPACING, strict=True))
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    order, flips = [], []
    for axis, code in enumerate(orientation):
        pair = next(pair for pair in spacing if code in pair)
        affine[{"RL": 0, "AP": 1, "IS": 2}[pair], axis] = spacing[pair] * (1 if code in "RAS" else -1)
        order.append(list(spacing).index(pair))
        flips.append(1 if code in "IPL" else -1)
    for path, array in ((case.segmentation, segmentation), (case.imaging, imaging)):
        if array is not None:
            turned = array.transpose(order)[tuple(slice(None, None, step) for step in flips)]
            nib.save(nib.Nifti1Image(np.ascontiguousarray(turned), affine), path)
    return case


def hu() -> np.ndarray:
    """-1000 in the background, 100 and 101 in the kidney (10 voxels each), 40 in the tumour."""
    array = np.full(SHAPE, -1000, np.int16)
    kidney = np.flatnonzero(labels() == 1)
    array.flat[kidney[::2]], array.flat[kidney[1::2]] = 100, 101
    array[labels() == 2] = 40
    return array


def test_a_box_has_the_volume_and_slices_of_a_box(tmp_path):
    row = fingerprint.measure_case(write_case(tmp_path, 0, labels()), imaging=False)
    assert (row["slices"], row["height"], row["width"]) == SHAPE
    assert [row[f"{axis}_mm"] for axis in ("slice", "height", "width")] == pytest.approx(SPACING)
    assert (row["background_voxels"], row["kidney_voxels"], row["tumour_voxels"]) == (456, 20, 4)
    assert row["kidney_ml"] == pytest.approx(20 * VOXEL_ML)
    assert row["tumour_ml"] == pytest.approx(4 * VOXEL_ML)
    assert (row["kidney_slices"], row["tumour_slices"]) == (2, 1)
    assert row["tumour_mm"] == pytest.approx((6 * 4 * math.prod(SPACING) / math.pi) ** (1 / 3))
    assert "hu" not in row


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "PIR", "SAR"])
def test_the_row_follows_the_patient_not_the_file(tmp_path, orientation):
    kits19 = fingerprint.measure_case(write_case(tmp_path / "kits19", 0, labels(), hu()))
    other = fingerprint.measure_case(write_case(tmp_path / "other", 0, labels(), hu(), orientation))
    assert other.pop("orientation") == orientation and kits19.pop("orientation") == "IPL"
    assert np.array_equal(other.pop("hu"), kits19.pop("hu"))
    assert other == pytest.approx(kits19)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_the_stored_type_changes_nothing(tmp_path, dtype):
    row = fingerprint.measure_case(write_case(tmp_path, 0, labels().astype(dtype)), imaging=False)
    assert (row["kidney_voxels"], row["tumour_voxels"], row["dtype"]) == (20, 4, np.dtype(dtype).name)


def test_equivalent_diameter_of_a_ball():
    radius = 13.0
    assert fingerprint.equivalent_diameter(4 / 3 * math.pi * radius**3 / 1000) == pytest.approx(2 * radius)


def test_hu_of_each_label(tmp_path):
    row = fingerprint.measure_case(write_case(tmp_path, 0, labels(), hu()))
    assert row["kidney_hu"] == 100 and row["tumour_hu"] == 40
    counts = {name: {int(fingerprint.HU[i]): int(n[i]) for i in np.flatnonzero(n)}
              for name, n in zip(fingerprint.CLASSES, row["hu"], strict=True)}
    assert counts == {"background": {-1000: 456}, "kidney": {100: 10, 101: 10}, "tumour": {40: 4}}
    values = np.repeat([100, 101, 40], [10, 10, 4])
    found = fingerprint.summarise_hu(row["hu"])
    assert found["mean"] == pytest.approx(values.mean()) and found["sd"] == pytest.approx(values.std())
    assert (found["low"], found["high"]) == (40, 101)


def test_hu_histogram_in_blocks_equals_one_of_the_whole(monkeypatch):
    rng = np.random.default_rng(0)
    volume = np.asfortranarray(rng.normal(0, 900, (7, 9, 11)))
    segmentation = np.asfortranarray(rng.integers(0, 3, volume.shape).astype(np.uint8))
    monkeypatch.setattr(fingerprint, "BLOCK", 50)
    found = fingerprint.hu_histogram(volume, segmentation)
    for label in range(3):
        rounded = np.clip(np.rint(volume[segmentation == label]), -1024, 3071)
        assert np.array_equal(found[label], np.histogram(rounded, bins=np.arange(-1024.5, 3072))[0])


def test_hu_outside_the_bins_are_counted_at_their_ends():
    found = fingerprint.hu_histogram(np.array([[[-5000, 9000]]]), np.zeros((1, 1, 2), np.uint8))
    assert found[0, 0] == found[0, -1] == 1 and found.sum() == 2


def test_quantile_of_nothing_is_undefined():
    assert math.isnan(fingerprint.hu_quantile(np.zeros(4096, int), 0.5))


def test_summary_pools_voxels_and_is_plain_json(tmp_path):
    double = np.concatenate([labels(), np.zeros((18, 8, 10), np.uint8)])
    cases = [write_case(tmp_path, 0, labels()), write_case(tmp_path, 1, double),
             write_case(tmp_path, 2, labels() % 2, orientation="LPS")]
    found = fingerprint.measure_cases(cases, imaging=False)
    summary = fingerprint.summarise(found.table)
    assert found.hu is None and found.refused == {}
    assert summary["slices"] == {"mean": 12, "median": 6, "min": 6, "max": 24}
    assert summary["shares_percent"]["kidney"] == pytest.approx(100 * 60 / (480 * 6))
    assert summary["shares_percent"]["tumour"] == pytest.approx(100 * 8 / (480 * 6))
    assert sum(summary["shares_percent"].values()) == pytest.approx(100)
    assert summary["orientations"] == {"IPL": 2, "LPS": 1} and summary["without_tumour"] == 1
    assert summary["tumour_ml"]["min"] == pytest.approx(4 * VOXEL_ML)  # the case without tumour is no tumour of 0 ml
    assert summary["in_plane_shapes"] == {"8x10": 3} and len(summary["not_512"]) == 3
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_hu_are_summed_over_the_cases(tmp_path):
    found = fingerprint.measure_cases([write_case(tmp_path, number, labels(), hu()) for number in range(3)])
    assert found.hu.sum() == 3 * math.prod(SHAPE) and found.hu[1, fingerprint.HU == 101] == 30
    assert "hu" not in found.table


def test_what_was_measured_is_read_back(tmp_path):
    with pytest.raises(FileNotFoundError, match="run make"):
        fingerprint.read_fingerprint(tmp_path)
    found = fingerprint.measure_cases([write_case(tmp_path, number, labels(), hu()) for number in range(2)])
    found.save(tmp_path)
    write_json(tmp_path / "summary.json", {"refused": {"case_00002": "cut"}, "noted": {}})
    read, summary = fingerprint.read_fingerprint(tmp_path)
    pd.testing.assert_frame_equal(read.table, found.table)
    assert np.array_equal(read.hu, found.hu) and read.refused == summary["refused"] == {"case_00002": "cut"}


def test_no_tumour_anywhere_gives_no_volumes(tmp_path):
    case = write_case(tmp_path, 0, labels() % 2)
    summary = fingerprint.summarise(fingerprint.measure_cases([case], imaging=False).table)
    assert set(summary["tumour_ml"].values()) == {None}


def test_bad_cases_are_refused_by_name_and_the_others_go_on(tmp_path):
    good = write_case(tmp_path, 0, labels(), hu())
    without_imaging = write_case(tmp_path, 1, labels())
    wrong_label = write_case(tmp_path, 2, labels() * 2, hu())
    cut = write_case(tmp_path, 3, labels(), hu())
    cut.segmentation.write_bytes(cut.segmentation.read_bytes()[:-4])
    found = fingerprint.measure_cases([good, without_imaging, wrong_label, cut])
    assert found.table.case.tolist() == ["case_00000"]
    assert {name: reason.split(":")[0] for name, reason in found.refused.items()} == {
        "case_00001": "imaging.nii.gz", "case_00002": "segmentation.nii.gz", "case_00003": "segmentation.nii.gz"
    }
    assert "missing" in found.refused["case_00001"] and "4" in found.refused["case_00002"]
    with pytest.raises(CaseError):
        fingerprint.measure_case(wrong_label)
    with pytest.raises(ValueError, match="case_00002"):
        fingerprint.measure_cases([wrong_label])


def clinical_entry(number: int, size_cm: float) -> dict:
    spacing = dict(zip(("z_spacing", "y_spacing", "x_spacing"), SPACING, strict=True))
    return {"case_id": f"case_{number:05d}", "radiographic_size": size_cm, "voxel_spacing": spacing}


def test_clinical_sizes_are_compared_in_mm(tmp_path):
    segmentations = [labels(), np.where(labels() == 1, 2, 0).astype(np.uint8), labels() * 0]
    segmentations[2][:, 2:6, 2:6] = 2
    cases = [write_case(tmp_path, number, segmentation) for number, segmentation in enumerate(segmentations)]
    table = fingerprint.measure_cases(cases, imaging=False).table
    sizes = table.tumour_mm / 10 / np.array([1, 1.25, 1.5])
    entries = [clinical_entry(number, size_cm) for number, size_cm in enumerate(sizes)]
    entries[1]["voxel_spacing"]["z_spacing"] = 4.0
    (tmp_path / "kits.json").write_text(json.dumps(entries))
    clinical = fingerprint.read_clinical(tmp_path / "kits.json")
    merged = table.merge(clinical, on="case", suffixes=("", "_clinical"))
    found = fingerprint.compare_clinical(merged)
    assert found["cases"] == 3 and found["other_spacing"] == 1
    assert found["median_ratio"] == pytest.approx(1.25) and found["rank_correlation"] == pytest.approx(1)
    few = fingerprint.compare_clinical(merged.head(2))
    assert few["median_ratio"] is None and few["rank_correlation"] is None


@pytest.mark.parametrize("text", ["", "{}", "[]", "[1]", '[{"case_id": "case_00000"}]'])
def test_a_broken_clinical_table_is_named(tmp_path, text):
    (tmp_path / "kits.json").write_text(text)
    with pytest.raises(ValueError, match="kits.json is not KiTS19's clinical table"):
        fingerprint.read_clinical(tmp_path / "kits.json")


@pytest.mark.parametrize("simulated", [True, False])
def test_every_figure_says_when_its_data_are_simulated(tmp_path, simulated):
    found = fingerprint.measure_cases([write_case(tmp_path, n, labels(), hu()) for n in range(3)])
    table = found.table.assign(radiographic_mm=found.table.tumour_mm * 1.1)
    roles = dict(zip(table.case, ("training", "validation", "excluded"), strict=True))
    drawn = [
        figures.geometry(table, simulated),
        three_views(hu(), {"label": labels()}, SPACING, "case_00000", simulated),
        three_views(None, {"label": labels()}, SPACING, "case_00000", simulated),
        figures.imbalance(table, simulated),
        figures.volumes(table, simulated),
        figures.intensities(found.hu, fingerprint.HU, (-79, 304), simulated),
        figures.clinical_sizes(table, simulated),
        figures.split(table, roles, simulated),
        figures.clipping(hu(), 1, (-79, 304), SPACING, simulated),
    ]
    for figure in drawn:
        figure.canvas.draw()
        assert ("simulated CT" in figure.get_suptitle()) == simulated


def test_figures_without_any_tumour_still_draw(tmp_path):
    table = fingerprint.measure_cases([write_case(tmp_path, 0, labels() % 2)], imaging=False).table
    for figure in (figures.geometry(table, False), figures.imbalance(table, False), figures.volumes(table, False)):
        figure.canvas.draw()


def test_the_real_labels_have_the_known_fingerprint(kits19_labels):
    cases = discover(kits19_labels)
    if len(cases) != 210:
        pytest.skip(f"KITSNB_DATA holds {len(cases)} cases; the known numbers are those of all 210")
    found = fingerprint.measure_cases(cases, imaging=False)
    summary = fingerprint.summarise(found.table)
    assert found.refused == {} and summary["cases"] == 210
    assert summary["slices"] == {"mean": pytest.approx(216.3, abs=0.05), "median": 108, "min": 29, "max": 1059}
    assert summary["slice_spacing_mm"] == {"min": 0.5, "median": 3, "max": 5}
    in_plane = {"min": 0.4375, "median": pytest.approx(0.78, abs=5e-3), "max": pytest.approx(1.041, abs=5e-4)}
    assert summary["in_plane_spacing_mm"] == in_plane
    assert summary["in_plane_shapes"] == {"512x512": 209, "512x796": 1} and summary["not_512"] == ["case_00160"]
    shares = {"background": 99.148, "kidney": 0.684, "tumour": 0.168}
    assert summary["shares_percent"] == pytest.approx(shares, abs=5e-4)
    assert summary["orientations"] == {"IPL": 210} and summary["without_tumour"] == 0
    assert list(summary["tumour_ml"].values()) == pytest.approx([0.8, 8, 30, 94, 1464], abs=1)
    assert found.table.dtype.value_counts().to_dict() == {"uint8": 201, "uint16": 9}


def test_the_real_clinical_table_agrees_with_the_real_labels(kits19_labels):
    cases = discover(kits19_labels)[:12]
    table = fingerprint.measure_cases(cases, imaging=False).table
    clinical = fingerprint.read_clinical(kits19_labels / "kits.json")
    found = fingerprint.compare_clinical(pd.merge(table, clinical, on="case", suffixes=("", "_clinical")))
    assert found["cases"] == len(cases) and found["other_spacing"] == 0
    assert 0.5 < found["median_ratio"] < 1.5 and found["rank_correlation"] > 0.7

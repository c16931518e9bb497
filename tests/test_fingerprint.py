"""Measurements of a data set, on cases whose numbers can be worked out by hand, and on the real labels."""

import math

import numpy as np
import pandas as pd
import pytest

from kitsnb.cases import Case, discover, write_nifti
from kitsnb.fingerprint import HU, equivalent_diameter, measure_case, measure_cases, summarise, summarise_hu

#: Array axes to the patient's right, front and head; spacing 2, 3, 5 mm.
AFFINE = np.diag([2.0, 3.0, 5.0, 1.0])


def made_case(folder, number=0, tumour=True) -> Case:
    """8 x 6 x 4 voxels (side, front, head): 10 voxels of kidney at 100 HU, two of tumour at 60 HU, the rest at -100 HU."""
    case = Case(folder / f"case_{number:05d}")
    labels = np.zeros((8, 6, 4), np.uint8)
    labels[0, 0:5, 1:3] = 1
    if tumour:
        labels[4, 2, 2:4] = 2
    write_nifti(case.segmentation, labels, AFFINE)
    write_nifti(case.imaging, np.choose(labels, [-100, 100, 60]).astype(np.int16), AFFINE)
    return case


def test_a_case_measured_by_hand(tmp_path):
    row = measure_case(made_case(tmp_path))
    assert (row["slices"], row["height"], row["width"]) == (4, 6, 8)
    assert (row["slice_mm"], row["height_mm"], row["width_mm"]) == (5, 3, 2)
    assert (row["background_voxels"], row["kidney_voxels"], row["tumour_voxels"]) == (180, 10, 2)
    assert row["kidney_ml"] == pytest.approx(0.3) and row["tumour_ml"] == pytest.approx(0.06)
    assert (row["kidney_slices"], row["tumour_slices"]) == (2, 2)
    assert (row["kidney_hu"], row["tumour_hu"]) == (100, 60) and row["orientation"] == "RAS"


def test_a_summary_worked_by_hand(tmp_path):
    found = measure_cases([made_case(tmp_path, 0), made_case(tmp_path, 1, tumour=False)])
    summary = summarise(found.table)
    assert summary["cases"] == 2 and summary["without_tumour"] == 1 and summary["in_plane_shapes"] == {"6x8": 2}
    assert summary["shares_percent"] == pytest.approx({"background": 100 * 362 / 384, "kidney": 2000 / 384, "tumour": 200 / 384})
    assert summary["tumour_ml"]["median"] == pytest.approx(0.06) and summary["slices"]["mean"] == 4
    assert found.hu.sum() == 384 and found.hu[1, HU == 100] == 20


def test_foreground_hu_by_hand():
    hu = np.zeros((3, 4096), int)
    hu[1, HU == 100], hu[2, HU == 50] = 3, 1
    assert summarise_hu(hu) == pytest.approx({"low": 50, "high": 100, "mean": 87.5, "sd": math.sqrt(3) * 12.5}, abs=1)


def test_equivalent_diameter_of_a_ball():
    assert equivalent_diameter(4 / 3 * math.pi * 15**3 / 1000) == pytest.approx(30)


def test_a_bad_case_is_refused_and_the_others_measured(tmp_path):
    cases = [made_case(tmp_path, number) for number in range(3)]
    cases[1].imaging.unlink()
    found = measure_cases(cases)
    assert list(found.table.case) == ["case_00000", "case_00002"] and "missing" in found.refused["case_00001"]
    with pytest.raises(ValueError, match="no usable case"):
        measure_cases(cases[1:2])


def test_all_real_labels(kits19_labels):
    summary = summarise(measure_cases(discover(kits19_labels), imaging=False).table)
    slices, shares = summary["slices"], summary["shares_percent"]
    assert (round(slices["mean"], 1), slices["median"], slices["min"], slices["max"]) == (216.3, 108, 29, 1059)
    assert (summary["slice_spacing_mm"]["min"], summary["slice_spacing_mm"]["max"]) == (0.5, 5)
    assert summary["not_512"] == ["case_00160"] and summary["without_tumour"] == 0
    assert pd.Series(shares).round(3).to_dict() == {"background": 99.148, "kidney": 0.684, "tumour": 0.168}

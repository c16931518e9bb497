"""What is looked at: reading a CT with its labels, facts, errors, and refusals."""

import gzip

import numpy as np
import pytest
from viewing.conftest import write

from kitsnb.data.checks import Accept
from kitsnb.viewing.show import write_page
from kitsnb.viewing.scan import Given, find_scans, read_scan
from kitsnb.viewing.still import find_errors, gallery


def test_a_case_with_its_prediction(folder):
    found = find_scans(folder / "data", prediction=folder / "run")
    assert [given.prediction is None for given in found.values()] == [True, False]
    scan = read_scan(found["case_00007"])
    errors = find_errors(**scan.layers)
    assert np.bincount(errors.ravel())[1:].tolist() == [1, 1, 1]
    assert (errors[3, 5, 4], errors[0, 0, 0], errors[4, 6, 5]) == (1, 2, 3)
    assert scan.facts.startswith("12 x 20 x 24 voxels of 9.00 x 8.00 x 8.00 mm")
    assert f"label: kidney {324 * 576 / 1000:.0f} ml, tumour {36 * 576 / 1000:.1f} ml" in scan.facts
    assert scan.layers["label"][scan.centre] == 2
    figure = gallery([("worst", scan), ("best", scan)], "Two cases", simulated=True)
    assert len(figure.axes) == 6 and "simulated" in figure.get_suptitle()


def test_what_goes_to_the_viewer_is_in_one_order_however_it_was_stored(folder):
    scan = read_scan(find_scans(folder / "data")["case_00006"])
    as_ras = np.ascontiguousarray(scan.imaging.transpose(2, 1, 0)[::-1, ::-1, ::-1])
    turned = Given("turned", write(folder / "turned.nii.gz", as_ras, np.diag([*scan.spacing[::-1], 1])))
    for number, one in enumerate((scan, read_scan(turned))):
        write_page(folder / f"page{number}", [("turned", one)], title="turned")
        stored = gzip.decompress((folder / f"page{number}" / "cases" / "0-imaging.bin").read_bytes())
        assert stored == scan.imaging.tobytes()
    assert one.layers == {} and list(find_scans(folder / "data" / "case_00007" / "imaging.nii.gz")) == ["case_00007"]


@pytest.mark.parametrize("name, wanted", [("1000012", None), ("1000019", "1000019"), ("anna_0000", "anna")])
def test_labels_are_found_by_the_name_of_their_case_never_by_a_number_within_it(tmp_path, name, wanted):
    """The last name is as nnU-Net has it."""
    for label in ("1000019", "anna"):
        write(tmp_path / "others" / f"{label}.nii.gz", np.zeros((2, 2, 2), np.uint8))
    imaging = write(tmp_path / f"{name}.nii.gz", np.zeros((2, 2, 2), np.int16))
    (given,) = find_scans(imaging, prediction=tmp_path / "others").values()
    assert given.prediction == (wanted and tmp_path / "others" / f"{wanted}.nii.gz")


def test_a_label_map_is_for_label_and_prediction_each(folder):
    given = find_scans(folder / "data", prediction=folder / "run")["case_00007"]
    swap = Accept({1: 2, 2: 1})
    plain = read_scan(given).layers
    first = read_scan(given, swap).layers
    second = read_scan(given, None, swap).layers
    assert np.array_equal(first["label"] == 2, plain["label"] == 1)
    assert np.array_equal(first["prediction"], plain["prediction"])
    assert np.array_equal(second["prediction"] == 1, plain["prediction"] == 2)

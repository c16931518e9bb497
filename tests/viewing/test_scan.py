"""What is looked at: reading a CT with its labels, facts, errors, and refusals."""

import numpy as np

from kitsnb.data.checks import Accept
from kitsnb.viewing.scan import find_scans, read_scan
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


def test_a_label_map_is_for_label_and_prediction_each(folder):
    given = find_scans(folder / "data", prediction=folder / "run")["case_00007"]
    swap = Accept({1: 2, 2: 1})
    plain = read_scan(given).layers
    first = read_scan(given, swap).layers
    second = read_scan(given, None, swap).layers
    assert np.array_equal(first["label"] == 2, plain["label"] == 1)
    assert np.array_equal(first["prediction"], plain["prediction"])
    assert np.array_equal(second["prediction"] == 1, plain["prediction"] == 2)

"""The same spoilt files in every room that reads cases: each names five of ten and uses the other five."""

import io
from pathlib import Path

import pytest
from helpers.broken_cases import check_named, spoil, with_header, write
from helpers.network_at_hand import Bright
from rich.console import Console

from kitsnb.data.cases import Case
from kitsnb.data.checks import check_cases
from fingerprint.measure import measure_cases
from kitsnb.data.nifti import CaseError, read_nifti
from kitsnb.inference.predict import find_jobs, predict_all
from kitsnb.inference.sliding_window import Window
from kitsnb.inference.trained import Trained
from kitsnb.preprocessing.prepare import Preprocessing, load_subject, preprocess_cases
from kitsnb.simulation.phantom import write_dataset

GRID = Preprocessing(spacing=(12.0, 12.0, 12.0), resize_in_plane=None)


@pytest.fixture(scope="module")
def ten(tmp_path_factory) -> tuple[list[Case], dict[str, str]]:
    cases = write_dataset(tmp_path_factory.mktemp("ten"), 10, 0)
    return cases, spoil(cases)


def test_check_and_reading_by_hand(ten):
    cases, expected = ten
    reports = check_cases(cases)
    check_named({report.case: report.reasons[0].message for report in reports if report.status == "refused"}, expected)
    assert [report.status for report in reports].count("ok") == 5
    with pytest.raises(CaseError, match="case_00009"):
        load_subject(cases[9])


def test_measuring(ten):
    found = measure_cases(ten[0])
    check_named(found.refused, ten[1])
    assert len(found.table) == 5


@pytest.mark.filterwarnings("ignore:refused")
def test_preprocessing(ten, tmp_path):
    report = preprocess_cases(ten[0], tmp_path, GRID)
    check_named(report["refused"], ten[1])
    assert len(report["rows"]) == 5


def test_prediction(ten, tmp_path):
    jobs, _ = find_jobs(ten[0][0].folder.parent, tmp_path / "out")
    trained = Trained(Bright(), Window(patch_size=(16, 16, 16), overlap=(0, 0, 0)), GRID, simulated=True)
    refused = predict_all(trained, jobs, Console(quiet=True))
    check_named({name: str(error) for name, error in refused.items()}, ten[1])
    assert len(list(Path(tmp_path / "out").glob("*.nii.gz"))) == 5


def test_prediction_warns_of_what_a_check_notes(ten, tmp_path):
    """An unknown orientation; the labels get the same codes."""
    case = ten[0][0]
    array, affine = read_nifti(case.imaging)
    source = tmp_path / "ct.nii.gz"
    write(source, array[..., None], affine)
    with_header(source, qform_code=0, sform_code=0)
    trained = Trained(Bright(), Window(patch_size=(16, 16, 16), overlap=(0, 0, 0)), GRID, simulated=True)
    screen = Console(file=io.StringIO(), width=500)
    assert not predict_all(trained, find_jobs(source, tmp_path / "out.nii.gz")[0], screen)
    said = screen.file.getvalue()
    assert "left and right may be wrong" in said and "was taken as" in said
    labels, affine = read_nifti(tmp_path / "out.nii.gz", notes=(notes := []))
    assert labels.shape == array.shape and [found.code for found in notes] == ["orientation"]

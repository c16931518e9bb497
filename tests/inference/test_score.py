"""Scores of folders: numbers as the metric has them, cases that are missing or bad by name, other labels by a map."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from kitsnb.__main__ import app
from kitsnb.data.cases import Case
from kitsnb.data.nifti import write_nifti
from kitsnb.inference.score import find_labels, score_folder
from kitsnb.metric.score import case_row

AFFINE = np.array([[0, 0, -4.0, 100], [0, -4.0, 0, 80], [-6.0, 0, 0, 50], [0, 0, 0, 1]])


def labels(*, shift: int = 0) -> np.ndarray:
    array = np.zeros((20, 30, 40), np.uint8)
    array[5:12, 8:20, 6 + shift : 16 + shift] = 1
    array[7:9, 10:14, 8 + shift : 11 + shift] = 2
    return array


@pytest.fixture
def folders(tmp_path):
    """Predictions and references of three cases, the second shifted."""
    predictions, references = tmp_path / "predictions", tmp_path / "references"
    for number, shift in ((210, 0), (211, 2), (212, 4)):
        write_nifti(predictions / f"prediction_{number:05d}.nii.gz", labels(shift=shift), AFFINE)
        write_nifti(Case(references / f"case_{number:05d}").segmentation, labels(), AFFINE)
    return predictions, references


def command(*arguments) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["score", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_rows_and_summary_are_the_metric_s(folders):
    found = score_folder(*folders)
    assert [row.pop("case") for row in found["cases"]] == ["case_00210", "case_00211", "case_00212"]
    expected = [case_row(labels(shift=shift), labels(), AFFINE) for shift in (0, 2, 4)]
    assert found["cases"] == expected and found["refused"] == {} and expected[0]["composite"] == 1
    assert found["summary"]["tumour"]["mean"] == pytest.approx(np.mean([row["tumour"] for row in expected]))
    status, output = command(*folders)
    assert status == 0 and "case_00211" in output and "mean" in output
    status, output = command(*folders, "--json")
    assert status == 0 and json.loads(output)["summary"]["kidney"]["n"] == 3


def test_bad_and_missing_cases_are_named_and_the_others_scored(folders):
    predictions, references = folders
    cut = predictions / "prediction_00210.nii.gz"
    cut.write_bytes(cut.read_bytes()[:-20])
    write_nifti(predictions / "prediction_00211.nii.gz", labels(), AFFINE + np.eye(4, k=3) * 5)
    write_nifti(predictions / "prediction_00300.nii.gz", labels(), AFFINE)
    write_nifti(Case(references / "case_00301").segmentation, labels(), AFFINE)
    found = score_folder(predictions, references)
    assert [row["case"] for row in found["cases"]] == ["case_00212"]
    reasons = {
        "case_00210": "corrupt",
        "case_00211": "not the geometry of its CT: its corners lie up to 5 mm away",
        "case_00300": "has no reference",
        "case_00301": "has no prediction",
    }
    assert list(found["refused"]) == list(reasons)
    assert all(reason in found["refused"][name] for name, reason in reasons.items())
    status, output = command(predictions, references)
    assert status == 1 and "case_00301: segmentation.nii.gz: has no prediction" in output


def test_other_labels_are_mapped_on_both_sides(folders):
    predictions, references = folders
    cyst = labels()
    cyst[5, 8:12, 6:9] = 3
    write_nifti(references / "case_00210" / "segmentation.nii.gz", cyst, AFFINE)
    write_nifti(predictions / "prediction_00211.nii.gz", cyst, AFFINE)
    assert list(score_folder(*folders)["refused"]) == ["case_00210", "case_00211"]
    status, output = command(*folders, "--json", "--label-map", "3=1")
    assert status == 0 and [row["composite"] for row in json.loads(output)["cases"][:2]] == [1, 1]


@pytest.mark.parametrize(("file", "name"), [
    ("prediction_00007.nii.gz", "case_00007"), ("case_00007/segmentation.nii.gz", "case_00007"),
    ("anna_0000.nii.gz", "anna"), ("anna.NII.GZ", "anna"), ("anna/Segmentation.nii", "anna"),
    ("anna_0001.nii.gz", "anna_0001"), ("scan_20240115.nii.gz", "scan_20240115"), ("1000019.nii.gz", "1000019"),
])
def test_what_peers_write_for_a_case_is_found_and_patients_are_never_mixed_up(tmp_path, file, name):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    assert list(find_labels(tmp_path)) == [name]


@pytest.mark.parametrize("other", ["prediction_anna.nii.gz", "anna_0000.NII.GZ", "anna/segmentation.nii.gz"])
def test_two_files_of_one_case_are_named(tmp_path, other):
    write_nifti(tmp_path / "anna.nii.gz", labels(), AFFINE)
    (tmp_path / other).parent.mkdir(exist_ok=True)
    (tmp_path / other).write_bytes(b"")
    with pytest.raises(ValueError, match="are both of anna; leave one of them"):
        find_labels(tmp_path)

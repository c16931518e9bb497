"""What is as it should be is read, what is not is refused by case, file and reason."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers import broken_cases
from helpers.broken_cases import AFFINE, SHAPE, check_named, make_case, scaled, spoil, write
from typer.testing import CliRunner

from kitsnb.__main__ import app
from kitsnb.data.cases import Case, for_each_case
from kitsnb.data.checks import check_cases, missing_cases, read_case
from kitsnb.data.nifti import CaseError
from kitsnb.data.settings import Accept, DataSettings


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return make_case(tmp_path, 7)


def volume(low: float, high: float, dtype=np.int16) -> np.ndarray:
    return np.linspace(low, high, np.prod(SHAPE)).reshape(SHAPE).astype(dtype)


def labels(*values: float, dtype=np.uint8) -> np.ndarray:
    """Kidney and tumour, and ``values`` in one voxel each."""
    array = np.zeros(SHAPE, dtype)
    array[1:4, 2:5, 2:5], array[2, 3, 3] = 1, 2
    array[10, 2, 1 : 1 + len(values)] = values
    return array


def with_voxel(value: float) -> np.ndarray:
    array = volume(-1000, 1000, np.float32)
    array[5, 3, 3] = value
    return array


def replaced(file: str, array: np.ndarray, affine: np.ndarray = AFFINE):
    return lambda case: write(getattr(case, file), array, affine)


def shifted(millimetres: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[1, 3] += millimetres
    return affine


def with_header(file: str, **fields):
    return lambda case: broken_cases.with_header(getattr(case, file), **fields)


def link_to_nothing(case: Case) -> None:
    case.imaging.unlink()
    case.imaging.symlink_to("gone.nii.gz")


#: Fault -> (how it is made, part of the message).
REFUSED = {
    "spacing NaN": (with_header("imaging", srow_x=[np.nan] * 4), "spacing [nan"),
    "flat affine": (with_header("imaging", srow_x=[0, 0, 0, 0]), "repair the header's sform or qform"),
    "no orientation": (with_header("imaging", qform_code=0, sform_code=0), "left and right are unknown"),
    "fewer slices": (replaced("segmentation", labels()[:-1]), "(29, 7, 6) is not (30, 7, 6)"),
    "axes turned": (replaced("segmentation", labels().transpose(2, 0, 1), AFFINE[:, [2, 0, 1, 3]]), "store it on the voxels"),
    "elsewhere": (replaced("segmentation", labels(), shifted(3)), "3 mm away; store it on the voxels of that CT"),
    "other spacing": (replaced("segmentation", labels(), AFFINE @ np.diag([1.1, 1, 1, 1])), "--accept-affine"),
    "another label": (replaced("segmentation", labels(3, 3, 255)), "labels 3, 255, not only 0, 1, 2, in 3 voxels"),
    "label -1": (replaced("segmentation", labels(-1, dtype=np.int16)), "say what each is, 0 background"),
    "label 0.9": (replaced("segmentation", labels(0.9, dtype=np.float32)), "labels 0.9"),
    "label NaN": (replaced("segmentation", labels(np.nan, dtype=np.float32)), "labels nan"),
    "4D": (replaced("segmentation", np.zeros((*SHAPE, 1), np.uint8)), "no volume"),
    "NaN": (replaced("imaging", with_voxel(np.nan)), "values go from nan to nan"),
    "infinite": (replaced("imaging", with_voxel(-np.inf)), "values go from -inf to 1000"),
    "all air": (replaced("imaging", volume(-1024, -900)), "values go from -1024 to -900"),
    "unscaled": (replaced("imaging", volume(0, 4095)), "no HU of a patient"),
    "HU / 1000": (replaced("imaging", volume(-1, 1, np.float32)), "convert to HU"),
    "in cm": (lambda case: scaled(case.imaging, 0.1), "the volume would be 0.9 cm wide"),
    "in microns": (lambda case: scaled(case.imaging, 1e3), "with the spacing in mm"),
    "broken link": (link_to_nothing, "missing; put it into"),
}  # fmt: skip


@pytest.mark.parametrize("fault", REFUSED)
def test_a_fault_is_refused_by_name(case, fault):
    make, part = REFUSED[fault]
    make(case)
    (report,) = check_cases([case])
    said = report.reasons[0]
    assert (report.case, report.status) == ("case_00007", "refused") and part in said and ".nii.gz: " in said


@pytest.mark.parametrize(("label", "lacks"), [(1, "kidney"), (2, "tumour")])
def test_labels_that_lack_one_are_odd_and_usable(case, label, lacks):
    write(case.segmentation, np.where(labels() == label, 0, labels()))
    (report,) = check_cases([case])
    assert (report.status, report.reasons) == ("warning", [f"holds no {lacks}"])
    assert label not in read_case(case)[1]


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_labels_of_any_dtype_become_uint8(case, dtype):
    nib.Nifti1Image(labels().astype(dtype), AFFINE, dtype=dtype).to_filename(case.segmentation)
    found = read_case(case)[1]
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, labels())


def test_an_affine_difference_can_be_accepted(case):
    write(case.segmentation, labels(), shifted(1.5))
    assert check_cases([case])[0].status == "refused"
    for imaging in (True, False):  # imaging's counts, even where it is not read
        np.testing.assert_allclose(read_case(case, imaging, Accept(affine=True))[2], AFFINE, atol=1e-5)
    write(case.segmentation, np.ones((30, 7, 7), np.uint8))
    assert check_cases([case], accept=Accept(affine=True))[0].status == "refused"  # another shape is no other affine


def test_other_labels_by_a_mapping(case):
    write(case.segmentation, labels(3, 3, -1, dtype=np.float32))
    accept = Accept(label_map={3: 1, -1: 0})
    assert read_case(case, accept=accept)[1][10, 2, :4].tolist() == [0, 1, 1, 0]
    assert DataSettings(folder="x", label_map={"3": 1, "-1": 0}).accept == accept  # text, as JSON has it
    assert Accept.parse(["3=1", "-1=0"]) == accept
    for wrong in ("three", "3=4", "3"):
        with pytest.raises(ValueError, match="must read OLD=NEW, as in 3=1"):
            Accept.parse([wrong])


def test_five_bad_cases_of_ten_are_named_and_the_others_go_on(tmp_path):
    cases = [make_case(tmp_path, number) for number in range(10)]
    expected = spoil(cases)
    reports = check_cases(cases)
    check_named({report.case: report.reasons[0] for report in reports if report.status == "refused"}, expected)
    assert [report.case for report in reports] == [case.name for case in cases]
    done, refused = for_each_case(read_case, cases, 2)
    check_named(refused, expected)
    assert len(done) == 5
    with pytest.raises(CaseError, match="case_00009"):
        read_case(cases[9])


def test_all_that_the_split_lacks_is_named_at_once(tmp_path):
    cases = [make_case(tmp_path, number) for number in (0, 1, 3, 5)]
    cases[2].segmentation.unlink()
    link_to_nothing(cases[3])
    settings = DataSettings(folder=str(tmp_path), training=[0, 3], validation=[4, 5], excluded=[])
    assert missing_cases(settings) == [
        "case_00002: no such folder", "case_00004: no such folder", "case_00003: no segmentation", "case_00005: no imaging"]
    for case in cases:
        case.imaging.unlink()
    assert missing_cases(settings.changed(training=[0, 0], validation=[1, 1])) == []  # labels are of use, too
    assert missing_cases(settings.changed(source="hybrid", simulated=True)) == missing_cases(settings)
    assert "no case is left" in missing_cases(settings.changed(validation=[8, 9]))[0]
    assert "no such folder" in missing_cases(settings.changed(folder="/nowhere"))[0]


def command(*arguments) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["check", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_the_command(tmp_path):
    made = [make_case(tmp_path, number) for number in range(3)]
    write(made[1].segmentation, labels(3))
    write(made[2].segmentation, np.minimum(labels(), 1))
    status, output = command(tmp_path)
    said = [line.split()[:2] for line in output.splitlines()]
    assert status == 1 and said == [["case_00000", "ok"], ["case_00001", "refused"], ["case_00002", "warning"]]
    assert command(tmp_path, "--label-map", "3=1")[0] == 0
    write(made[1].segmentation, labels(), shifted(2))
    assert command(tmp_path)[0] == 1 and command(tmp_path, "--accept-affine")[0] == 0
    assert command(tmp_path / "nowhere")[0] == 2
    assert command(tmp_path, "--label-map", "three")[0] == 2

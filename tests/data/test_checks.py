"""The fault table: every fault is refused or noted by name and code, none passes silently, and the other cases go on."""

import json
import os
import subprocess
import sys
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torchio as tio
from helpers import broken_cases
from helpers.broken_cases import AFFINE, CORRUPTIONS, SHAPE, lose_the_tail, make_case, write

from kitsnb.data import checks
from kitsnb.data.cases import Case, discover
from kitsnb.data.checks import Accept, check_case, check_cases, missing_from_split, read_case
from kitsnb.data.nifti import CaseError, read_nifti, write_nifti
from kitsnb.files import ROOT
from kitsnb.preprocessing.prepare import load_subject, subject_of


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return make_case(tmp_path, 7)


def volume(low: float, high: float, dtype=np.int16) -> np.ndarray:
    return np.linspace(low, high, np.prod(SHAPE)).reshape(SHAPE).astype(dtype)


def labels(*values: float, dtype=np.uint8) -> np.ndarray:
    """Kidney and tumour, and ``values`` in one voxel each."""
    array = np.zeros(SHAPE, dtype)
    array[1:4, 2:5, 2:5], array[2, 3, 3] = 1, 2
    array[0, 0, : len(values)] = values
    return array


def replaced(file: str, array: np.ndarray, affine: np.ndarray = AFFINE):
    return lambda case: write(getattr(case, file), array, affine)


def both(imaging: np.ndarray, segmentation: np.ndarray, affine: np.ndarray):
    return lambda case: (write(case.imaging, imaging, affine), write(case.segmentation, segmentation, affine))


def shifted(millimetres: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[1, 3] += millimetres
    return affine


def with_header(file: str, **fields):
    return lambda case: broken_cases.with_header(getattr(case, file), **fields)


def in_another_unit(factor: float, unit: int):
    return lambda case: [broken_cases.scaled(path, factor, unit) for path in (case.imaging, case.segmentation)]


def body(air: int = -1000, soft: int = 40, fat: int = -100, bone: int = 700) -> np.ndarray:
    """Half air, then soft tissue, fat and a little bone, with some noise."""
    shares = np.repeat([air, soft, fat, bone], [630, 400, 200, 30])
    return (shares + np.random.default_rng(0).normal(0, 10, shares.size)).reshape(SHAPE)


def link_to_nothing(case: Case) -> None:
    case.imaging.unlink()
    case.imaging.symlink_to("gone.nii.gz")


#: Voxel indices of an array whose first axis is flipped, to those of the array itself.
FLIP = np.array([[-1, 0, 0, SHAPE[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
#: Fault -> (how it is made, code, part of the message).
REFUSED = {
    **{f"imaging {name}": (lambda case, spoil=spoil: spoil(case.imaging), "corrupt", "download it again")
       for name, spoil in CORRUPTIONS.items()},
    **{f"label {name}": (lambda case, spoil=spoil: spoil(case.segmentation), "corrupt", "download it again")
       for name, spoil in CORRUPTIONS.items()},
    "spacing 0": (with_header("imaging", srow_x=[0] * 4, srow_y=[0] * 4, srow_z=[0] * 4), "geometry", "spacing 0 x 0 x 0 mm"),
    "spacing NaN": (with_header("imaging", srow_x=[np.nan] * 4), "geometry", "spacing nan"),
    "affine infinite": (with_header("segmentation", srow_y=[0, np.inf, 0, 0]), "geometry", "impossible"),
    "flat affine": (with_header("imaging", srow_x=[0, 0, 0, 0]), "geometry", "impossible"),
    "shape": (replaced("segmentation", np.ones((30, 7, 7), np.uint8)), "shape", "(30, 7, 7) differs from imaging's (30, 7, 6)"),
    "axes permuted": (replaced("segmentation", labels().transpose(2, 0, 1), AFFINE[:, [2, 0, 1, 3]]), "axes",
                      "permute its axes to (1, 2, 0)"),
    "shape permuted alone": (both(volume(-1000, 1000), labels().transpose(2, 0, 1), AFFINE @ np.diag([1, 10, 10, 1])), "axes",
                             "permute its axes to (1, 2, 0); its affine"),
    "affine flipped": (replaced("segmentation", labels()[::-1], AFFINE @ FLIP), "axes", "flip axis 0"),
    "direction reversed": (replaced("segmentation", labels(), AFFINE @ np.diag([1.0, -1, 1, 1])), "affine", "axis 1 points the other way"),
    "affine shifted": (replaced("segmentation", labels(), shifted(0.01)), "affine", "shifted by +0, +0.01, +0 mm"),
    "other spacing": (replaced("segmentation", labels(), AFFINE @ np.diag([1.1, 1, 1, 1])), "affine", "--accept-affine"),
    "label 3": (replaced("segmentation", labels(3, 3)), "labels", "labels 3, not only 0, 1, 2, in 2 voxels"),
    "label 255": (replaced("segmentation", labels(255)), "labels", "--label-map 255=1"),
    "label -1": (replaced("segmentation", labels(-1, dtype=np.int16)), "labels", "labels -1"),
    "label 0.9": (replaced("segmentation", labels(0.9, dtype=np.float32)), "labels", "labels 0.9"),
    "label NaN": (replaced("segmentation", labels(np.nan, dtype=np.float32)), "not_finite", "1 voxels are NaN"),
    "4D": (replaced("segmentation", np.zeros((*SHAPE, 2), np.uint8)), "not_a_volume", "no volume"),
    "2D": (replaced("imaging", np.zeros((30, 7), np.int16)), "not_a_volume", "no volume"),
    "NaN voxels": (replaced("imaging", np.where(volume(-9, 9) > 8, np.nan, volume(-9, 9)).astype(np.float32)), "not_finite", "NaN"),
    "infinite voxel": (replaced("imaging", np.where(volume(-9, 9) == 9, np.inf, -1).astype(np.float64)), "not_finite", "1 voxels"),
    "all air": (replaced("imaging", volume(-1024, -900)), "air", "values go from -1024 to -900"),
    "constant": (replaced("imaging", volume(40, 40)), "air", "all voxels are equal"),
    "unscaled": (replaced("imaging", volume(0, 4095)), "unscaled", "values go from 0 to 4095"),
    "HU / 1000": (replaced("imaging", (body() / 1000).astype(np.float32)), "normalized", "too narrow for HU"),
    "z-scored": (replaced("imaging", ((body() - body().mean()) / body().std()).astype(np.float32)), "normalized", "values go from -"),
    "0 to 1": (replaced("imaging", (body() / 2000 + 0.4).astype(np.float32)), "normalized", "divided?"),
    "12 bits, few negative": (replaced("imaging", np.where(body() < -1020, -20, body() + 1024).astype(np.int16)), "unscaled", "HU and 0% air"),
    "in m": (in_another_unit(1e-3, 2), "geometry", "the volume would be 0.009 cm wide (longest side 0.09 mm)"),
    "in cm, unit unknown": (in_another_unit(0.1, 0), "geometry", "the volume would be 0.9 cm wide"),
    "in microns, unit unknown": (in_another_unit(1e3, 0), "geometry", "the volume would be 90 m wide"),
    "no imaging": (lambda case: case.imaging.unlink(), "missing", "put it into"),
    "no segmentation": (lambda case: case.segmentation.unlink(), "missing", "put it into"),
    "broken link": (link_to_nothing, "missing", "a link to gone.nii.gz"),
    "folder for a file": (lambda case: (case.imaging.unlink(), case.imaging.mkdir()), "missing", "put it into"),
}  # fmt: skip


@pytest.mark.parametrize("fault", REFUSED)
def test_a_fault_is_refused_by_name(case, fault):
    make, code, part = REFUSED[fault]
    make(case)
    report = check_case(case)
    assert (report.case, report.status, report.reasons[0].code) == ("case_00007", "refused", code)
    assert part in report.reasons[0].message and ".nii.gz: " in report.reasons[0].message
    with pytest.raises(CaseError, match="case_00007"):
        load_subject(case)


#: Oddity -> (how it is made, code, part of the message).
NOTED = {
    "HU out of range": (replaced("imaging", volume(-9000, 900)), "hu_range", "from -9000 to 900"),
    "no tumour": (replaced("segmentation", np.minimum(labels(), 1)), "no_tumour", "holds no tumour"),
    "no kidney": (replaced("segmentation", labels() // 2 * 2), "no_kidney", "holds no kidney"),
    "4D of one": (replaced("imaging", volume(-900, 900)[..., None]), "squeezed", "was taken as (30, 7, 6)"),
    "tenths of HU": (replaced("imaging", (body() / 10).astype(np.int16)), "hu_narrow", "clipped or scaled?"),
    "a window of HU": (replaced("imaging", body().clip(-160, 240).astype(np.int16)), "hu_clipped", "values go from -160 to 240"),
    "much bone, little air": (replaced("imaging", body(bone=40, fat=700, soft=-250).clip(-310).astype(np.int16)), "hu_shares", "unusual"),
    "labels nearly whole": (replaced("segmentation", labels(0.9995, dtype=np.float32)), "snapped", "were rounded"),
}  # fmt: skip


@pytest.mark.parametrize("oddity", NOTED)
def test_an_oddity_is_noted_and_the_case_is_usable(case, oddity):
    make, code, part = NOTED[oddity]
    make(case)
    report = check_case(case)
    assert (report.status, [found.code for found in report.reasons]) == ("warning", [code])
    assert part in report.reasons[0].message
    imaging, segmentation, affine = read_case(case)
    assert imaging.shape == segmentation.shape == SHAPE and segmentation.dtype == np.uint8 and affine.shape == (4, 4)


def test_a_good_case_is_ok(case):
    assert check_case(case) == checks.CaseReport("case_00007", "ok", [])
    write(case.segmentation, labels().astype(np.float64))  # whole numbers in another type are no oddity
    assert check_case(case).status == "ok"
    write(case.segmentation, labels(), shifted(5e-4))  # nor is a rounding difference of affines
    assert check_case(case).status == "ok"


#: What is odd about orientation and geometry, in both files: code and part of the message.
ODD_GEOMETRY = {
    "in m": (in_another_unit(1e-3, 1), "unit", "stored in metres"),
    "in microns": (in_another_unit(1e3, 3), "unit", "stored in microns"),
    "no orientation": (lambda case: [broken_cases.with_header(path, qform_code=0, sform_code=0, pixdim=[1, 3, 9, 9, 1, 1, 1, 1])
                                     for path in (case.imaging, case.segmentation)], "orientation", "left and right may be wrong"),
    "forms apart": (lambda case: [broken_cases.with_header(path, qform_code=1, qoffset_x=41.0)
                                  for path in (case.imaging, case.segmentation)], "forms", "30 mm apart; sform was taken"),
    "sheared": (lambda case: [broken_cases.with_header(path, srow_y=[-1.0, -0.8, 0, -7])
                              for path in (case.imaging, case.segmentation)], "sheared", "18 degrees off right angles"),
}


@pytest.mark.parametrize("oddity", ODD_GEOMETRY)
def test_an_odd_geometry_is_noted_for_each_file(case, oddity):
    make, code, part = ODD_GEOMETRY[oddity]
    make(case)
    report = check_case(case)
    assert report.status == "warning" and [found.code for found in report.reasons] == [code] * 2
    assert all(part in found.message for found in report.reasons)
    if code == "unit":
        np.testing.assert_allclose(read_case(case)[2], AFFINE, rtol=1e-5)


def test_every_turn_of_an_array_is_recognised(case):
    """Permuted and flipped with its affine, in all 48 ways: one is right, the others are named so that undoing them fits."""
    good, affine = read_nifti(case.segmentation)
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        image = nib.Nifti1Image(good, affine)
        image = image.as_reoriented(np.column_stack([order, signs]))
        write(case.segmentation, np.asarray(image.dataobj), image.affine)
        report = check_case(case)
        if (order, signs) == ((0, 1, 2), (1, 1, 1)):
            assert report.status == "ok"
            continue
        message = report.reasons[0].message
        assert report.reasons[0].code == "axes", message
        undone, affine_undone = np.asarray(image.dataobj), image.affine
        if "permute" in message:
            axes = [int(axis) for axis in message.split("permute its axes to (")[1].split(")")[0].split(",")]
            undone = undone.transpose(axes)
        if "flip ax" in message:
            undone = np.flip(undone, [int(axis) for axis in message.split("flip ax")[1][3:].split(" (")[0].split(",")])
        np.testing.assert_array_equal(undone, good)
        assert affine_undone.shape == (4, 4)


def test_an_affine_difference_can_be_accepted(case):
    write(case.segmentation, labels(), shifted(1.5))
    assert check_case(case).reasons[0].code == "affine"
    report = check_case(case, accept=Accept(affine=True))
    assert (report.status, report.reasons[0].code) == ("warning", "affine") and "1.5 mm" in report.reasons[0].message
    np.testing.assert_allclose(read_case(case, accept=Accept(affine=True))[2], AFFINE, atol=1e-5)
    write(case.segmentation, np.ones((30, 7, 7), np.uint8))
    assert check_case(case, accept=Accept(affine=True)).status == "refused"  # another shape is no difference of affines


def test_other_labels_by_a_mapping(case):
    write(case.segmentation, labels(3, 3))
    accept = Accept(label_map={3: 1})
    report = check_case(case, accept=accept)
    assert (report.status, report.reasons[0].code) == ("warning", "mapped") and "3 was taken as 1 in 2 voxels" in report.reasons[0].message
    assert read_case(case, accept=accept)[1][0, 0, :3].tolist() == [1, 1, 0]
    assert load_subject(case, accept)["segmentation"].data[0, 0, 0, 0] == 1
    write(case.segmentation, labels(3, 4))
    assert "labels 4" in check_case(case, accept=accept).reasons[0].message
    assert Accept(label_map={"3": "1"}) == accept  # as papermill hands it on
    with pytest.raises(ValueError, match="leads to no label"):
        Accept(label_map={3: 4})


def test_the_interpolated_branch_is_recognised(case):
    affine = np.diag([-3.0, -0.78162497, -0.78162497, 1])[:, [2, 1, 0, 3]]
    write(case.imaging, volume(-900, 900).T, affine)
    write(case.segmentation, labels().T, affine)
    assert [found.code for found in check_case(case).reasons] == ["interpolated"]
    assert [found.code for found in check_case(case, imaging=False).reasons] == ["interpolated"]
    near = np.diag([-3.0, -0.78125, -0.78125, 1])[:, [2, 1, 0, 3]]  # 400 mm over 512 pixels, a scanner's own grid
    write(case.segmentation, labels().T, near)
    assert check_case(case, imaging=False).status == "ok"


def test_labels_alone(case):
    case.imaging.unlink()
    assert check_case(case, imaging=False).status == "ok"
    assert check_case(case).status == "refused"


def test_one_bad_case_among_ten(tmp_path):
    made = [make_case(tmp_path, number) for number in range(10)]
    lose_the_tail(made[4].imaging)
    reports = check_cases(discover(tmp_path))
    assert [report.case for report in reports] == [case.name for case in made]
    assert [report.status for report in reports] == ["ok"] * 4 + ["refused"] + ["ok"] * 5


def test_subject(case):
    subject = load_subject(case)
    imaging, affine = read_nifti(case.imaging)
    assert subject["name"] == "case_00007"
    assert subject["imaging"].data.numpy().dtype == imaging.dtype and subject["segmentation"].data.numpy().dtype == np.uint8
    np.testing.assert_array_equal(subject["imaging"].data[0].numpy(), imaging)
    assert subject["imaging"].data[0].numpy().strides == imaging.strides  # on the order in memory hang the last bits
    np.testing.assert_allclose(subject["segmentation"].affine, affine)


def test_a_transform_of_torchio_takes_a_subject_whose_files_are_read_once_and_late(case, monkeypatch):
    seen = []
    monkeypatch.setattr(checks, "read_nifti", lambda path, *rest: (seen.append(path.name), read_nifti(path, *rest))[1])
    subject = subject_of(case)
    assert not seen
    flipped = tio.Flip("Left")(subject)
    assert sorted(seen) == ["imaging.nii.gz", "segmentation.nii.gz"]
    axis = flipped["imaging"].axis_name_to_index("Left")
    for name, array in zip(("imaging", "segmentation"), read_case(case)):
        np.testing.assert_array_equal(flipped[name].data[0].numpy(), np.flip(array, axis))
    case.imaging.unlink()
    with pytest.raises(CaseError, match="case_00007"):
        subject_of(case).load()


def test_all_that_the_split_lacks_is_named_at_once(tmp_path):
    for number in (0, 1, 3, 5):
        make_case(tmp_path, number)
    (tmp_path / "case_00003" / "segmentation.nii.gz").unlink()
    link_to_nothing(Case(tmp_path / "case_00005"))
    assert missing_from_split(tmp_path, [0, 3], [4, 5], []) == [
        "case_00002", "case_00004", "case_00003/segmentation.nii.gz", "case_00005/imaging.nii.gz"]
    for number in (0, 1, 3, 5):
        (tmp_path / f"case_0000{number}" / "imaging.nii.gz").unlink()
    assert missing_from_split(tmp_path, [0, 1], [5, 5], []) == []  # labels alone are of use, too


def test_spaces_unicode_and_links_in_paths(tmp_path):
    folder = tmp_path / "Ordner mit Leerzeichen" / "größe–μ"
    made = make_case(folder, 1)
    (folder / "case_00002").symlink_to(made.folder)
    copied = Case(folder / "case_00003")
    copied.folder.mkdir()
    for name in ("imaging.nii.gz", "segmentation.nii.gz"):
        (copied.folder / name).symlink_to(made.folder / name)
    assert [report.status for report in check_cases(discover(folder))] == ["ok"] * 3


def test_a_half_written_file_never_has_the_name_of_a_whole_one(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_nifti(tmp_path / "case_00000" / "segmentation.nii.gz", labels(), AFFINE)
    assert not list((tmp_path / "case_00000").iterdir())


# ---- the command -----------------------------------------------------------------------------------------------------


def kitsnb(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "kitsnb", "check", *map(str, arguments)], cwd=ROOT, text=True, capture_output=True)


def test_command_with_json(tmp_path):
    made = [make_case(tmp_path, number) for number in range(3)]
    write(made[1].segmentation, labels(3))
    write(made[2].segmentation, np.minimum(labels(), 1))
    done = kitsnb(tmp_path, "--json")
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert [(row["case"], row["status"], [reason["code"] for reason in row["reasons"]]) for row in found] == [
        ("case_00000", "ok", []), ("case_00001", "refused", ["labels"]), ("case_00002", "warning", ["no_tumour"])]
    assert all(set(reason) == {"code", "message"} for row in found for reason in row["reasons"])
    mapped = kitsnb(tmp_path, "--json", "--label-map", "3=1")
    assert mapped.returncode == 0 and [row["status"] for row in json.loads(mapped.stdout)] == ["ok", "warning", "warning"]


def test_command_for_people(tmp_path):
    made = [make_case(tmp_path, number) for number in range(2)]
    (tmp_path / "case_2").mkdir()
    (tmp_path / "kits.json").write_text("[]")
    done = kitsnb(tmp_path)
    assert done.returncode == 0 and "skipped, as no case: case_2\n" in done.stdout
    write(made[1].segmentation, labels(), shifted(2))
    done = kitsnb(tmp_path)
    assert done.returncode == 1 and "case_00001" in done.stdout and "2 mm apart" in " ".join(done.stdout.split())
    assert kitsnb(tmp_path, "--accept-affine").returncode == 0
    assert kitsnb(tmp_path / "nowhere").returncode == 2
    assert "3=1" in kitsnb(tmp_path, "--label-map", "three").stderr

"""Cases: names, discovery, and which are held out."""

import re
from pathlib import Path

import pytest

from kitsnb.data import cases, geometry, nifti
from kitsnb.data.cases import Case, case_name, hold_out
from kitsnb.data.checks import check_cases
from kitsnb.data.settings import EXCLUDED, Accept, DataSettings


def numbered(*numbers: int) -> list[Case]:
    return [Case(Path(f"case_{number:05d}")) for number in numbers]


def settings(**values) -> DataSettings:
    return DataSettings.checked({"folder": "somewhere", **values})


@pytest.mark.parametrize(
    ("path", "name"),
    [("case_00210.nii.gz", "case_00210"), ("prediction_00210.nii.gz", "case_00210"), ("case_00210_0000.nii.gz", "case_00210"),
     ("a/case_00210/segmentation.nii.gz", "case_00210"), ("a/anna/segmentation.nii", "anna"),
     ("prediction_case_00210.nii", "case_00210"), ("prediction_anna.nii.gz", "anna"), ("ANNA.NII.GZ", "ANNA"),
     ("scan_20240115.nii.gz", "scan_20240115"), ("prediction_1000019.nii.gz", "1000019"), ("00210.nii.gz", "00210"),
     ("anna_0001.nii.gz", "anna_0001"), ("v1.2.nii.gz", "v1.2")])
def test_a_number_counts_only_in_names_of_kits19(path, name):
    assert case_name(Path(path)) == name


def test_discover_sorts_and_ignores_other_names(tmp_path):
    for name in ("case_00010", "case_00002", "case_3", "notes", "case_000001"):
        (tmp_path / name).mkdir()
    (tmp_path / "case_00004").write_text("a file, no folder")
    assert [(case.name, case.number) for case in cases.discover(tmp_path)] == [("case_00002", 2), ("case_00010", 10)]


@pytest.mark.parametrize(("folder", "said"), [("nowhere", "no such folder"), ("", "case_XXXXX")])
def test_discover_says_where_the_cases_are(tmp_path, folder, said):
    with pytest.raises(FileNotFoundError, match=said):
        cases.discover(tmp_path / folder)


def test_ranges_exclusions_and_missing():
    found = numbered(0, 1, 15, 16, 30)
    asked = settings(training=[0, 17], validation=[30, 31])
    split = hold_out(found, asked)
    assert (split.training, split.validation) == (numbered(0, 1, 16), numbered(30))
    assert split.missing == [case.name for case in numbered(*range(2, 15), 17, 31)]
    assert hold_out(found, asked.changed(excluded=[])).training == numbered(0, 1, 15, 16)
    assert hold_out(found, asked.changed(excluded=[0])).training == numbered(1, 15, 16)


def test_further_folders_train_but_for_numbers_that_are_held_out_or_excluded(tmp_path):
    for number in (1, 15, 30, 40):
        (tmp_path / f"case_{number:05d}").mkdir()
    asked = settings(training=[0, 17], validation=[30, 31], more_training=[str(tmp_path), str(tmp_path)])
    further = cases.further_cases(asked)
    found = numbered(0, 1, 30)
    split = hold_out(found, asked, further=further)
    marked = ["case_00001-2", "case_00040-2", "case_00001-3", "case_00040-3"]
    assert [case.name for case in split.training] == ["case_00000", "case_00001", *marked]
    assert {case.number for case in further} == {1, 15, 30, 40} and further[0].folder == tmp_path / "case_00001"
    assert split.validation == numbered(30)
    alone = hold_out(found, asked.changed(training=None), further=further)
    assert [case.name for case in alone.training] == marked and alone.validation == numbered(30)


def test_what_is_accepted_of_real_labels_is_done_when_ct_is_painted_around_them():
    given = {"folder": "labels", "label_map": {1: 2, 2: 1}, "accept_affine": True, "slab": {"in_plane": 320}}
    hybrid = DataSettings(source="hybrid", simulated=True, **given)
    assert hybrid.accept == Accept(slab=320) and hybrid.accept_labels == Accept({1: 2, 2: 1}, True)
    assert DataSettings(**given).accept == Accept({1: 2, 2: 1}, True, 320)


def test_nobody_excluded_is_not_the_papers_six():
    assert settings(excluded=None) == settings() != settings(excluded=[])
    assert settings(excluded=None).as_json()["excluded"] == sorted(EXCLUDED) == [15, 23, 37, 68, 125, 133]
    assert settings(excluded=[]).as_json()["excluded"] == []
    assert DataSettings(**settings(excluded=[]).as_json()).excluded == ()


@pytest.mark.parametrize("seed", range(5))
def test_a_seed_holds_out_one_fold(seed):
    asked = settings(training=[0, 7], validation=[8, 10], excluded=[3], folds=3)
    groups = cases.cut_into_folds([0, 1, 2, 4, 5, 6, 7, 8, 9, 10], 3)
    split = hold_out(numbered(*range(11)), asked, seed)
    assert split.validation == numbered(*groups[seed % 3]) and split.missing == []
    assert sorted(split.training + split.validation) == numbered(0, 1, 2, 4, 5, 6, 7, 8, 9, 10)
    gone = split.training[0]
    less = hold_out([case for case in numbered(*range(11)) if case != gone], asked, seed)
    assert (less.validation, less.missing) == (split.validation, [gone.name]), "a missing case moves no other"


def test_the_cut_into_folds_is_a_shuffle_and_the_same_for_ever():
    assert cases.cut_into_folds(list(range(9)), 3) == [[1, 2, 7], [4, 6, 8], [0, 3, 5]]


@pytest.mark.parametrize(
    ("found", "values"), [([0, 1], {}), ([166, 167], {}), ([], {}), ([3], {"folds": 5})])
def test_nobody_left_is_said(found, values):
    with pytest.raises(ValueError, match="no case is left to train on, or to hold out; widen"):
        hold_out(numbered(*found), settings(**values))


#: Settings that cannot be, and what is said of them.
WRONG = {
    "shared": ({"training": [0, 10], "validation": [10, 20]}, "share cases; give disjoint ranges"),
    "reversed": ({"training": [5, 2]}, "training must be [low, high], not [5, 2]"),
    "nobody left": ({"validation": [15, 15]}, "every case is excluded"),
    "three": ({"training": [0, 1, 2]}, "training"),
    "no folder": ({"folder": None}, "give the folder that holds"),
    "not called simulated": ({"source": "phantom"}, "set simulated to true"),
    "map": ({"more_training": ["a"], "label_map": {1: 2}}, "label_map: 1 and 2 cannot be changed"),
    "folds of none": ({"training": None, "more_training": ["a"], "folds": 3}, "training null leaves no case"),
    "slab": ({"slab": {"in_plan": 320}}, "did you mean 'in_plane'"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_settings_are_said_before_work_starts(kind):
    values, said = WRONG[kind]
    with pytest.raises(ValueError, match=re.escape(said)):
        settings(**values)


def test_the_real_labels(kits19_labels):
    found = cases.discover(kits19_labels)
    assert len(found) == 210
    split = hold_out(found, settings())
    assert (len(split.training), len(split.validation), split.missing) == (160, 44, [])
    headers = [nifti.read_header(case.segmentation) for case in found]
    assert {geometry.orientation_of(affine) for _, affine, _ in headers} == {"IPL"}
    assert {shape[1:] for shape, _, _ in headers} == {(512, 512), (512, 796)}
    # Cases 15 and 23 have no sform, and case 160 is the one that is wider than the others.
    reports = check_cases([found[15], found[23], found[160]], imaging=False)
    assert [report.status for report in reports] == ["ok"] * 3

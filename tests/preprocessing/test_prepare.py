"""A folder of cases on the working grid: refusals, what is kept, and what is made again."""

import errno
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from helpers.ct_at_hand import write_cases

from kitsnb.data.cases import Case, discover
from kitsnb.data.nifti import CaseError, read_nifti, write_nifti
from kitsnb.preprocessing import Preprocessing, cases_below, prepare, preprocess_cases, read_arrays, to_grid, z_score
from kitsnb.receipts import RECEIPT

SMALL = Preprocessing(spacing=(6.0, 5.0, 5.0), resize_in_plane=None)


def test_one_bad_case_does_not_stop_the_others(tmp_path):
    cases = write_cases(tmp_path / "data", 3)
    labels, affine = read_nifti(cases[1].segmentation)
    write_nifti(cases[1].segmentation, labels + 3, affine)
    with pytest.warns(UserWarning, match="refused"):
        report = preprocess_cases(cases, tmp_path / "grid", SMALL, workers=2)
    assert list(report["rows"]) == ["case_00000", "case_00002"]
    assert list(report["refused"]) == ["case_00001"] and "label" in report["refused"]["case_00001"]
    prepared = cases_below(tmp_path / "grid", cases)
    assert prepared == discover(tmp_path / "grid") and len(prepared) == 2
    arrays = read_arrays(prepared[0])
    imaging, affine = read_nifti(cases[0].imaging)
    whole, _ = z_score(to_grid(imaging, affine, SMALL)[0], SMALL)
    labels, _ = to_grid(read_nifti(cases[0].segmentation)[0], affine, SMALL, labels=True)
    assert np.array_equal(arrays["imaging"], whole.numpy().astype(np.float16))
    assert np.array_equal(arrays["segmentation"], labels.numpy())
    assert report["rows"]["case_00000"]["shape"] == list(whole.shape)
    assert 0.8 < report["ceiling"]["tumour"] < 1


def test_a_case_of_one_value_is_refused(tmp_path):
    cases = write_cases(tmp_path / "data", 1)
    with pytest.warns(UserWarning, match="refused"):
        report = preprocess_cases(cases, tmp_path / "grid", SMALL.changed(clip=(1000.0, 2000.0)))
    assert "after clipping" in report["refused"]["case_00000"] and not report["rows"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_only_what_changed_is_done_again(tmp_path):
    cases = write_cases(tmp_path / "data", 3)
    grid = tmp_path / "grid"
    first = preprocess_cases(cases, grid, SMALL)
    files = contents(grid)
    again = preprocess_cases(cases, grid, SMALL, workers=1)
    assert first["kept"] == [] and again["kept"] == [case.name for case in cases]
    assert contents(grid) == files and again["rows"] == first["rows"]
    array, affine = read_nifti(cases[1].imaging)
    write_nifti(cases[1].imaging, array + 1, affine)
    (grid / "case_00002" / "imaging.npy").write_bytes(b"half")
    assert preprocess_cases(cases, grid, SMALL)["kept"] == ["case_00000"]
    changed = {name for name, new in contents(grid).items() if new != files[name]}
    assert {"case_00001/imaging.npy", f"case_00001/{RECEIPT}"} <= changed
    assert not any(name.startswith("case_00000") for name in changed)
    assert preprocess_cases(cases, grid, SMALL.changed(spacing=(6.0, 6.0, 6.0)))["kept"] == []
    preprocess_cases(cases[:2], grid, SMALL)
    assert not (grid / "case_00002").exists()


@pytest.mark.parametrize("copied", [False, True])
def test_moved_folders_are_not_made_again(tmp_path, copied):
    """A renamed data folder and a renamed build; also as copies, whose times of change are others."""
    cases = write_cases(tmp_path / "data", 2)
    preprocess_cases(cases, tmp_path / "build" / "grid", SMALL)
    for old, new in (("data", "elsewhere"), ("build", "other")):
        if copied:
            shutil.copytree(tmp_path / old, tmp_path / new, copy_function=shutil.copyfile)
            shutil.rmtree(tmp_path / old)
        else:
            (tmp_path / old).rename(tmp_path / new)
    report = preprocess_cases(discover(tmp_path / "elsewhere"), tmp_path / "other" / "grid", SMALL)
    assert report["kept"] == ["case_00000", "case_00001"]
    assert str(tmp_path) not in (tmp_path / "other" / "grid" / "report.json").read_text()


def test_a_case_without_a_tumour_is_kept_and_counts_for_no_tumour(tmp_path):
    """Its ceiling is undefined, and null in its receipt."""
    cases = write_cases(tmp_path / "data", 2)
    labels, affine = read_nifti(cases[1].segmentation)
    write_nifti(cases[1].segmentation, labels.clip(0, 1), affine)
    first = preprocess_cases(cases, tmp_path / "grid", SMALL)
    again = preprocess_cases(cases, tmp_path / "grid", SMALL)
    assert len(again["kept"]) == 2 and again["ceiling"] == first["ceiling"]
    assert first["ceiling"]["tumour"] == first["rows"]["case_00000"]["ceiling"]["tumour"]


def test_cases_that_swapped_their_names_are_made_again(tmp_path):
    cases = write_cases(tmp_path / "data", 2)
    preprocess_cases(cases, tmp_path / "grid", SMALL)
    for old, new in ((0, "aside"), (1, "case_00000")):
        cases[old].folder.rename(tmp_path / "data" / new)
    (tmp_path / "data" / "aside").rename(cases[1].folder)
    assert preprocess_cases(cases, tmp_path / "grid", SMALL)["kept"] == []


def test_a_killed_run_leaves_no_half_case(tmp_path, monkeypatch):
    cases = write_cases(tmp_path / "data", 2)
    grid = tmp_path / "grid"
    real = prepare.write_array

    def dies(folder, kind, array):
        if folder.name == ".case_00001" and kind == "segmentation":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(folder, kind, array)

    monkeypatch.setattr(prepare, "write_array", dies)
    with pytest.raises(OSError, match="No space"):
        preprocess_cases(cases, grid, SMALL, workers=1)
    assert [case.name for case in discover(grid)] == ["case_00000"]
    monkeypatch.undo()
    assert preprocess_cases(cases, grid, SMALL)["kept"] == ["case_00000"]
    assert sorted(path.name for path in grid.iterdir()) == ["case_00000", "case_00001", "report.json"]


def test_a_folder_that_cannot_take_the_cases_is_said_before_work(tmp_path, monkeypatch):
    cases = write_cases(tmp_path / "data", 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot be written to .* another build folder"):
        preprocess_cases(cases, tmp_path / "file" / "grid", SMALL)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: namedtuple("Usage", "free")(1000))
    with pytest.raises(OSError, match="1 cases need about .* make room"):
        preprocess_cases(cases, tmp_path / "grid", SMALL)
    assert not (tmp_path / "grid" / "case_00000").exists()


@pytest.mark.parametrize(("file", "content", "said"), [
    ("imaging", None, "imaging.npy is missing"),
    ("imaging", b"\x93NUMPY cut", "imaging.npy is damaged"),
    ("imaging", np.zeros((4, 4, 4)), "holds float64"),
    ("segmentation", np.zeros((4, 4, 4), np.uint8), "differ in shape"),
    ("segmentation", "label", "holds label 3"),
])
def test_unfit_arrays_are_named(tmp_path, file, content, said):
    preprocess_cases(write_cases(tmp_path / "data", 1), tmp_path / "grid", SMALL)
    case, = discover(tmp_path / "grid")
    path = case.folder / f"{file}.npy"
    if isinstance(content, str):
        content = np.full(read_arrays(case)["imaging"].shape, 3, np.uint8)
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(CaseError, match=f"case_00000: .*{said}.*02_preprocessing"):
        read_arrays(case)

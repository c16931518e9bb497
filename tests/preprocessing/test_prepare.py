"""A folder of cases on the working grid: refusals, what is kept, and what is made again."""

import shutil

import numpy as np
import pytest
from helpers.ct_at_hand import small_ct, write_cases

from kitsnb.data.cases import discover
from kitsnb.data.nifti import read_nifti, write_nifti
from kitsnb.preprocessing import Preprocessing, cases_below, prepare, preprocess_cases, read_arrays, to_grid, z_score

SMALL = Preprocessing(spacing=(6.0, 5.0, 5.0), resize_in_plane=None)


@pytest.fixture
def made(monkeypatch):
    """Names of the cases that are prepared."""
    found, real = set(), prepare._write_case
    monkeypatch.setattr(prepare, "_write_case", lambda case, *given: found.add(case.name) or real(case, *given))
    return found


def test_one_bad_case_does_not_stop_the_others(tmp_path):
    cases = write_cases(tmp_path / "data", 4)
    labels, affine = read_nifti(cases[1].segmentation)
    write_nifti(cases[1].segmentation, labels + 3, affine)
    cases[3].imaging.unlink()
    report = preprocess_cases(cases, tmp_path / "grid", SMALL, workers=2)
    assert list(report["rows"]) == ["case_00000", "case_00002"]
    assert list(report["refused"]) == ["case_00001", "case_00003"] and "label" in report["refused"]["case_00001"]
    prepared = cases_below(tmp_path / "grid", cases)
    assert prepared == discover(tmp_path / "grid") and len(prepared) == 2
    arrays = read_arrays(prepared[0])
    imaging, affine = read_nifti(cases[0].imaging)
    whole, _ = z_score(to_grid(imaging, affine, SMALL)[0], SMALL)
    labels, _ = to_grid(read_nifti(cases[0].segmentation)[0], affine, SMALL, labels=True)
    assert np.array_equal(arrays["imaging"], whole.numpy().astype(np.float16))
    assert np.array_equal(arrays["segmentation"], labels.numpy())
    assert report["rows"]["case_00000"]["shape"] == list(whole.shape)
    report = preprocess_cases(cases[:1], tmp_path / "grid", SMALL.changed(clip=(1000.0, 2000.0)))
    assert "all voxels are 1000 HU after clipping" in report["refused"]["case_00000"] and not report["rows"]


def test_only_what_changed_is_done_again(tmp_path, made):
    cases = write_cases(tmp_path / "data", 3)
    grid = tmp_path / "grid"

    def again(count=3, settings=SMALL):
        made.clear()
        report = preprocess_cases(cases[:count], grid, settings)
        return sorted(name[-1] for name in made), report["rows"]

    new, first = again()
    assert new == ["0", "1", "2"] and again() == ([], first)
    small_ct(7).write(cases[1])
    (grid / "case_00002" / "imaging.npy").write_bytes(b"half")
    assert again()[0] == ["1", "2"]
    assert again(settings=SMALL.changed(spacing=(6.0, 6.0, 6.0)))[0] == ["0", "1", "2"]
    cases[0].folder.rename(tmp_path / "aside")  # two cases change their names
    cases[1].folder.rename(cases[0].folder)
    (tmp_path / "aside").rename(cases[1].folder)
    assert again(2)[0] == ["0", "1"] and not (grid / "case_00002").exists()


def test_moved_folders_are_not_made_again(tmp_path, made):
    """A data folder and a build, both copied, so that their names and times of change are others."""
    preprocess_cases(write_cases(tmp_path / "data", 2), tmp_path / "build" / "grid", SMALL)
    made.clear()
    for old, new in (("data", "elsewhere"), ("build", "other")):
        shutil.copytree(tmp_path / old, tmp_path / new, copy_function=shutil.copyfile)
        shutil.rmtree(tmp_path / old)
    preprocess_cases(discover(tmp_path / "elsewhere"), tmp_path / "other" / "grid", SMALL)
    assert not made and str(tmp_path) not in (tmp_path / "other" / "grid" / "report.json").read_text()


def test_a_full_disk_leaves_no_half_case(tmp_path, monkeypatch, made):
    cases = write_cases(tmp_path / "data", 2)
    grid = tmp_path / "grid"
    real = np.save

    def full(path, array):
        if path.parts[-2:] == (".case_00001", "segmentation.npy"):
            raise OSError("No space left on device")
        real(path, array)

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match=r"case_00001 cannot be written \(No space.*; make room"):
        preprocess_cases(cases, grid, SMALL, workers=1)
    assert [case.name for case in discover(grid)] == ["case_00000"]
    monkeypatch.setattr(np, "save", real)
    made.clear()
    preprocess_cases(cases, grid, SMALL)
    assert made == {"case_00001"}
    assert sorted(path.name for path in grid.iterdir()) == ["case_00000", "case_00001", "report.json"]

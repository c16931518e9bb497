"""Cases: discovery, split and exclusions."""

from pathlib import Path

import pytest

from kitsnb.data import cases, nifti
from kitsnb.data.cases import Case
from kitsnb.data.checks import check_cases


def test_discover_sorts_and_ignores_other_names(tmp_path):
    for name in ("case_00010", "case_00002", "case_3", "notes", "case_000001"):
        (tmp_path / name).mkdir()
    (tmp_path / "case_00004").write_text("a file, no folder")
    assert [c.name for c in cases.discover(tmp_path)] == ["case_00002", "case_00010"]
    assert [c.number for c in cases.discover(tmp_path)] == [2, 10]


def test_discover_says_where_the_cases_are(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        cases.discover(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="case_XXXXX"):
        cases.discover(tmp_path)
    (tmp_path / "data" / "case_00000").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="did you mean .*data"):
        cases.discover(tmp_path)


def test_select_ranges_exclusions_and_missing():
    found = [Case(Path(f"case_{n:05d}")) for n in (0, 1, 15, 16, 30)]
    split = cases.select(found, [0, 17], [30, 31])
    assert [c.number for c in split.training] == [0, 1, 16]
    assert [c.number for c in split.validation] == [30]
    assert split.missing == [f"case_{n:05d}" for n in (*range(2, 15), 17, 31)]
    assert 15 in [c.number for c in cases.select(found, [0, 17], [30, 31], excluded=[]).training]
    assert [c.number for c in cases.select(found, [0, 1], [15, 16], excluded=[0]).training] == [1]


@pytest.mark.parametrize(("training", "validation"), [([0, 10], [10, 20]), ([5, 2], [10, 20]), ([0, 1, 2], [5, 6])])
def test_select_refuses_shared_cases_and_broken_ranges(training, validation):
    with pytest.raises(ValueError, match="give"):
        cases.select([], training, validation)


def test_the_real_labels(kits19_labels):
    found = cases.discover(kits19_labels)
    assert len(found) == 210
    split = cases.select(found)
    assert (len(split.training), len(split.validation), split.missing) == (160, 44, [])
    headers = [nifti.read_header(case.segmentation) for case in found]
    assert {nifti.orientation_of(header.affine) for header in headers} == {"IPL"}
    assert {h.shape[1:] for h in headers} == {(512, 512), (512, 796)}
    # Cases 15 and 23 have no sform, and case 160 is the one that is wider than the others.
    reports = check_cases([found[15], found[23], found[160]], imaging=False)
    assert [report.status for report in reports] == ["ok"] * 3

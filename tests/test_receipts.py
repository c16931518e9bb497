"""What a file or folder was made from: by content and meaning, whatever it is called and wherever it lies."""

import os
import shutil

import pytest

from kitsnb.files import NOTEBOOKS, write_atomic
from kitsnb.receipts import differences, flat, imported_files, meaning, read_receipt, receipt_of, why_stale
from kitsnb.receipts import states_of, write_receipt

MADE_FROM = {"settings": {"spacing": [1.0, 2.0]}}


@pytest.fixture
def folder(tmp_path):
    """A folder of two files, made from one, with its receipt."""
    write_atomic(tmp_path / "ct.nii", "a scan")
    write_atomic(tmp_path / "case" / "imaging.npy", b"12345678")
    write_atomic(tmp_path / "case" / "inner" / "labels.npy", b"1234")
    write_receipt(tmp_path / "case", MADE_FROM, states_of({"ct": tmp_path / "ct.nii"}), row={"voxels": 8})
    return tmp_path / "case"


def test_a_folder_that_is_as_it_was_made_is_known_wherever_it_lies(folder, tmp_path):
    assert read_receipt(folder, MADE_FROM, {"ct": tmp_path / "ct.nii"})["row"] == {"voxels": 8}
    moved = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(folder, moved, copy_function=shutil.copy)  # with other times
    shutil.move(tmp_path / "ct.nii", tmp_path / "other.nii")
    os.utime(tmp_path / "other.nii", (1, 1))
    assert why_stale(moved, MADE_FROM, {"ct": tmp_path / "other.nii"}) is None


@pytest.mark.parametrize(("damage", "said"), [
    (lambda folder: (folder / "imaging.npy").write_bytes(b"12345679"), "imaging.npy was changed since it was made"),
    (lambda folder: (folder / "inner" / "labels.npy").unlink(), "labels.npy is gone"),
    (lambda folder: (folder.parent / "ct.nii").write_text("a scam"), "ct changed"),
    (lambda folder: (folder.parent / "ct.nii").unlink(), "ct changed"),
    (lambda folder: receipt_of(folder).write_text('{"made_from": 1}'), "never finished"),
    (lambda folder: receipt_of(folder).write_bytes(b"\xff"), "never finished"),
    (lambda folder: receipt_of(folder).unlink(), "never finished"),
])
def test_what_differs_is_named(folder, damage, said):
    damage(folder)
    assert why_stale(folder, MADE_FROM, {"ct": folder.parent / "ct.nii"}) == said


def test_other_settings_and_other_inputs_are_named(folder):
    ct = folder.parent / "ct.nii"
    assert why_stale(folder, {"settings": {"spacing": [1.0, 3.0]}}, {"ct": ct}) == (
        "settings.spacing changed: [1.0, 2.0] -> [1.0, 3.0]")
    assert why_stale(folder, MADE_FROM, {"ct": ct, "label": ct}) == "label is new"
    assert why_stale(folder, MADE_FROM) == "ct is gone"


def test_differences_are_named_and_rows_compared_by_their_names():
    assert differences({"excluded": None}, {"excluded": []}) == ["excluded changed: None -> []"]
    assert differences({}, {"excluded": None}) == ["excluded changed: nothing -> None"]
    assert differences({"a": {}}, {"a": {"b": 1}}) and not differences({"a": 1}, {"a": 1})
    rows = [{"name": f"row{number}", "loss": "dice"} for number in range(9)]
    found = differences({"experiments": rows}, {"experiments": [*rows, {"name": "mine", "loss": "my.py:f"}]})
    assert found[1] == "experiments.mine.loss changed: nothing -> my.py:f"
    assert flat({"network": {"depth": 3}, "sides": [1, 2]}) == {"network.depth": 3, "sides": [1, 2]}


SOURCE = '''
def double(x):
    """Double."""
    for count in range(2):
        print(count)
        total = x + count
    return 2 * total
'''


def means(path, text) -> str:
    path.write_text(text)
    return meaning(path)


@pytest.mark.parametrize(("old", "new", "same"), [
    ('"""Double."""', '"""Twice."""', True), ("count", "number", False), ("def double(x):", "# a comment\ndef double(\n        x,\n):", True),
    ("2 * total", "3 * total", False), ("x + count", "x - count", False), ("(x)", "(x=1)", False),
    ("return 2 * total", "return 2 * count", False), ("double", "triple", False),
])
def test_a_module_means_what_it_computes(tmp_path, old, new, same):
    assert (means(tmp_path / "a.py", SOURCE.replace(old, new)) == means(tmp_path / "b.py", SOURCE)) is same


def test_imports_are_followed_to_the_module_that_is_meant(tmp_path):
    found = {"/".join(path.parts[-2:]) for path in imported_files(NOTEBOOKS / "04_training.py")}
    assert {"training/run.py", "losses/registry.py", "kitsnb/unet.py", "data/cases.py"} <= found
    (tmp_path / "my_loss.py").write_text("import helper\nfrom inner.deep import f\n")
    (tmp_path / "helper.py").write_text("import numpy\n")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "deep.py").write_text("from . import beside\nimport above\n")
    (tmp_path / "inner" / "beside.py").write_text("")
    (tmp_path / "above.py").write_text("")
    found = [path.name for path in imported_files(tmp_path / "my_loss.py")]
    assert found == ["above.py", "helper.py", "beside.py", "deep.py"]
    (tmp_path / "above.py").write_text("import helper\nreturn\n(")
    with pytest.raises(SyntaxError, match="above.py, line 3"):
        imported_files(tmp_path / "my_loss.py")
    # A name that a package hands on stands for all of it.
    (tmp_path / "user.py").write_text("from kitsnb.losses import build_loss\n")
    assert {"registry.py", "statistics.py"} <= {path.name for path in imported_files(tmp_path / "user.py")}

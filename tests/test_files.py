"""One way to write a file whole, one receipt of what a folder was made from, and one console that takes text as it is."""

import io
import json
import os
import shutil

import numpy as np
import pytest
from rich.table import Table

from kitsnb.files import files_below, flat, plain, read_json, read_receipt, replaced, write_atomic, write_json, write_receipt
from kitsnb.messages import console, duration, nearest


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "report.nii.gz"
    write_atomic(path, "first")
    with pytest.raises(RuntimeError), replaced(path) as partial:
        assert partial.name.endswith("report.nii.gz") and partial.name.startswith(".")
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "first" and list(path.parent.iterdir()) == [path]
    write_atomic(path, b"second")
    assert path.read_bytes() == b"second"


def test_json_is_strict_and_an_undefined_number_is_null(tmp_path):
    path = tmp_path / "results.json"
    write_json(path, {"dice": np.float32(0.5), 1: [float("nan"), np.nan], "n": np.int64(3), "array": np.eye(2), "at": tmp_path})
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == {
        "dice": 0.5, "1": [None, None], "n": 3, "array": [[1.0, 0.0], [0.0, 1.0]], "at": str(tmp_path)}
    with pytest.raises(ValueError, match="infinity"):
        write_json(path, {"loss": float("inf")})
    assert read_json(path)["n"] == 3 and plain((1, np.True_)) == [1, True]


def test_settings_are_told_by_their_paths():
    settings = {"network": {"depth": 3, "sides": [1, 2]}, "rows": [{"name": "a", "loss": "dice"}], "none": {}}
    assert flat(settings) == {"network.depth": 3, "network.sides": [1, 2], "rows.a.name": "a", "rows.a.loss": "dice"}
    assert flat(3) == {"": 3}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b"null"])
def test_a_damaged_json_is_an_empty_one(tmp_path, content):
    (tmp_path / "damaged.json").write_bytes(content)
    assert read_json(tmp_path / "damaged.json") == {} == read_json(tmp_path / "missing.json")


def test_a_receipt_says_what_a_folder_was_made_from(tmp_path):
    folder, made_from = tmp_path / "case", {"spacing": (1.0, 2.0), "scale": np.float64(0.5)}
    write_atomic(folder / "imaging.npy", b"12345678")
    write_atomic(folder / "inner" / "labels.npy", b"1234")
    write_receipt(folder, made_from, row={"voxels": 8})
    assert read_receipt(folder, made_from)["row"] == {"voxels": 8}
    assert read_receipt(folder, made_from | {"scale": 0.6}) is None
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, copy_function=shutil.copy)
    os.utime(copy / "imaging.npy", (1, 1))
    assert read_receipt(copy, made_from)
    for damaged in (b"12345679", b"", b"1234567890"):
        (copy / "imaging.npy").write_bytes(damaged)
        assert read_receipt(copy, made_from) is None
    (folder / "inner" / "labels.npy").unlink()
    assert read_receipt(folder, made_from) is None and read_receipt(tmp_path, made_from) is None


def test_a_receipt_of_a_single_file_lies_hidden_beside_it(tmp_path):
    file = tmp_path / "labels.nii.gz"
    file.write_text("one")
    (tmp_path / "other.txt").write_text("not part of it")
    write_receipt(file, {"run": "a"})
    assert [path.name for path in files_below(tmp_path)] == ["labels.nii.gz", "other.txt"]
    (tmp_path / "other.txt").write_text("changed")
    assert read_receipt(file, {"run": "a"}) and read_receipt(file, {"run": "b"}) is None
    file.write_text("two")
    assert read_receipt(file, {"run": "a"}) is None


@pytest.mark.parametrize("content", ["", "[]", '{"made_from": 1}', '{"made_from": 1, "files": 3}', '{"made_from": 1, "files": {"a": 1}}'])
def test_a_damaged_receipt_is_none(tmp_path, content):
    (tmp_path / ".made_from.json").write_text(content)
    assert read_receipt(tmp_path, 1) is None


def test_half_written_files_and_folders_are_no_content(tmp_path):
    for name in ("b", "a/c", ".a/c", "a/.d"):
        write_atomic(tmp_path / name, "")
    assert files_below(tmp_path, tmp_path / "none") == [tmp_path / "a/c", tmp_path / "b"]
    hidden = tmp_path / ".a"
    assert files_below(hidden) == [hidden / "c"]


def test_brackets_of_a_path_are_printed_as_they_are():
    out = io.StringIO()
    table = Table("case [kits19]", title="/data/[bold]kits19[/bold] :smiley:")
    table.add_row("/x/[kits19]/[/red]")
    shown = console(file=out, width=200)
    shown.print(table)
    shown.print("[/] unbalanced [brackets", style="red")
    for text in ("case [kits19]", "/data/[bold]kits19[/bold] :smiley:", "/x/[kits19]/[/red]", "[/] unbalanced [brackets"):
        assert text in out.getvalue()


def test_words():
    assert duration(3725) == "1:02:05" and duration(59.2) == "1:00" and duration(None) == ""
    assert nearest("dyce", ["dice", "tversky"]) == "did you mean 'dice'?" and nearest(7, [1, 2]) == "valid are: 1, 2"
    assert nearest("a", []) == "none is allowed here"

"""One way to write a file whole, strict JSON, a lock that names its holder, and one console that takes text as it is."""

import io
import json

import numpy as np
import pytest
from rich.table import Table

from kitsnb.files import files_below, locked, plain, read_json, replaced, write_atomic, write_json
from kitsnb.messages import console, duration, nearest, progress, threads_of_environment


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
    write_json(path, {"dice": np.float32(0.5), 1: [float("nan"), np.nan], "n": np.int64(3), "at": tmp_path})
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == {
        "dice": 0.5, "1": [None, None], "n": 3, "at": str(tmp_path)}
    with pytest.raises(ValueError, match="Out of range"):
        write_json(path, {"loss": float("inf")})
    assert read_json(path)["n"] == 3 and plain((1, np.True_)) == [1, True]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b"null"])
def test_a_damaged_json_is_an_empty_one(tmp_path, content):
    (tmp_path / "damaged.json").write_bytes(content)
    assert read_json(tmp_path / "damaged.json") == {} == read_json(tmp_path / "missing.json")


def test_half_written_files_and_folders_are_no_content(tmp_path):
    for name in ("b", "a/c", ".a/c", "a/.d"):
        write_atomic(tmp_path / name, "")
    assert files_below(tmp_path, tmp_path / "none") == [tmp_path / "a/c", tmp_path / "b"]


def test_a_folder_in_use_names_its_holder(tmp_path):
    with locked(tmp_path):
        with pytest.raises(RuntimeError, match=f"{tmp_path} is in use by process .* since"), locked(tmp_path, 0):
            pass
    with locked(tmp_path, 0):
        pass


def test_brackets_of_a_path_are_printed_as_they_are():
    out = io.StringIO()
    table = Table("case [kits19]", title="/data/[bold]kits19[/bold] :smiley:")
    shown = console(file=out, width=200)
    shown.print(table)
    shown.print("[/] unbalanced [brackets", style="red")
    for text in ("case [kits19]", "/data/[bold]kits19[/bold] :smiley:", "[/] unbalanced [brackets"):
        assert text in out.getvalue()


def test_words(capfd):
    assert list(progress("ab", "scoring")) == ["a", "b"]
    assert capfd.readouterr() == ("", "")  # without a terminal
    assert duration(3725) == "1:02:05" and duration(59.2) == "1:00" and duration(None) == ""
    assert nearest("dyce", ["dice", "tversky"]) == "did you mean 'dice'?"
    assert nearest(7, [1, 2]) == "valid are: 1, 2" and nearest("a", []) == "there is none"


@pytest.mark.parametrize(("text", "threads"), [("4", 4), ("", None), ("0", None), ("x", None)])
def test_threads_of_the_environment(monkeypatch, text, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert threads_of_environment() == threads

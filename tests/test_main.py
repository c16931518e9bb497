"""The command line: a menu, an example to each command, and errors that fit in a line or two."""

import re
import shlex

import pytest
import typer.main
from typer.testing import CliRunner

from kitsnb.__main__ import app

COMMANDS = typer.main.get_command(app).commands


def call(*words) -> tuple[int, str]:
    ended = CliRunner().invoke(app, list(map(str, words)), env={"COLUMNS": "100"})
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    return ended.exit_code, ended.output


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_has_an_example_that_is_valid(name):
    example = re.search(r"Example: `kitsnb (.+?)`", COMMANDS[name].help)
    first, *words = shlex.split(example[1])
    assert first == name
    COMMANDS[name].make_context(name, words)  # UsageError for an option that is not there


@pytest.mark.parametrize("words, said", [
    ("run quik", "did you mean 'quick'?"),
    ("run quick --why --launch nosuch", "there is no command nosuch"),
    ("run quick -p training.epoch=3", "did you mean 'epochs'?"),
    ("article nosuch", "there is no published study 'nosuch'"),
    ("download --to {folder} --cases x", "give numbers and ranges such as 0-9,15"),
    ("download --to {file} --cases 1", "{file}: File exists"),
    ("check {folder} --label-map 3", "must read OLD=NEW"),
    ("predict {file} --run {folder} --output {folder}/o.nii.gz", "run.json"),
    ("score {folder} {folder}", "holds no labels"),
    ("show {file}", "neither a gzip nor a NIfTI file"),
])
def test_an_error_is_said_in_few_words(words, said, tmp_path):
    file, folder = tmp_path / "file.nii.gz", tmp_path / "folder"
    file.write_text("no CT")
    folder.mkdir()
    status, output = call(*(word.format(file=file, folder=folder) for word in words.split()))
    assert status and said.format(file=file) in output
    assert "Traceback" not in output and "Errno" not in output and len(output.splitlines()) <= 3

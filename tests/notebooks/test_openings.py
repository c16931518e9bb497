"""What the notebooks look like to those who open them: parameters, one call, then pictures."""

import re

import jupytext
import pytest

from kitsnb.files import NOTEBOOKS
from kitsnb.workflow.profile import STAGES

NAMES = [name for name in STAGES.values() if name]


def cells(name: str) -> list:
    return [cell for cell in jupytext.read(NOTEBOOKS / name).cells if cell.cell_type == "code"]


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_begins_with_its_parameters_and_one_call(name):
    first, second = cells(name)[:2]
    given = {}
    exec(first.source, given)
    wanted = {"profile", "changes"} | ({"experiment", "seed"} if name.startswith("04") else set())
    assert "parameters" in first.metadata.tags and wanted == set(given) - {"__builtins__"}
    assert "study = open_study(profile, changes)" in second.source
    assert not re.search(r"by_runner|sys\.path|globals\(\)", "".join(cell.source for cell in cells(name)))


def test_notebooks_are_short_and_their_parameters_and_imports_are_folded():
    for name in ["00_start.py", *NAMES]:
        assert all(cell.metadata["jupyter"]["source_hidden"] for cell in cells(name)[:2]), name
    texts = [path.read_text().splitlines() for path in NOTEBOOKS.glob("0*.py")]
    assert sum(map(len, texts)) <= 1050

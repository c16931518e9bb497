"""Every notebook through the runner on the smoke profile, to the paper; then opened by hand."""

import json
import re
from pathlib import Path

import pytest
from helpers.smoke_at_hand import CONTENT, pages

from kitsnb.files import NOTEBOOKS
from kitsnb.workflow.execute import execute
from kitsnb.workflow.profile import STAGES


def test_every_notebook_was_executed(smoke):
    executed = {path.name for path in (smoke / "notebooks").glob("*.ipynb")}
    for notebook in filter(None, STAGES.values()):
        assert any(name.startswith(Path(notebook).stem) for name in executed), notebook
    for path in (smoke / "notebooks").glob("*.ipynb"):
        cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
        assert all(cell["execution_count"] for cell in cells if "".join(cell["source"]).strip()), path.name
        assert "widgets" not in json.loads(path.read_text())["metadata"]


def test_the_paper_says_that_its_data_are_simulated(smoke):
    text = pages(smoke / "paper.pdf")
    assert "simulated" in text.lower()
    for row in CONTENT["experiments"]:
        assert row["title"].split(" (")[0] in text


@pytest.mark.parametrize("notebook", ["03_losses.py", "05_results.py"])
def test_opened_by_hand_a_notebook_shows_all_rows_and_writes_nothing(smoke, tmp_path, notebook):
    def written() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in smoke.rglob("*") if path.is_file()}

    before = written()
    assert execute(NOTEBOOKS / notebook, tmp_path / "by_hand.ipynb", {"build": str(smoke)}, lambda group: None) is None
    assert written() == before
    shown = (tmp_path / "by_hand.ipynb").read_text()
    assert all(row["title"] in shown for row in CONTENT["experiments"])


def test_saved_notebooks_stay_small(smoke):
    sizes = {path.name: path.stat().st_size for path in (smoke / "notebooks").glob("*.ipynb")}
    assert len(sizes) > 6 and max(sizes.values()) < 1e6, sizes


def test_every_picture_has_an_alternative_text(smoke):
    for path in (smoke / "notebooks").glob("*.ipynb"):
        outputs = [output for cell in json.loads(path.read_text())["cells"] for output in cell.get("outputs", [])]
        pictures = [output for output in outputs if "image/png" in output.get("data", {})]
        assert pictures, path
        for picture in pictures:
            assert len(picture["metadata"]["image/png"]["alt"]) > 20, path
    for path in (smoke / "figures").glob("*.svg"):
        assert len(re.search("<title>([^<]+)</title>", path.read_text())[1]) > 20, path

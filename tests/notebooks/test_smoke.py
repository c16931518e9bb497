"""Every notebook through the runner on the smoke profile, to the paper; then what a user does with a finished build."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from helpers.smoke_at_hand import CONTENT, SMOKE, finished, kitsnb, pages, write_profile

from kitsnb.files import NOTEBOOKS, ROOT, read_json
from kitsnb.workflow.notebook import execute
from kitsnb.workflow.profile import STAGES


def outputs(notebook: Path) -> list[dict]:
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    return [output for cell in cells for output in cell.get("outputs", [])]


def test_every_notebook_was_executed_with_pictures_that_say_what_they_show(smoke):
    executed = sorted((smoke / "notebooks").glob("*.ipynb"))
    assert {path.name[:2] for path in executed} == {name[:2] for name in STAGES.values() if name}
    for path in executed:
        cells = [cell for cell in json.loads(path.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
        assert all(cell["execution_count"] for cell in cells if "".join(cell["source"]).strip()), path.name
        pictures = [output for output in outputs(path) if "image/png" in output.get("data", {})]
        assert pictures and all(len(one["metadata"]["image/png"]["alt"]) > 20 for one in pictures), path.name
        assert path.stat().st_size < 1e6 and "widgets" not in json.loads(path.read_text("utf-8"))["metadata"]
    for path in (smoke / "figures").glob("*.svg"):
        assert len(re.search("<title>([^<]+)</title>", path.read_text("utf-8"))[1]) > 20, path


@pytest.mark.parametrize("stage", ["data_analysis", "preprocessing", "losses", "training", "results"])
def test_opened_by_hand_a_notebook_shows_the_build_and_writes_nothing(smoke, tmp_path, stage):
    def written() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in smoke.rglob("*") if path.is_file()}

    before = written()
    notebook = tmp_path / "by_hand.ipynb"
    assert execute(NOTEBOOKS / STAGES[stage], notebook, {"profile": str(smoke)}) == ""
    assert written() == before and any("image/png" in output.get("data", {}) for output in outputs(notebook))
    assert "OutputModel" not in notebook.read_text("utf-8"), "nbclient can wait for ever where output is captured"


def test_moved_nothing_runs_again_and_changes_run_only_what_follows_with_the_readmes_own_loss(build, tmp_path):
    moved = tmp_path / "renamed"
    shutil.move(build, moved)
    again = kitsnb("run", SMOKE, "--build", moved)
    assert again.returncode == 0 and "up to date" in again.stdout and not finished(again.stdout), again.stdout

    readme = (ROOT / "README.md").read_text("utf-8")
    (tmp_path / "my_loss.py").write_text(re.search(r"```python title my_loss.py\n(.*?)```", readme, re.S)[1], "utf-8")
    (entry,) = yaml.safe_load(re.search(r"```yaml title[^\n]*table1[^\n]*\n(.*?)```", readme, re.S)[1])
    entry["loss"] = f"{tmp_path / 'my_loss.py'}:{entry['loss'].rpartition(':')[2]}"
    rows = [row | {"parameters": {"exponent": 2.0}} if row["name"] == "focal_tversky" else row
            for row in CONTENT["experiments"]]
    done = kitsnb("run", write_profile(tmp_path / "smoke.yml", experiments=[*rows, entry]), "--build", moved)
    assert done.returncode == 0, done.stdout
    trained = {"training focal_tversky seed 0", f"training {entry['name']} seed 0"}
    assert finished(done.stdout) == {"losses", *trained, "results", "paper"}
    assert list((moved / "runs" / "archive").glob("focal_tversky-seed0-*")), "the former run is kept"
    table = read_json(moved / "results.json")["table"]
    assert len(table) == len(rows) + 1 and table[-1]["experiment"] == entry["name"]
    assert table[-1]["scores"]["kidney"]["mean"] is not None and entry["title"] in pages(moved / "paper.pdf")

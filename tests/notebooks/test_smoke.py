"""Every notebook through the runner on the smoke profile, to the paper; then what a user does with a finished build."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from helpers.runner_at_hand import processes_below, until
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


def test_the_paper_speaks_of_its_own_study_and_says_that_its_data_are_simulated(smoke):
    text = pages(smoke / "paper.pdf")
    assert "simulated" in text.lower() and CONTENT["title"] in text
    for row in CONTENT["experiments"]:
        assert row["title"].split(" (")[0] in text
    results = read_json(smoke / "results.json")
    assert [row["experiment"] for row in results["table"]] == [row["name"] for row in CONTENT["experiments"]]


@pytest.mark.parametrize("stage", ["data_analysis", "preprocessing", "losses", "training", "results"])
def test_opened_by_hand_a_notebook_shows_the_build_and_writes_nothing(smoke, tmp_path, stage, monkeypatch):
    def written() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in smoke.rglob("*") if path.is_file()}

    before = written()
    notebook = tmp_path / "by_hand.ipynb"
    assert execute(NOTEBOOKS / STAGES[stage], notebook, {"profile": str(smoke)}, []) is None
    assert written() == before and any("image/png" in output.get("data", {}) for output in outputs(notebook))


def test_before_any_build_a_sentence_is_said_and_no_traceback(tmp_path):
    failure = execute(NOTEBOOKS / STAGES["results"], tmp_path / "early.ipynb", {"profile": "exponents"}, [])
    assert failure["message"].startswith("NotBuilt: nothing is built in")
    (error,) = [output for output in outputs(tmp_path / "early.ipynb") if output["output_type"] == "error"]
    assert len(error["traceback"]) == 1 and "run make" in error["traceback"][0]


def test_again_or_moved_nothing_runs_and_a_change_runs_only_what_follows(build, tmp_path):
    moved = tmp_path / "renamed"
    shutil.move(build, moved)
    again = kitsnb("run", SMOKE, "--build", moved)
    assert again.returncode == 0 and "up to date" in again.stdout and not finished(again.stdout), again.stdout
    rows = [row | {"parameters": {"exponent": 2.0}} if row["name"] == "focal_tversky" else row
            for row in CONTENT["experiments"]]
    done = kitsnb("run", write_profile(tmp_path / "smoke.yml", experiments=rows), "--build", moved)
    assert done.returncode == 0, done.stdout
    assert finished(done.stdout) == {"losses", "training focal_tversky seed 0", "results", "paper"}
    assert list((moved / "runs" / "archive").glob("focal_tversky-seed0-*")), "the former run is kept"


def test_damage_is_named_and_healed_and_no_training_is_repeated(smoke, build):
    run = build / "runs" / "dice-seed0"
    scores = pd.read_csv(run / "scores.csv")
    scores.assign(kidney=1.0).to_csv(run / "scores.csv", index=False)
    phantom = build / "data" / "case_00003" / "imaging.nii.gz"
    phantom.write_bytes(phantom.read_bytes()[:-20])
    (build / "losses" / "summary.json").write_text("{")
    trained = {path: path.stat().st_mtime_ns for path in build.glob("runs/*/checkpoints/*")}
    done = kitsnb("run", SMOKE, "--build", build)
    assert done.returncode == 0, done.stdout
    for name in ("scores.csv", "imaging.nii.gz", "summary.json"):
        assert f"{name} was changed since it was made" in done.stdout
    assert trained == {path: path.stat().st_mtime_ns for path in build.glob("runs/*/checkpoints/*")}
    for path in (phantom, run / "scores.csv"):
        assert path.read_bytes() == (smoke / path.relative_to(build)).read_bytes(), path


def test_own_loss_as_the_readme_says_adds_a_row(build, tmp_path):
    readme = (ROOT / "README.md").read_text("utf-8")
    code = re.search(r"```python title my_loss.py\n(.*?)```", readme, re.S)[1]
    (entry,) = yaml.safe_load(re.search(r"```yaml title[^\n]*table1[^\n]*\n(.*?)```", readme, re.S)[1])
    file = tmp_path / "my_loss.py"
    file.write_text(code, "utf-8")
    entry["loss"] = f"{file}:{entry['loss'].rpartition(':')[2]}"
    profile = write_profile(tmp_path / "own.yml", experiments=[*CONTENT["experiments"], entry])
    done = kitsnb("run", profile, "--build", build)
    assert done.returncode == 0, done.stdout
    table = read_json(build / "results.json")["table"]
    assert len(table) == len(CONTENT["experiments"]) + 1 and table[-1]["experiment"] == entry["name"]
    assert table[-1]["scores"]["kidney"]["mean"] is not None and entry["title"] in pages(build / "paper.pdf")


def test_a_killed_run_goes_on_from_its_last_epoch(build, tmp_path):
    training = CONTENT["training"] | {"epochs": 40, "steps_per_epoch": 6}
    profile = write_profile(tmp_path / "killed.yml", training=training, experiments=CONTENT["experiments"][:1],
                            stages=["data_analysis", "preprocessing", "training"])
    history = build / "runs" / "dice-seed0" / "history.csv"
    command = [sys.executable, "-m", "kitsnb", "run", str(profile), "--build", str(build)]
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL)
    until(lambda: history.exists() and (build / "runs" / "archive").exists() and len(pd.read_csv(history)) >= 5)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: not processes_below(build))
    before = pd.read_csv(history)
    assert len(before) < 40
    done = kitsnb("run", profile, "--build", build)
    assert done.returncode == 0 and "goes on after epoch" in done.stdout, done.stdout
    after = pd.read_csv(history)
    assert list(after.epoch) == list(range(1, 41))
    kept = len(before) - 1  # the epoch whose checkpoint was being written may be repeated
    pd.testing.assert_frame_equal(after[:kept], before[:kept])  # seconds too: these epochs were not trained again

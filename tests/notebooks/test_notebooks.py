"""Every notebook through the runner on the smoke profile, and what a user does next: again, one change, own loss, a kill."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from helpers.broken_cases import check_named, spoil
from pypdf import PdfReader

from kitsnb.files import NOTEBOOKS, ROOT
from kitsnb.workflow.execute import execute

SMOKE = yaml.safe_load((ROOT / "tests" / "helpers" / "smoke.yml").read_text())


def kitsnb(*arguments, **settings) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "kitsnb", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=400, **settings)


def write_profile(path: Path, **changes) -> Path:
    path.write_text(yaml.safe_dump(SMOKE | changes))
    return path


def pages(pdf: Path) -> str:
    return re.sub(r"\s+", " ", " ".join(page.extract_text() for page in PdfReader(pdf).pages))


def test_every_notebook_was_executed(smoke):
    executed = {path.name for path in (smoke / "notebooks").glob("*.ipynb")}
    for notebook in NOTEBOOKS.glob("*.py"):
        assert any(name.startswith(notebook.stem) for name in executed), notebook.name
    for path in (smoke / "notebooks").glob("*.ipynb"):
        cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
        assert all(cell["execution_count"] for cell in cells if "".join(cell["source"]).strip()), path.name
        assert "widgets" not in json.loads(path.read_text())["metadata"]


def test_the_paper_says_that_its_data_are_simulated(smoke):
    text = pages(smoke / "paper.pdf")
    assert "simulated" in text.lower()
    for row in SMOKE["experiments"]:
        assert row["title"].split(" (")[0] in text


@pytest.mark.parametrize("notebook", ["03_losses.py", "05_results.py"])
def test_opened_by_hand_a_notebook_shows_all_rows_and_writes_nothing(smoke, tmp_path, notebook):
    def written() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in smoke.rglob("*") if path.is_file()}

    before = written()
    assert execute(NOTEBOOKS / notebook, tmp_path / "by_hand.ipynb", {"build": str(smoke)}, lambda group: None) is None
    assert written() == before
    shown = (tmp_path / "by_hand.ipynb").read_text()
    assert all(row["title"] in shown for row in SMOKE["experiments"])


def test_damage_is_named_and_healed_and_no_training_is_repeated(smoke, tmp_path):
    whole = shutil.copytree(smoke, tmp_path / "whole")
    volume, scores = smoke / "preprocessed" / "case_00005" / "imaging.npy", pd.read_csv(smoke / "runs" / "dice-seed0" / "scores.csv")
    content = bytearray(volume.read_bytes())
    content[-1] ^= 1
    volume.write_bytes(content)
    scores.assign(kidney=1.0).to_csv(smoke / "runs" / "dice-seed0" / "scores.csv", index=False)
    phantom = smoke / "data" / "case_00003" / "imaging.nii.gz"
    for path in (phantom, smoke / "runs" / "focal_tversky-seed0" / "history.csv", smoke / "losses" / "summary.json"):
        path.write_bytes(path.read_bytes()[:-20])
    for name in ("focal_tversky_5-seed0/run.json", "log_cosh_dice-seed0/predictions/case_00005.nii.gz"):
        (smoke / "runs" / name).write_bytes(b"")
    figure = next(smoke.glob("figures/fig1*.svg"))
    figure.unlink()
    (smoke / "paper.pdf").unlink()
    trained = {path: path.stat().st_mtime_ns for path in smoke.glob("runs/*/checkpoints/*")}
    done = kitsnb("run", ROOT / "tests" / "helpers" / "smoke.yml", "--build", smoke)
    assert done.returncode == 0, done.stdout
    for path in (phantom, volume, smoke / "losses" / "summary.json", *(smoke / "runs" / name for name in (
            "dice-seed0/scores.csv", "focal_tversky-seed0/history.csv", "focal_tversky_5-seed0/run.json"))):
        assert f"{path} was changed since it was made" in done.stdout, path
    assert trained == {path: path.stat().st_mtime_ns for path in smoke.glob("runs/*/checkpoints/*")}
    assert not (smoke / "runs" / "archive").exists()
    for name in ("preprocessed/case_00005/imaging.npy", "data/case_00003/imaging.nii.gz", "runs/dice-seed0/scores.csv",
                 "runs/focal_tversky-seed0/history.csv", "runs/focal_tversky_5-seed0/run.json", figure.relative_to(smoke)):
        assert (smoke / name).read_bytes() == (whole / name).read_bytes(), name


def test_again_runs_nothing_and_one_change_runs_only_what_follows(smoke, tmp_path):
    started = time.monotonic()
    again = kitsnb("run", ROOT / "tests" / "helpers" / "smoke.yml", "--build", smoke)
    assert again.returncode == 0 and "up to date" in again.stdout and "done in" not in again.stdout, again.stdout
    assert time.monotonic() - started < 60

    changed = [row | {"parameters": {"exponent": 2.0}} if row["name"] == "focal_tversky" else row for row in SMOKE["experiments"]]
    profile = write_profile(tmp_path / "smoke.yml", experiments=changed)
    why = kitsnb("run", profile, "--build", smoke, "--why").stdout
    lines = {line.split(": ")[0]: line for line in why.splitlines() if ": " in line}
    assert "loss_parameters changed" in lines["training focal_tversky seed 0"]
    assert "up to date" in lines["training dice seed 0"] and "up to date" in lines["preprocessing"]
    done = kitsnb("run", profile, "--build", smoke)
    assert done.returncode == 0, done.stdout
    finished = set(re.findall(r"^(.*): done in", done.stdout, re.M))
    assert finished == {"losses", "training focal_tversky seed 0", "results", "paper"}
    assert list((smoke / "runs" / "archive").glob("focal_tversky-seed0-*")), "the former run is kept"


def test_own_loss_as_the_readme_says_adds_a_row(smoke, tmp_path):
    readme = (ROOT / "README.md").read_text()
    code = re.search(r"```python title my_loss.py\n(.*?)```", readme, re.S)[1]
    entry = yaml.safe_load(re.search(r"```yaml title[^\n]*\n(.*?)```", readme, re.S)[1])
    entry = entry["experiments"] if isinstance(entry, dict) else entry
    assert len([line for line in code[code.index("def "):].splitlines() if line.strip()]) <= 10
    file = tmp_path / "my_loss.py"
    file.write_text(code)
    entry[0]["loss"] = str(file) + ":" + entry[0]["loss"].rpartition(":")[2]
    profile = write_profile(tmp_path / "own.yml", experiments=SMOKE["experiments"] + entry)
    done = kitsnb("run", profile, "--build", smoke)
    assert done.returncode == 0, done.stdout
    table = json.loads((smoke / "results.json").read_text())["table"]
    assert len(table) == 8 and table[-1]["experiment"] == entry[0]["name"]
    assert table[-1]["scores"]["kidney"]["mean"] is not None
    assert entry[0]["title"] in pages(smoke / "paper.pdf")


def test_cross_validation_holds_every_case_out_once(tmp_path):
    experiments = [row for row in SMOKE["experiments"] if row["name"] in ("dice", "log_cosh_dice")]
    stages = [stage for stage in SMOKE["stages"] if stage != "benchmarks"]
    profile = write_profile(tmp_path / "folds.yml", experiments=experiments, stages=stages, folds=2)
    build = tmp_path / "build"
    done = kitsnb("run", profile, "--build", build)
    assert done.returncode == 0, done.stdout
    assert "2 experiments x 1 seed x 2 folds = 4 runs" in done.stdout, "the estimate comes before training"
    folders = sorted(path.name for path in (build / "runs").iterdir())
    assert folders == [f"{row}-seed0-fold{fold}" for row in ("dice", "log_cosh_dice") for fold in (0, 1)]
    cases = [sorted(pd.read_csv(build / "runs" / f"dice-seed0-fold{fold}" / "scores.csv").case) for fold in (0, 1)]
    assert sorted(cases[0] + cases[1]) == [f"case_{number:05d}" for number in range(8)]
    results = json.loads((build / "results.json").read_text())
    assert len(results["runs"]) == 4 and results["data"]["folds"] == 2 and results["data"]["validation"] == 8
    scores = results["table"][0]["scores"]["kidney"]
    assert scores["n"] + scores["undefined"] == 8
    text = pages(build / "paper.pdf")
    assert "2-fold cross-validation, every case held out once" in text and "8 held-out cases" in text
    assert "first of 2 folds" in (build / "figures" / "fig02_training_log_cosh_dice.svg").read_text()
    assert "done in" not in kitsnb("run", profile, "--build", build).stdout, "all is up to date"
    why = kitsnb("run", write_profile(profile, experiments=experiments, stages=stages, folds=3), "--build", build, "--why").stdout
    assert "data analysis: parameter folds changed: 2 -> 3" in why  # it tells the split; the others follow it
    assert "training dice seed 0 fold 2: never trained" in why and "preprocessing: only if data analysis will" in why


def test_a_killed_run_goes_on_from_its_last_epoch(tmp_path):
    training = SMOKE["training"] | {"epochs": 40, "steps_per_epoch": 6}
    profile = write_profile(tmp_path / "killed.yml", training=training, experiments=SMOKE["experiments"][:1],
                            stages=["data_analysis", "preprocessing", "training"])
    build, command = tmp_path / "build", [sys.executable, "-m", "kitsnb", "run", str(profile), "--build"]
    history = build / "runs" / "dice-seed0" / "history.csv"
    process = subprocess.Popen([*command, str(build)], cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (history.exists() and len(pd.read_csv(history)) >= 5):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(3)  # kernels are in sessions of their own and notice by themselves that their parent is gone
    before = pd.read_csv(history)
    assert len(before) < 40
    done = kitsnb("run", profile, "--build", build)
    assert done.returncode == 0, done.stdout
    after = pd.read_csv(history)
    assert list(after.epoch) == list(range(1, 41))
    kept = len(before) - 1  # the epoch whose checkpoint was being written may be repeated
    pd.testing.assert_frame_equal(after[:kept], before[:kept])
    assert set(re.findall(r"^(.*): done in", done.stdout, re.M)) == {"training dice seed 0"}


def test_refused_cases_are_named_and_the_others_go_on_to_the_paper(tmp_path):
    """Ten cases, five of them spoilt in five ways: three to learn from, two held out."""
    from kitsnb.simulation.phantom import write_dataset

    expected = spoil(write_dataset(tmp_path / "data", 10, 0))
    common = SMOKE["common"] | {"source": "folder", "folder": str(tmp_path / "data"), "training": [0, 5],
                                "validation": [6, 9]}
    stages = ["data_analysis", "preprocessing", "losses", "training", "results", "paper"]
    profile = write_profile(tmp_path / "bad.yml", common=common, data_analysis={}, losses=SMOKE["losses"] | {"case": 0},
                            experiments=SMOKE["experiments"][:1], stages=stages)
    done = kitsnb("run", profile, "--build", tmp_path / "build")
    assert done.returncode == 3, done.stdout
    check_named(dict(re.findall(r"^refused (\w+): (.*)$", done.stdout, re.MULTILINE)), expected)
    run = tmp_path / "build" / "runs" / "dice-seed0"
    assert json.loads((run / "run.json").read_text())["training_cases"] == 3
    assert list(pd.read_csv(run / "scores.csv").case) == ["case_00006", "case_00008"]
    assert (tmp_path / "build" / "paper.pdf").exists()

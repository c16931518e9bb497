"""What is done, and why it is not: damage, changed code and settings, moves; notebooks are played in a moment."""

import re
import shutil
from pathlib import Path

import jupytext
import pytest
from helpers.runner_at_hand import SECTIONS, make

from kitsnb.files import NOTEBOOKS, ROOT, InUse, files_below, locked, write_atomic
from kitsnb.workflow import execution, jobs, run, trial
from kitsnb.workflow.jobs import READS, build_jobs, cells
from kitsnb.workflow.profile import STAGES, load

LOSS = "def loss(logits, target):\n    return logits.square().mean()\n"


class Played:
    """In place of ``run_beside``: does at once what the notebook of each job would do, and keeps count of it."""

    def __init__(self):
        self.executed = []
        self.trained = []

    def __call__(self, todo, places, tick):
        for job in todo:
            self.executed.append(job.name)
            self.play(job, job.build)
            write_atomic(job.output, "executed")
            yield job, "", 0.0

    def play(self, job, build):
        if job.stage == "data_analysis":
            write_atomic(build.figures / "data.svg", "<svg/>")
            for number in range(5):
                write_atomic(build.data / f"case_{number:05d}" / "imaging.nii.gz", f"imaging of {number}")
        elif job.stage == "preprocessing":
            for case in build.data.glob("case_*"):
                volume = (case / "imaging.nii.gz").read_text() + " on the grid"
                write_atomic(build.preprocessed / case.name / "imaging.npy", volume)
        elif job.run and not (job.run / "checkpoints" / "last.ckpt").exists():
            self.trained.append(job.name)
            write_atomic(job.run / "checkpoints" / "last.ckpt", "weights")
        elif job.stage == "results":
            write_atomic(build.figures / "results.svg", "<svg></svg>")
        for path in job.made():
            write_atomic(path if path.suffix else path / "summary.json", "{}")


@pytest.fixture
def played(monkeypatch, tmp_path):
    one = Played()
    monkeypatch.setattr(execution, "run_beside", one)
    monkeypatch.setattr(execution, "compile_paper", lambda job: write_atomic(job.output, "a paper"))
    monkeypatch.setattr(trial, "unusable_losses", lambda profile: [])  # trying them takes a while
    monkeypatch.setattr(jobs, "NOTEBOOKS", tmp_path / "notebooks")
    return one


def made(folder: Path, build: str = "build", **content):
    path, _ = make(folder, **{"stages": list(STAGES)} | content)
    return load(path, build=folder / build)


def execute(folder: Path, played: Played, build: str = "build", **content) -> list[str]:
    """Return the names of the jobs that were executed."""
    played.executed.clear()
    assert run.run_profile(made(folder, build, **content))
    return list(played.executed)


def content_of(build: Path) -> dict[str, bytes]:
    """Return what a reader may use."""
    return {str(path.relative_to(build)): path.read_bytes() for path in files_below(build)
            if path.relative_to(build).parts[0] not in ("stamps", "profile.json")}


def test_every_damage_of_every_product_is_named_and_healed_without_training(tmp_path, played, capfd):
    assert len(execute(tmp_path, played)) == 6
    assert played.trained == ["training-a-seed0", "training-b-seed0"] and execute(tmp_path, played) == []
    build = tmp_path / "build"
    whole = content_of(build)
    products = [name for name in whole if "checkpoints" not in name]
    assert len(products) == 32
    for place, name in enumerate(products):
        capfd.readouterr()
        (build / name).unlink()
        if place % 2:  # one bit is another
            write_atomic(build / name, bytes([whole[name][0] ^ 1]) + whole[name][1:])
        execute(tmp_path, played)
        words = "was changed since it was made" if place % 2 else "is gone"
        assert f"{Path(name).name} {words}" in capfd.readouterr().out, name
        assert content_of(build) == whole, name
    assert len(played.trained) == 2 and not (build / "runs" / "archive").exists()


def test_a_moved_build_and_moved_cases_train_nothing(tmp_path, played):
    execute(tmp_path, played)
    shutil.move(tmp_path / "build", tmp_path / "renamed")
    assert execute(tmp_path, played, "renamed") == []
    cases = tmp_path / "cases"
    shutil.copytree(tmp_path / "renamed" / "data", cases)
    real = {"data": SECTIONS["data"] | {"source": "folder", "folder": str(cases)}}
    for case in cases.glob("case_*"):
        write_atomic(case / "segmentation.nii.gz", "a label")
    execute(tmp_path, played, "real", **real)
    shutil.move(cases, tmp_path / "moved")
    real["data"]["folder"] = str(tmp_path / "moved")
    assert execute(tmp_path, played, "real", **real) == []


def test_a_setting_of_scoring_trains_nothing_and_one_of_training_only_its_run(tmp_path, played, capfd):
    execute(tmp_path, played)
    overlap = {"prediction": {"overlap": [4, 4, 4]}}
    assert execute(tmp_path, played, **overlap) == ["training-a-seed0", "training-b-seed0", "results"]
    assert "overlap changed: [8, 8, 8] -> [4, 4, 4]; trained already, so only executed again" in capfd.readouterr().out
    assert len(played.trained) == 2
    rows = [{"name": "a", "loss": "dice", "parameters": {"smooth": 0.1}}, {"name": "b", "loss": "tversky"}]
    executed = execute(tmp_path, played, **overlap, experiments=rows)
    assert executed == ["losses", "training-a-seed0", "results"] and played.trained[2:] == ["training-a-seed0"]
    said = capfd.readouterr().out
    assert "settings.training.loss_parameters.smooth changed: nothing -> 0.1; trained again from the start" in said
    assert "the former run is kept in" in said and list((tmp_path / "build" / "runs" / "archive").iterdir())


def test_cases_in_the_split_and_of_further_folders_decide_a_training_and_others_do_not(tmp_path, played):
    execute(tmp_path, played)
    for number in (1, 77):
        write_atomic(tmp_path / "build" / "data" / f"case_{number:05d}" / "imaging.nii.gz", "another")
        write_atomic(tmp_path / "build" / "preprocessed" / f"case_{number:05d}" / "imaging.npy", "another")
    for excluded, trained in (([1], 2), (None, 4), ([], 6)):  # None: the paper's six
        execute(tmp_path, played, data=SECTIONS["data"] | {"excluded": excluded})
        assert len(played.trained) == trained
    write_atomic(tmp_path / "further" / "case_00003" / "imaging.nii.gz", "one")
    write_atomic(tmp_path / "build" / "preprocessed" / "case_00003-2" / "imaging.npy", "one")
    data = SECTIONS["data"] | {"more_training": [f"{tmp_path}/further"]}
    assert "preprocessing" in execute(tmp_path, played, data=data)
    assert len(played.trained) == 8


def test_without_checkpoints_a_damaged_run_is_trained_again_and_said(tmp_path, played, capfd):
    execute(tmp_path, played)
    shutil.rmtree(tmp_path / "build" / "runs" / "a-seed0" / "checkpoints")
    assert execute(tmp_path, played) == []  # nothing asks for them
    (tmp_path / "build" / "runs" / "a-seed0" / "scores.csv").unlink()
    execute(tmp_path, played)
    assert "is gone; trained from the start" in capfd.readouterr().out
    assert len(played.trained) == 3


def test_what_a_readers_loss_imports_counts_and_a_change_while_it_trains_comes_too_late(tmp_path, played, capfd):
    (tmp_path / "my_loss.py").write_text("from helper import loss\n")
    (tmp_path / "helper.py").write_text(LOSS)
    rows = [{"name": "mine", "loss": f"{tmp_path / 'my_loss.py'}:loss"}]
    play = played.play

    def edited(job, build):
        play(job, build)
        if job.run:
            (tmp_path / "helper.py").write_text(LOSS.replace("return", "return 5 *"))

    played.play = edited
    execute(tmp_path, played, experiments=rows)
    assert execute(tmp_path, played, experiments=rows) == ["losses", "training-mine-seed0"]
    assert "helper.py changed" in capfd.readouterr().out and played.trained == ["training-mine-seed0"] * 2


def test_a_figures_code_executes_notebooks_and_trains_nothing(tmp_path, played, monkeypatch, capfd):
    execute(tmp_path, played)
    drawing = ROOT / "kitsnb" / "inference" / "settings.py"  # imported by the opening of every notebook
    before = jobs.meaning
    monkeypatch.setattr(jobs, "meaning", lambda path: "another" if path == drawing else before(path))
    work = dict.fromkeys(("04_training.py", "05_results.py"), "from kitsnb.workflow.opened import open_study")
    profile = made(tmp_path, work=work)
    assert run.run_profile(profile, dry=True)
    why = capfd.readouterr().out
    assert "training a seed 0: " in why and "trained already, so only executed again" in why
    assert "paper: only if results will have changed" in why and "data analysis: up to date" in why
    assert run.run_profile(profile) and len(played.trained) == 2


def test_what_cannot_run_is_said_before_anything_runs(tmp_path, played, monkeypatch):
    monkeypatch.setattr(trial, "unusable_losses", lambda profile: ["no such loss"])
    with pytest.raises(ValueError, match="no such loss"):
        run.run_profile(made(tmp_path))
    assert played.executed == []


def test_cells_count_and_not_the_header_that_jupyterlab_writes(tmp_path):
    text = (NOTEBOOKS / "04_training.py").read_text("utf-8")
    found = []
    for changed in (text, text.replace("jupytext:", "jupytext:\n#     x: 1"), text + "\n# %%\nprint(1)\n"):
        (tmp_path / "notebook.py").write_text(changed)
        found.append(cells(tmp_path / "notebook.py"))
    assert found[0] == found[1] != found[2]


def test_a_training_is_made_from_the_code_that_computes_whichever_weights_predict(tmp_path, played):
    execute(tmp_path, played)
    job = next(job for job in build_jobs(made(tmp_path)) if job.run)
    made_from = job.trained_from()
    code = {name.removeprefix("kitsnb/").split("/")[0] for name in made_from["code"]}
    assert {"losses", "training", "unet.py"} <= code and not {"messages.py", "files.py", "workflow"} & code
    assert "weights" not in made_from["settings"]["training"], "which of those that are kept predict"


@pytest.mark.parametrize("stage", [stage for stage in STAGES if STAGES[stage]])
def test_a_notebook_begins_with_its_parameters_and_reads_only_the_sections_that_its_stamp_knows(stage):
    text = (NOTEBOOKS / STAGES[stage]).read_text("utf-8")
    first, second = [cell.source for cell in jupytext.reads(text, "py:percent").cells if cell.cell_type == "code"][:2]
    given = {}
    exec(first, given)
    wanted = {"profile", "changes"} | ({"experiment", "seed"} if stage == "training" else set())
    assert wanted == set(given) - {"__builtins__"} and "study = open_study(profile, changes)" in second
    read = set(re.findall(r"\bprofile\.(\w+)", text)) - {"simulated", "name", "runs", "file", "build", "workers"}
    assert read <= set(READS[stage]), f"add them to READS of kitsnb/workflow/jobs.py: {read - set(READS[stage])}"


@pytest.mark.parametrize("folder", ["build", "build/runs/a-seed0"])
def test_what_another_process_works_on_is_left_alone(tmp_path, played, folder):
    execute(tmp_path, played)
    with locked(tmp_path / folder), pytest.raises(InUse):
        run.run_profile(made(tmp_path, training={"epochs": 9}))
    assert (tmp_path / "build" / "runs" / "a-seed0" / "run.json").exists()

"""What is done, and why it is not: damage, changed code and settings, moves; notebooks are played in a moment."""

import re
import shutil
from pathlib import Path

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
        self.fails = None

    def __call__(self, todo, places, tick):
        for job in todo:
            self.executed.append(job.name)
            self.play(job, job.build)
            write_atomic(job.output, "executed")
            yield job, "no luck" if job.name == self.fails else "", 0.0

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


@pytest.mark.parametrize("garbage", [b"", b"\xff\xfe\x00", b'{"made_from": 3}'])
def test_garbage_among_the_stamps_is_no_traceback(tmp_path, played, garbage):
    execute(tmp_path, played)
    build = tmp_path / "build"
    for path in (*build.glob("stamps/*"), *build.glob("runs/*/.made_from.json"), build / "runs/a-seed0/history.csv"):
        path.write_bytes(garbage)
    assert len(execute(tmp_path, played)) == 6 and execute(tmp_path, played) == []


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


def test_cases_in_the_split_decide_a_training_and_others_do_not(tmp_path, played):
    execute(tmp_path, played)
    for number in (1, 77):
        write_atomic(tmp_path / "build" / "data" / f"case_{number:05d}" / "imaging.nii.gz", "another")
        write_atomic(tmp_path / "build" / "preprocessed" / f"case_{number:05d}" / "imaging.npy", "another")
    for excluded, trained in (([1], 2), (None, 4), ([], 6)):  # None: the paper's six
        execute(tmp_path, played, data=SECTIONS["data"] | {"excluded": excluded})
        assert len(played.trained) == trained


def test_cases_of_further_folders_decide_a_training(tmp_path, played):
    further = tmp_path / "further"
    write_atomic(further / "case_00003" / "imaging.nii.gz", "one")
    data = SECTIONS["data"] | {"more_training": [str(further)]}
    execute(tmp_path, played, data=data)
    assert execute(tmp_path, played, data=data) == []
    write_atomic(further / "case_00003" / "imaging.nii.gz", "another")
    assert "preprocessing" in execute(tmp_path, played, data=data)
    write_atomic(tmp_path / "build" / "preprocessed" / "case_00003-2" / "imaging.npy", "another")
    execute(tmp_path, played, data=data)
    assert len(played.trained) == 4


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


def test_a_run_that_a_lost_process_may_still_write_to_is_not_moved(tmp_path, played):
    execute(tmp_path, played)
    with locked(tmp_path / "build" / "runs" / "a-seed0"), pytest.raises(InUse):
        run.run_profile(made(tmp_path, training={"epochs": 9}))
    assert (tmp_path / "build" / "runs" / "a-seed0" / "run.json").exists()


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


def test_a_failure_of_what_results_need_comes_before_the_trainings(tmp_path, played, capfd):
    played.fails = "losses"
    assert not run.run_profile(made(tmp_path))
    assert not any(name.startswith("training") for name in played.executed)
    said = capfd.readouterr().out
    assert "skipped, needs losses" in said and "03_losses.ipynb: no luck" in said


def test_what_cannot_run_is_said_before_anything_runs(tmp_path, played, monkeypatch):
    monkeypatch.setattr(trial, "unusable_losses", lambda profile: ["no such loss"])
    with pytest.raises(ValueError, match="no such loss"):
        run.run_profile(made(tmp_path))
    assert played.executed == []


def test_cells_count_and_not_the_header_that_jupyterlab_writes(tmp_path):
    notebook = tmp_path / "notebook.py"
    shutil.copy(NOTEBOOKS / "04_training.py", notebook)
    before = cells(notebook)
    text = notebook.read_text("utf-8")
    notebook.write_text(text.replace("#       format_name: percent\n", "#       format_name: percent\n#       x: '1'\n"))
    assert notebook.read_text("utf-8") != text and cells(notebook) == before
    notebook.write_text(text + "\n# %%\nprint(1)\n")
    assert cells(notebook) != before


def test_a_training_is_made_from_settings_own_cases_and_the_code_that_computes(tmp_path, played):
    execute(tmp_path, played)
    job = next(job for job in build_jobs(made(tmp_path)) if job.run)
    made_from = job.trained_from()
    code = {name.removeprefix("kitsnb/").split("/")[0] for name in made_from["code"]}
    assert {"losses", "training", "unet.py"} <= code and not {"messages.py", "files.py", "workflow"} & code
    inputs = job.inputs([job.build.preprocessed])
    assert [name.split("/")[1] for name in sorted(inputs)] == ["case_00000", "case_00002", "case_00003", "case_00004"]
    assert made_from["settings"]["training"]["epochs"] == 8 and "prediction" not in made_from["settings"]
    assert "weights" not in made_from["settings"]["training"], "which of those that are kept predict"


@pytest.mark.parametrize("stage", [stage for stage in STAGES if STAGES[stage]])
def test_a_notebook_reads_only_the_sections_that_its_stamp_knows(stage):
    text = (NOTEBOOKS / STAGES[stage]).read_text("utf-8")
    read = set(re.findall(r"\bprofile\.(\w+)", text)) - {"simulated", "name", "runs", "file", "build", "workers"}
    assert read <= set(READS[stage]), f"add them to READS of kitsnb/workflow/jobs.py: {read - set(READS[stage])}"

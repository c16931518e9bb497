"""The runner with dummy notebooks: strictness before a kernel starts, failures, dead kernels."""

import io
from pathlib import Path
from types import SimpleNamespace

from helpers.runner_at_hand import make

from kitsnb import messages
from kitsnb.workflow.profile import load
from kitsnb.workflow.progress import bar
from kitsnb.workflow.run import run_profile

#: Trains in no time.
TRAINING = """
from kitsnb.files import Build
run = Build(build).run(experiment, seed)
(run / "checkpoints").mkdir(parents=True, exist_ok=True)
(run / "checkpoints" / "last.ckpt").touch()
(run / "history.csv").write_text("epoch,seconds\\n1,0.1\\n")
for name in ("scores.csv", "run.json"):
    (run / name).write_text(f"{loss_parameters} {overlap}")
"""


def run(folder: Path, work: dict = {}, **profile) -> int:  # noqa: B006
    path, notebooks = make(folder, {"04_training.py": TRAINING} | work, **profile)
    return run_profile(load(path, notebooks=notebooks, build=str(folder / "build")))


def test_success_is_stamped_and_not_repeated(tmp_path, capfd):
    assert run(tmp_path) == 0
    out = capfd.readouterr().out
    assert "training a seed 0: epoch 1" in out and "results: done" in out
    assert run(tmp_path) == 0
    assert "done in" not in capfd.readouterr().out


def test_a_failed_cell_is_shown_and_the_others_go_on(tmp_path, capfd):
    failing = TRAINING + "\nif experiment == 'a':\n    raise ValueError('no such luck')\n"
    assert run(tmp_path, {"04_training.py": failing}) == 1
    out = capfd.readouterr().out
    assert "training b seed 0: done" in out and "results" in out and "skipped" in out
    assert "04_training-a-seed0.ipynb" in out and "ValueError: no such luck" in out and "In [3]" in out
    assert (tmp_path / "build" / "runs" / "b-seed0" / "run.json").exists()
    assert (tmp_path / "build" / "notebooks" / "04_training-a-seed0.ipynb").exists()


def test_a_dead_kernel_is_a_failure(tmp_path, capfd):
    assert run(tmp_path, {"01_data_analysis.py": "import os\nos._exit(0)"}) == 1
    assert "skipped" in capfd.readouterr().out
    assert not (tmp_path / "build" / "stamps" / "data_analysis.json").exists()


def test_missing_cases_are_all_named_before_anything_runs(tmp_path, capfd):
    from kitsnb.files import ROOT
    from kitsnb.simulation.phantom import write_dataset

    write_dataset(tmp_path / "data", 3, 0)
    (tmp_path / "data" / "case_00001" / "imaging.nii.gz").unlink()
    overrides = ["common.source=folder", f"common.folder={tmp_path / 'data'}", "data_analysis.phantom_cases=0"]
    profile = load(ROOT / "tests" / "helpers" / "smoke.yml", overrides, build=str(tmp_path / "build"))
    assert run_profile(profile) == 1
    said = capfd.readouterr().out
    for name in ("case_00001/imaging.nii.gz", "case_00003", "case_00004", "case_00005", "case_00007"):
        assert name in said
    assert not (tmp_path / "build" / "notebooks").exists()


def test_an_output_folder_that_cannot_be_written_is_said_before_anything_runs(tmp_path, capfd, monkeypatch):
    path, notebooks = make(tmp_path)
    (tmp_path / "file").write_text("in the way")
    assert run_profile(load(path, notebooks=notebooks, build=str(tmp_path / "file" / "build"))) == 1
    said = capfd.readouterr().out
    assert "cannot be written" in said and "Not a directory" in said

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert run_profile(load(path, notebooks=notebooks, build=str(tmp_path / "build"))) == 1
    said = capfd.readouterr().out
    assert "No space left" in said and "done in" not in said


def test_a_stage_shows_how_far_it_is(tmp_path):
    job, stream = SimpleNamespace(path=lambda folder, kind: folder / kind), io.StringIO()
    with bar(job, tmp_path, messages.console(file=stream, force_terminal=True, width=100)) as tick:
        tick()  # before the notebook says anything
        (tmp_path / "progress").write_text('{"description": "simulating CT", "completed": 3, "total": 4}')
        tick()
    assert "starting" in stream.getvalue() and "simulating CT" in stream.getvalue() and "75%" in stream.getvalue()

"""What is done, and why it is not: damaged products, changed code and settings, on a build whose notebooks are played in a moment."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.runner_at_hand import SETTINGS, make

from kitsnb.files import NOTEBOOKS, ROOT, Build, files_below, write_atomic, write_json
from kitsnb.workflow import run as runner
from kitsnb.workflow import stamps
from kitsnb.workflow.jobs import build_jobs, in_split
from kitsnb.workflow.profile import load
from kitsnb.workflow.stamps import Digests, cells, differences, imported_modules, meaning, trained_from

STAGES = ["data_analysis", "preprocessing", "losses", "training", "results", "paper"]


class Played:
    """In place of ``Launcher``: does at once what the notebook of each job would do, and keeps count of what was done."""

    def __init__(self):
        self.executed, self.trained = [], []

    def __call__(self, *_, **__):
        return self

    def run(self, jobs):
        for job in jobs:
            self.executed.append(job.name)
            self.play(job, Build(job.parameters["build"]))
            write_atomic(job.output, "executed")
            yield job, None, 0.0

    def play(self, job, build):
        if job.stage == "data_analysis":
            write_json(build.data_analysis / "summary.json", {"refused": {}})
            for number in range(5):
                write_atomic(build.data / f"case_{number:05d}" / "imaging.nii.gz", f"imaging of {number}")
            write_atomic(build.figures / "data.svg", "<svg/>")
        elif job.stage == "preprocessing":
            for case in sorted(path for path in build.data.iterdir()):
                write_atomic(build.preprocessed / case.name / "imaging.npy", (case / "imaging.nii.gz").read_text() + " on the grid")
            write_json(build.preprocessed / "report.json", {"cases": len(list(build.data.iterdir()))})
        elif job.stage == "training":
            if not (job.run / "checkpoints" / "last.ckpt").exists():
                self.trained.append(job.name)
                write_atomic(job.run / "checkpoints" / "last.ckpt", "weights")
            write_atomic(job.run / "history.csv", "epoch,seconds\n1,0.5\n")
            for name in ("scores.csv", "run.json", "predictions/prediction_00003.nii.gz"):
                write_atomic(job.run / name, f"{name} {job.parameters['overlap']}")
        elif job.stage == "losses":
            write_json(build.losses / "summary.json", {"figures": []})
        else:
            write_json(build.results, {"table": [path.read_text() for path in files_below(build.runs) if path.name == "scores.csv"]})
            write_atomic(build.figures / "results.svg", "<svg></svg>")


@pytest.fixture
def played(monkeypatch):
    one = Played()
    monkeypatch.setattr(runner, "Launcher", one)
    monkeypatch.setattr(runner, "compile_paper", lambda job: write_atomic(job.output, "a paper"))
    monkeypatch.setitem(sys.modules, "kitsnb.workflow.cost", SimpleNamespace(before_start=lambda *_, **__: ""))
    return one


def run(folder: Path, played: Played, **changes) -> list[str]:
    """Names of the jobs that were executed."""
    path, notebooks = make(folder, **{"stages": STAGES} | changes)
    played.executed.clear()
    assert runner.run_profile(load(path, notebooks=notebooks, build=str(folder / "build"))) == 0
    return list(played.executed)


def content(build: Path) -> dict[str, bytes]:
    """What a reader may use."""
    return {str(path.relative_to(build)): path.read_bytes() for path in files_below(build)
            if path.relative_to(build).parts[0] not in ("stamps", "profile.json")}


DAMAGES = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "emptied": lambda path: path.write_bytes(b""),
    "flipped": lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]),
    "edited": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "deleted": lambda path: path.unlink(),
}


def test_every_damage_of_every_product_is_named_and_healed_without_training(tmp_path, played, capfd):
    assert len(run(tmp_path, played)) == 6 and played.trained == ["training-a-seed0", "training-b-seed0"]
    build = tmp_path / "build"
    whole = content(build)
    products = [name for name in whole if "checkpoints" not in name]
    assert len(products) == 31 and run(tmp_path, played) == []
    for name in products:
        for kind, damage in DAMAGES.items():
            capfd.readouterr()
            damage(build / name)
            run(tmp_path, played)
            said = capfd.readouterr().out
            assert f"{build / name} {'is gone' if kind == 'deleted' else 'was changed since it was made'}" in said, (kind, name)
            assert content(build) == whole, (kind, name)
    assert len(played.trained) == 2 and not (build / "runs" / "archive").exists()


def test_without_checkpoints_a_damaged_run_is_trained_again_and_said(tmp_path, played, capfd):
    run(tmp_path, played)
    shutil.rmtree(tmp_path / "build" / "runs" / "a-seed0" / "checkpoints")
    assert run(tmp_path, played) == []  # nothing asks for them
    (tmp_path / "build" / "runs" / "a-seed0" / "scores.csv").unlink()
    run(tmp_path, played)
    assert "is gone; trained anew, as its checkpoints are gone" in capfd.readouterr().out and len(played.trained) == 3


@pytest.mark.parametrize("garbage", [b"", b"{", b"\xff\xfe\x00", b"[]", b'{"key": 1, "made": []}', b'{"made_from": 3}'])
def test_garbage_among_the_stamps_is_no_traceback(tmp_path, played, garbage):
    run(tmp_path, played)
    build = tmp_path / "build"
    for path in (*build.glob("stamps/*"), *build.glob("runs/*/.made_from.json"), build / "runs/a-seed0/history.csv"):
        path.write_bytes(garbage)
    assert len(run(tmp_path, played)) == 6
    (build / "runs" / "a-seed0" / "run.json").write_bytes(garbage)
    assert run(tmp_path, played) and run(tmp_path, played) == []


def test_a_setting_of_scoring_trains_nothing_and_one_of_training_only_its_run(tmp_path, played, capfd):
    run(tmp_path, played)
    assert run(tmp_path, played, training={"overlap": [4, 4, 4]})[:2] == ["training-a-seed0", "training-b-seed0"]
    assert "parameter overlap changed: [8, 8, 8] -> [4, 4, 4]; trained already, so only executed again" in capfd.readouterr().out
    assert len(played.trained) == 2
    changed = [{"name": "a", "loss": "dice", "parameters": {"smooth": 0.1}}, {"name": "b", "loss": "tversky"}]
    executed = run(tmp_path, played, training={"overlap": [4, 4, 4]}, experiments=changed)
    assert executed == ["losses", "training-a-seed0", "results"] and played.trained[2:] == ["training-a-seed0"]
    said = capfd.readouterr().out
    assert "parameter loss_parameters changed: smooth none -> 0.1; trained anew" in said
    assert "losses: parameter experiments changed: a.parameters.smooth none -> 0.1\n" in said
    assert "the former run is kept in" in said and list((tmp_path / "build" / "runs" / "archive").iterdir())


def test_a_stray_case_is_noted_and_trains_nothing(tmp_path, played, capfd):
    run(tmp_path, played)
    for number in (1, 77):
        write_atomic(tmp_path / "build" / "data" / f"case_{number:05d}" / "imaging.nii.gz", "another")
        write_atomic(tmp_path / "build" / "preprocessed" / f"case_{number:05d}" / "imaging.npy", "another")
    run(tmp_path, played)
    assert f"{tmp_path / 'build' / 'data'}: left out, as not in the split: case_00001 and 1 more" in capfd.readouterr().out
    assert len(played.trained) == 2
    write_atomic(tmp_path / "build" / "data" / "case_00002" / "imaging.nii.gz", "another")
    assert in_split(Path("/x/case_00002"), SETTINGS) and not in_split(Path("/x/case_00001/y"), SETTINGS)


def test_a_colour_executes_notebooks_that_draw_and_trains_nothing(tmp_path, played, monkeypatch, capfd):
    drawing = ROOT / "kitsnb" / "study" / "figures.py"
    work = {name: "from kitsnb.study import figures" for name in ("04_training.py", "05_results.py")}
    monkeypatch.setattr(sys.modules[__name__], "make", lambda folder, **profile: make_with(folder, work, **profile))
    run(tmp_path, played)
    before = stamps.meaning
    monkeypatch.setattr(stamps, "meaning", lambda path: "another colour" if path == drawing else before(path))
    path, notebooks = make_with(tmp_path, work, stages=STAGES)
    profile = load(path, notebooks=notebooks, build=str(tmp_path / "build"))
    assert runner.run_profile(profile, dry=True) == 0
    why = capfd.readouterr().out
    assert "training a seed 0: kitsnb/study/figures.py changed; trained already, so only executed again" in why
    assert "results: kitsnb/study/figures.py changed" in why and "paper: only if results will have changed" in why
    assert "data analysis: up to date" in why and "preprocessing: up to date" in why
    assert run(tmp_path, played) == ["training-a-seed0", "training-b-seed0", "results"] and len(played.trained) == 2


make_with = make


def test_a_failure_of_what_results_need_comes_before_the_trainings(tmp_path, played, monkeypatch, capfd):
    path, notebooks = make(tmp_path, stages=STAGES)
    monkeypatch.setattr(played, "play", lambda job, build: None)
    failing = runner.Launcher.run
    monkeypatch.setattr(played, "run", lambda jobs: ((job, "losses" == job.stage and runner.Failure("n", "c", "no luck") or None, s)
                                                     for job, _, s in failing(jobs)), raising=False)
    assert runner.run_profile(load(path, notebooks=notebooks, build=str(tmp_path / "build"))) == 1
    assert not any(name.startswith("training") for name in played.executed) and "needs losses" in capfd.readouterr().out


def test_cells_count_and_not_the_header_that_jupyterlab_writes(tmp_path):
    notebook = tmp_path / "notebook.py"
    shutil.copy(NOTEBOOKS / "04_training.py", notebook)
    before = cells(notebook)
    text = notebook.read_text()
    notebook.write_text(text.replace("#       format_name: percent\n", "#       format_name: percent\n#       format_version: '1.3'\n"))
    assert notebook.read_text() != text and cells(notebook) == before
    notebook.write_text(text + "\n# %%\nprint(1)\n")
    assert cells(notebook) != before


def test_what_a_module_means_counts_and_not_how_it_is_written(tmp_path):
    module = tmp_path / "module.py"

    def means(text: str) -> str:
        module.write_text(text)
        return meaning(module)

    first = means('"""A module."""\ndef f(x):\n    """Double."""\n    return 2 * x\n')
    assert means("# a comment\ndef f(\n    x,\n):\n    return (2 *\n            x)\n") == first
    assert means("def f(x):\n    return 3 * x\n") != first and means("def f(x):\n    return 2 * x\ng = f\n") != first
    assert means("def f(:\n") != first


def test_imports_are_followed_to_the_module_that_is_meant():
    names = {"/".join(path.parts[-2:]) for path in imported_modules(NOTEBOOKS / "04_training.py")}
    assert {"training/run.py", "losses/registry.py", "kitsnb/unet.py", "data/cases.py"} <= names
    assert "simulation/phantom.py" not in names
    assert "peers/measure.py" in {"/".join(path.parts[-2:]) for path in imported_modules(NOTEBOOKS / "06_benchmarks.py")}


def test_a_training_is_made_from_settings_own_cases_and_the_code_that_computes(tmp_path, played):
    path, notebooks = make(tmp_path, stages=STAGES)
    run(tmp_path, played)
    job = next(job for job in build_jobs(load(path, notebooks=notebooks, build=str(tmp_path / "build"))) if job.run)
    made_from = trained_from(job, Digests(tmp_path / "digests.json"))
    assert {name.split("/")[1] for name in made_from["module"]} == {"losses", "training", "unet.py"}
    assert sorted(name.split("/")[-2] for name in made_from["input"]) == ["case_00000", "case_00002", "case_00003", "case_00004"]
    assert made_from["parameter"]["epochs"] == 8 and "overlap" not in made_from["parameter"]


def test_a_change_is_said_briefly():
    rows = [{"name": f"row{number}", "loss": "dice"} for number in range(9)]
    [text] = differences({"parameter": {"experiments": rows}}, {"parameter": {"experiments": [*rows, {"name": "mine", "loss": "my.py:f"}]}})
    assert text == "parameter experiments changed: mine.name none -> mine; mine.loss none -> my.py:f"
    [text] = differences({"parameter": {"a": list(range(100))}}, {"parameter": {"a": 1}})
    assert len(text) < 100 and text.endswith("... -> 1")
    assert differences({}, {"module": {"m.py": "1", "n.py": "2"}}) == ["m.py and 1 more changed"]

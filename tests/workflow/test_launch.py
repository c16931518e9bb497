"""Runs as processes of their own: some are killed, some fail, the main process dies, and what can go on goes on."""

import os
import re
import signal
import subprocess

import pytest
from helpers.runner_at_hand import alive, make, processes_below, runner, training, until
from rich.console import Console

from kitsnb.files import ROOT
from kitsnb.workflow import launch
from kitsnb.workflow.jobs import build_jobs
from kitsnb.workflow.launch import LaunchError, find_places, how_ended, read_launch
from kitsnb.workflow.profile import load
from kitsnb.workflow.progress import read_history, table_of_runs

ONE = [{"name": "a", "loss": "dice"}]


def test_a_lost_run_is_named_and_the_same_command_goes_on_with_it(tmp_path):
    with runner(tmp_path, training(pace=0.4)) as grid:  # the kernel notices within a second that its parent is gone
        grid.until(lambda: grid.epochs("a") >= 3)
        kernel = grid.kernel("a")
        os.kill(grid.executor("a"), signal.SIGKILL)
        until(lambda: not alive(kernel), 10)
        assert grid.status() == 1, grid.said()
        assert "its process was ended by SIGKILL; the same command goes on with it" in grid.said()
        assert "training b seed 0: done" in grid.said() and "training b seed 0: epoch 8/8" in grid.said()
    with runner(tmp_path, training(pace=0)) as grid:
        assert grid.status() == 0, grid.said()
    assert "never finished; goes on after epoch" in grid.said()
    assert 8 <= grid.epochs("a") <= 9 and grid.epochs("b") == 8


def test_what_fails_or_loses_its_kernel_is_shown_and_the_others_go_on(tmp_path):
    more = ("if experiment == 'a':\n    raise FloatingPointError('the loss is nan')\n"
            "if experiment == 'b':\n    os.kill(os.getpid(), signal.SIGKILL)")
    rows = [{"name": name, "loss": "dice"} for name in "abc"]
    with runner(tmp_path, training(more, 0), experiments=rows, stages=["training", "results"]) as grid:
        assert grid.status() == 1
    said = grid.said()
    assert "FloatingPointError: the loss is nan" in said and "In [3]" in said and "04_training-a-seed0.ipynb" in said
    assert "its kernel was killed (out of memory?)" in said
    assert "training c seed 0: done" in said and "skipped" in said
    assert re.search("needs training [ab] seed 0 and 1 more", said)
    assert (grid.build / "notebooks" / "04_training-a-seed0.ipynb").exists()
    assert not (grid.build / "stamps" / "training-a-seed0.json").exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], ids=lambda how: how.name)
def test_all_ends_with_the_main_process_and_the_same_command_goes_on(tmp_path, how):
    with runner(tmp_path) as grid:
        grid.until(lambda: grid.epochs("a") >= 2 and grid.epochs("b") >= 2)
        kernels = [grid.kernel(experiment) for experiment in "ab"]
        os.kill(grid.process.pid, how)
        assert grid.status() == (-how if how == signal.SIGKILL else 130), grid.said()
        until(lambda: not any(map(alive, kernels)) and not processes_below(tmp_path), 15)
        if how != signal.SIGKILL:
            assert "the same command goes on" in grid.said() and "Traceback" not in grid.said()
        assert not (grid.build / "stamps" / "training-a-seed0.json").exists()


def test_nohup_helps(tmp_path):
    with runner(tmp_path, training(), None, ("nohup",), experiments=ONE) as grid:
        grid.until(lambda: grid.epochs("a") >= 2)
        os.killpg(grid.process.pid, signal.SIGHUP)
        assert grid.status() == 0, grid.said()
    assert grid.epochs("a") == 8


def test_the_second_of_two_on_one_build_says_who_is_at_work_and_ends(tmp_path):
    waits = "while not (run / 'go').exists():\n    time.sleep(0.1)"
    with runner(tmp_path, training(waits, 0), experiments=ONE) as first:
        first.until(lambda: first.epochs("a") >= 1)
        second = subprocess.run(first.command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
                                capture_output=True, text=True)
        (first.run("a") / "go").touch()
        assert second.returncode == 1 and second.stderr == ""
        assert f"{first.build} is in use by process {first.process.pid} on {os.uname().nodename} since " in second.stdout
        assert first.status() == 0


def test_runs_start_behind_the_launch_command_with_any_quotes(tmp_path):
    seen = training("(run / 'seen').write_text(os.environ['BEHIND'])", 0)
    with runner(tmp_path, seen, {"launch": "env 'BEHIND=a \"command\" | b'"}) as grid:
        assert grid.status() == 0, grid.said()
    assert (grid.run("a") / "seen").read_text() == 'a "command" | b' and "2 at a time" in grid.said()


def test_a_launch_command_that_cannot_start_a_run_is_said(tmp_path):
    command = "sh -c 'echo no such partition >&2; exit 1' --"
    with runner(tmp_path, None, {"launch": command}, experiments=ONE) as grid:
        assert grid.status() == 1
    assert "its process ended with status 1 (no such partition)" in grid.said()
    with pytest.raises(LaunchError, match="there is no command qrun on this machine"):
        read_launch("qrun --gpus 1")
    with pytest.raises(LaunchError, match="LAUNCH srun 'x: No closing quotation"):
        read_launch("srun 'x")
    assert read_launch(None) == read_launch("") == ()


def test_each_run_has_a_gpu_and_threads_of_its_own(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(launch, "visible_gpus", lambda: ["2", "3", "5"])
    monkeypatch.setattr(launch, "cores", lambda: 12)
    assert find_places((), None).gpus == ("2", "3", "5") and find_places((), None).threads == 4
    assert find_places((), 2).gpus == ("2", "3") and find_places((), 6).gpus == ("2", "3", "5") * 2
    assert find_places(("srun",), None).gpus == ()  # its own scheduler gives them
    monkeypatch.setattr(launch, "visible_gpus", lambda: [])
    monkeypatch.setattr(launch, "cores", lambda: 8)
    assert (find_places((), None).at_a_time, find_places((), None).threads) == (8, 1)
    assert find_places((), 2).threads == 4 and find_places((), 16).threads == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "3,1")
    assert (find_places((), None).at_a_time, find_places(("srun",), 2).threads) == (2, 3)


def test_the_end_of_a_process_is_said_in_words(tmp_path):
    log = tmp_path / "log"
    log.write_text("first\nsrun: error: node7: task 0: Killed\n")
    assert how_ended(-9, log) == "its process was ended by SIGKILL"
    assert how_ended(137, log) == "its process was ended by SIGKILL (srun: error: node7: task 0: Killed)"
    assert how_ended(1, tmp_path / "none") == "its process ended with status 1"


def test_the_table_shows_how_far_each_run_is(tmp_path):
    path, _ = make(tmp_path)
    jobs = [job for job in build_jobs(load(path, build=tmp_path / "build")) if job.run]
    jobs[0].run.mkdir(parents=True)
    history = jobs[0].run / "history.csv"
    history.write_text("epoch,seconds,validation_tumour\n1,60,0.125\n2,60,0.25\n")
    console = Console(width=200, record=True, file=open(os.devnull, "w"))
    console.print(table_of_runs(jobs, 2))
    text = console.export_text()
    assert "2/8" in text and "0.250" in text and "60.0" in text and "about 8:00 of training left" in text
    for garbage in (b"\xff\x00", b"epoch,seconds\n1\n", b"", b"x"):
        history.write_bytes(garbage)
        assert read_history(jobs[0].run) == []

"""Runs as processes of their own: some are killed, some fail, the main process dies, and what can go on goes on."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest
from helpers.runner_at_hand import alive, make, processes_below, runner, training, until
from rich.console import Console

from kitsnb.files import ROOT, read_json, write_json
from kitsnb.preprocessing.prepare import Preprocessing, preprocess_cases
from kitsnb.simulation.phantom import write_dataset
from kitsnb.workflow import launch
from kitsnb.workflow.execute import remove_leftovers
from kitsnb.workflow.jobs import build_jobs
from kitsnb.workflow.launch import LaunchError, find_places, how_ended, read_launch
from kitsnb.workflow.profile import load
from kitsnb.workflow.progress import grid_table, read_state, watch
from kitsnb.workflow.run import run_profile


def test_a_run_whose_process_is_killed_goes_on_and_the_other_is_left_alone(tmp_path):
    with runner(tmp_path) as grid:
        grid.until(lambda: grid.epochs("a") >= 3 and grid.epochs("b") >= 1)
        kernel = grid.kernel("a")
        os.kill(grid.executor("a"), signal.SIGKILL)
        until(lambda: not alive(kernel), 10)
        assert grid.status() == 0, grid.said()
        for experiment in "ab":
            assert len((grid.run(experiment) / "history.csv").read_text().splitlines()) == 9
        assert 8 <= grid.epochs("a") <= 9  # the epoch under way was lost at most
        assert grid.epochs("b") == 8
        assert "training a seed 0: its process was ended by SIGKILL; the run goes on after epoch" in grid.said()
        assert "attempt 2" in grid.said() and "training a seed 0: epoch 8/8" in grid.said()
        assert not list((grid.build / "stamps").glob("*.mark"))


def test_many_losses_are_survived_while_epochs_are_done_between(tmp_path):
    with runner(tmp_path, experiments=[{"name": "a", "loss": "dice"}]) as grid:
        for count in range(1, 7):
            grid.until(lambda: grid.epochs("a") >= count and grid.mark("a").get("attempt") == count)
            os.kill(grid.executor("a"), signal.SIGKILL)
        assert grid.status() == 0, grid.said()
        assert grid.epochs("a") <= 8 + 6 and "attempt 7" in grid.said()


def test_a_run_that_is_lost_again_and_again_is_given_up(tmp_path):
    murder = "if experiment == 'a':\n    os.kill(os.getppid(), signal.SIGKILL)\n    time.sleep(60)\n"
    with runner(tmp_path, training(murder)) as grid:
        assert grid.status() == 1
    assert "its process was ended by SIGKILL, 6 times without an epoch between" in grid.said()
    assert "training b seed 0: done" in grid.said() and (grid.run("b") / "run.json").exists()


def test_a_run_that_fails_is_not_tried_again_and_others_go_on(tmp_path):
    with runner(tmp_path, training("if experiment == 'a':\n    raise FloatingPointError('the loss is nan')")) as grid:
        assert grid.status() == 1
    assert "FloatingPointError: the loss is nan" in grid.said() and "attempt" not in grid.said()
    assert grid.epochs("a") == 8 and "training b seed 0: done" in grid.said()
    assert (grid.build / "stamps" / "training-a-seed0.failed").exists()


def test_a_run_whose_kernel_is_killed_goes_on(tmp_path):
    more = """
if experiment == "a" and not (run / "killed").exists():
    (run / "killed").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    with runner(tmp_path, training(more)) as grid:
        assert grid.status() == 0
    assert grid.epochs("a") == 8 and "attempt 3" not in grid.said()
    assert "its kernel was killed (out of memory?); the run goes on after epoch 8 (attempt 2)" in grid.said()


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
    with runner(tmp_path) as grid:
        assert grid.status() == 0, grid.said()
    assert grid.epochs("a") <= 9 and "the former run is kept" not in grid.said() and "goes on after epoch" in grid.said()


def test_ctrl_c_in_a_stage_that_is_no_training_prints_no_traceback(tmp_path):
    work = "import time\nfrom pathlib import Path\nPath(build).mkdir(exist_ok=True)\n(Path(build) / 'begun').touch()\ntime.sleep(60)"
    with runner(tmp_path, {"01_data_analysis.py": work}, stages=["data_analysis"]) as grid:
        grid.until((grid.build / "begun").exists)
        os.killpg(grid.process.pid, signal.SIGINT)  # as a terminal does it
        assert grid.status() == 130
    until(lambda: not processes_below(tmp_path), 15)
    assert "interrupted" in grid.said() and "Traceback" not in grid.said() and "zmq" not in grid.said()


def test_the_second_of_two_on_one_build_says_who_is_at_work_and_ends(tmp_path):
    waits = "while not (run / 'go').exists():\n    time.sleep(0.1)"
    with runner(tmp_path, training(waits)) as first:
        first.until(lambda: first.epochs("a") >= 1)
        second = subprocess.run(first.process.args, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
        for experiment in "ab":
            (first.run(experiment) / "go").touch()
        assert second.returncode == 1 and second.stderr == ""
        assert f"{first.build} is in use by process {first.process.pid} on {os.uname().nodename} since " in second.stdout
        assert first.status() == 0
    assert first.epochs("a") == 8


def test_runs_start_behind_the_launch_command(tmp_path):
    with runner(tmp_path, training("(run / 'seen').write_text(os.environ['BEHIND'])"), {"launch": "env 'BEHIND=a command'"}) as grid:
        assert grid.status() == 0, grid.said()
    assert (grid.run("a") / "seen").read_text() == "a command" and "2 at a time" in grid.said()


def test_a_launch_command_that_cannot_start_a_run_is_tried_again_and_then_said(tmp_path, monkeypatch):
    command = "sh -c 'echo no such partition >&2; exit 1' --"
    with runner(tmp_path, None, {"launch": command}, experiments=[{"name": "a", "loss": "dice"}]) as grid:
        assert grid.status() == 1
    assert "its process ended with status 1 (no such partition), 6 times without an epoch between" in grid.said()
    with pytest.raises(LaunchError, match="there is no command qrun on this machine"):
        read_launch("qrun --gpus 1")
    with pytest.raises(LaunchError, match="--launch srun 'x: No closing quotation"):
        read_launch("srun 'x")
    assert read_launch(None) == read_launch("") == ()


def test_each_run_has_gpus_of_its_own(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(launch, "visible_gpus", lambda: ["2", "3", "5"])
    monkeypatch.setattr(launch, "cores", lambda: 12)
    assert find_places((), None).gpus == ("2", "3", "5") and find_places((), None).threads == 4
    assert find_places((), None, devices=2) == replace(find_places((), 1, devices=2), gpus=("2,3",))
    assert find_places((), 2).gpus == ("2", "3") and find_places((), 6).gpus == ("2", "3", "5") * 2
    assert find_places(("srun",), None).gpus == ()  # its own scheduler gives them
    with pytest.raises(LaunchError, match="wants 4 GPUs .* this machine has 3"):
        find_places((), None, devices=4)


def test_a_gpu_is_free_again_when_its_run_has_ended(tmp_path):
    more = "(run / 'gpu').write_text(os.environ['CUDA_VISIBLE_DEVICES'])"
    path, notebooks = make(tmp_path, training(more),
                           experiments=[{"name": name, "loss": "dice"} for name in "abc"])
    profile = load(path, notebooks=notebooks, build=str(tmp_path / "build"))
    jobs = [job for job in build_jobs(profile) if job.stage == "training"]
    ended = launch.Launcher(tmp_path / "build" / "stamps", launch.Places(2, (), 1, ("GPU-a", "GPU-b")), lambda text: None).run(jobs)
    assert [failure for _, failure, _ in ended] == [None] * 3
    seen = [(job.run / "gpu").read_text() for job in jobs]
    assert set(seen[:2]) == {"GPU-a", "GPU-b"} and seen[2] in seen[:2]


def test_threads_of_a_run_do_not_depend_on_how_many_are_left(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(launch, "visible_gpus", lambda: [])
    monkeypatch.setattr(launch, "cores", lambda: 8)
    assert (find_places((), None).at_a_time, find_places((), None).threads) == (8, 1)
    assert find_places((), 2).threads == 4 and find_places((), 16).threads == 1 and find_places(("srun",), 2).threads is None
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert (find_places((), None).at_a_time, find_places((), 4).threads) == (2, 3) and find_places(("srun",), 2).threads == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    assert find_places((), 2).threads == 4


def test_the_end_of_a_process_is_said_in_words(tmp_path):
    log = tmp_path / "log"
    log.write_text("first\nsrun: error: node7: task 0: Killed\n")
    assert how_ended(-9, log) == "its process was ended by SIGKILL"
    assert how_ended(137, log) == "its process was ended by SIGKILL (srun: error: node7: task 0: Killed)"
    assert how_ended(1, tmp_path / "none") == "its process ended with status 1"


def test_folders_of_kernels_whose_process_is_gone_are_removed(tmp_path):
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True).stdout.strip()
    for name in (f"kitsnb-{gone}-abc", f"kitsnb-{os.getpid()}-abc", "kitsnb-other-x", "else"):
        (tmp_path / name).mkdir()
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"kitsnb-{os.getpid()}-abc", "kitsnb-other-x", "else"}


def test_the_table_shows_each_state(tmp_path):
    path, notebooks = make(tmp_path, experiments=[{"name": name, "loss": "dice"} for name in "abcde"], training={"epochs": 10})
    profile = load(path, notebooks=notebooks, build=str(tmp_path / "build"))
    stamps = profile.build.stamps
    a, b, c, d, e = jobs = [job for job in build_jobs(profile) if job.stage == "training"]
    write_json(a.path(stamps, "json"), {})
    write_json(b.path(stamps, "failed"), {})
    for job in (c, d):
        write_json(job.path(stamps, "mark"), {"where": "SLURM job 12 on node7", "attempt": 2})
        rows = [{"epoch": n, "seconds": 60.0, "validation_loss": 0.5, "validation_tumour": 0.25} for n in (1, 2)]
        job.run.mkdir(parents=True)
        pd.DataFrame(rows).to_csv(job.run / "history.csv", index=False)
    os.utime(d.path(stamps, "mark"), (0, 0))
    assert [read_state(job, stamps).status for job in jobs] == ["done", "failed", "running", "interrupted", "waiting"]
    console = Console(width=200, record=True, file=open(os.devnull, "w"))
    watch(profile, once=True, console=console)
    text = console.export_text()
    assert "2/10" in text and "0.250" in text and "60.0" in text and "8:00" in text and "SLURM job 12 on node7, attempt 2" in text
    assert "5 training runs: 1 done, 1 failed, 1 running, 1 interrupted, 1 waiting; about 26:00 left" in text
    assert grid_table([]).row_count == 0
    for garbage in (b"\xff\x00", b"epoch,seconds\n1\n", b"", b"x"):
        (c.run / "history.csv").write_bytes(garbage)
        (c.run / "settings.json").write_bytes(garbage)
        c.path(stamps, "mark").write_bytes(garbage)
        assert read_state(c, stamps).history == [] and grid_table([read_state(c, stamps)]).row_count == 1


PROFILE = """
title: Two devices
simulated: true
stages: [training]
common: {source: phantom, simulated: true, training: [0, 1], validation: [2, 4], excluded: []}
training:
  {network: {base_filters: 2, depth: 2}, patch_size: [16, 16, 16], overlap: [8, 8, 8], batch_size: 1, steps_per_epoch: 3,
   epochs: 2, precision: 32-true, devices: 2, schedule: plateau}
experiments: [{name: dice, title: Dice loss, loss: dice, parameters: {}}]
seeds: [3]
"""


def test_a_run_on_two_devices_is_trained_by_the_tasks_that_the_launch_command_starts(tmp_path):
    cases = write_dataset(tmp_path / "build" / "data", 5, 0)
    preprocess_cases(cases, tmp_path / "build" / "preprocessed", Preprocessing(spacing=(8, 8, 8), resize_in_plane=None))
    (tmp_path / "two.yml").write_text(PROFILE)
    torchrun = f"{sys.executable} -m torch.distributed.run --standalone --nproc-per-node 2 --no-python"
    options = {"launch": torchrun, "runs_at_a_time": 1}
    profile = load(tmp_path / "two.yml", build=str(tmp_path / "build"))
    assert run_profile(profile, **options) == 0
    run = json.loads((tmp_path / "build" / "runs" / "dice-seed3" / "run.json").read_text())
    assert run["epochs"] == 2 and run["devices"] == 2
    assert "runs" not in (tmp_path / "build" / "stamps" / "training-dice-seed3.log").read_text()
    alone = load(tmp_path / "two.yml", ["training.devices=1"], build=str(tmp_path / "build"))
    assert run_profile(alone, **options) == 1
    failed = read_json(tmp_path / "build" / "stamps" / "training-dice-seed3.failed")
    assert failed["message"] == "ValueError: the launch command starts 2 tasks a run, but the run has devices 1; make them equal"

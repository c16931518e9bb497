"""Runs as processes of their own: some are killed, some fail, the main process dies, and what can go on goes on."""

import os
import re
import signal

import pytest
from helpers.runner_at_hand import alive, processes_below, runner, training, until

from kitsnb.workflow import launch
from kitsnb.workflow.launch import find_places, read_launch

ONE = [{"name": "a", "loss": "dice"}]


def test_a_lost_run_is_named_and_the_same_command_goes_on_with_it(tmp_path):
    with runner(tmp_path, training(pace=0.4)) as grid:  # the kernel notices within a second that its parent is gone
        grid.until(lambda: grid.epochs("a") >= 3)
        kernel = grid.kernel("a")
        os.kill(grid.executor("a"), signal.SIGKILL)
        until(lambda: not alive(kernel), 10)
        assert grid.status() == 1, grid.said()
        assert "its process ended (Killed); the same command goes on with it" in grid.said()
        assert "training b seed 0: done" in grid.said() and "training b seed 0: epoch 8/8" in grid.said()
    with runner(tmp_path, training(pace=0)) as grid:
        assert grid.status() == 0, grid.said()
    assert "never finished; goes on from its checkpoint" in grid.said()
    assert 8 <= grid.epochs("a") <= 9 and grid.epochs("b") == 8


def test_what_fails_or_loses_its_kernel_is_shown_and_the_others_go_on(tmp_path):
    more = ("if experiment == 'a':\n    raise FloatingPointError('the loss is nan')\n"
            "if experiment == 'b':\n    os.kill(os.getpid(), signal.SIGKILL)")
    rows = [{"name": name, "loss": "dice"} for name in "abc"]
    with runner(tmp_path, training(more, 0), experiments=rows, stages=["training", "results"]) as grid:
        assert grid.status() == 1
    said = grid.said()
    assert "FloatingPointError: the loss is nan" in said and "In [3]" in said and "04_training-a-seed0.ipynb" in said
    assert "04_training-b-seed0.ipynb: DeadKernelError" in said
    assert "training c seed 0: done" in said and "skipped" in said
    assert re.search("needs training [ab] seed 0 and 1 more", said)
    assert (grid.build / "notebooks" / "04_training-a-seed0.ipynb").exists()
    assert not (grid.build / "stamps" / "training-a-seed0.json").exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL], ids=lambda how: how.name)
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


def test_runs_start_behind_the_launch_command_with_any_quotes(tmp_path):
    seen = training("(run / 'seen').write_text(os.environ['BEHIND'])", 0)
    with runner(tmp_path, seen, "env 'BEHIND=a \"command\" | b'") as grid:
        assert grid.status() == 0, grid.said()
    assert (grid.run("a") / "seen").read_text() == 'a "command" | b' and "2 at a time" in grid.said()


def test_a_launch_command_that_cannot_start_a_run_is_said(tmp_path):
    command = "sh -c 'echo no such partition >&2; exit 1' --"
    with runner(tmp_path, None, command, experiments=ONE) as grid:
        assert grid.status() == 1
    assert "its process ended (status 1)" in grid.said() and "no such partition" in grid.said()
    with pytest.raises(ValueError, match="there is no command qrun on this machine"):
        read_launch("qrun --gpus 1")
    with pytest.raises(ValueError, match="LAUNCH srun 'x: No closing quotation"):
        read_launch("srun 'x")
    assert read_launch(None) == read_launch("") == ()


def test_each_run_has_a_gpu_and_threads_of_its_own(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(launch, "visible_gpus", lambda: ["2", "3", "5"])
    monkeypatch.setattr(launch, "cores", lambda: 12)
    assert find_places((), None).gpus == ("2", "3", "5") and find_places((), None).threads == 4
    assert find_places((), 6).gpus == ("2", "3", "5") * 2
    assert find_places(("srun",), None).gpus == ()  # its own scheduler gives them
    monkeypatch.setattr(launch, "visible_gpus", lambda: [])
    assert (find_places((), None).at_a_time, find_places((), None).threads) == (12, 1)
    assert find_places((), 2).threads == 6 and find_places((), 16).threads == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "3,1")
    assert (find_places((), None).at_a_time, find_places(("srun",), 2).threads) == (4, 3)

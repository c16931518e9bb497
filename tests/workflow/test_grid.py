"""The grid of runs on real Dask workers, separate processes on loopback: some die, some runs fail, and the rest goes on."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pandas as pd
import pytest
import yaml
from rich.console import Console
from workflow.test_run import make

from kitsnb.files import NOTEBOOKS, ROOT, write_json
from kitsnb.workflow import clusters
from kitsnb.workflow import grid as grid_module
from kitsnb.workflow.clusters import GridError, local_workers, read_place
from kitsnb.workflow.grid import devices_of, slots, threads_here
from kitsnb.workflow.jobs import build_jobs
from kitsnb.workflow.profile import load
from kitsnb.workflow.progress import failed_path, grid_table, mark_path, read_state, watch
from kitsnb.workflow.run import run_profile

#: Trains eight epochs, from where the history ends, and keeps count of the epochs trained in all.
TRAINING = """
import os, signal, sys, time
from kitsnb.files import Build
run = Build(build).run(experiment, seed)
run.mkdir(parents=True, exist_ok=True)
(run / "kernel").write_text(str(os.getpid()))
(run / "settings.json").write_text('{"epochs": 8}')
history = run / "history.csv"
done = len(history.read_text().splitlines()) - 1 if history.exists() else 0
rows = ["epoch,seconds"] + [f"{epoch},0.5" for epoch in range(1, done + 1)]
for epoch in range(done + 1, 9):
    time.sleep(0.5)
    with (run / "trained").open("a") as file:
        file.write(f"{epoch}\\n")
    rows.append(f"{epoch},0.5")
    (run / "partial").write_text("\\n".join(rows) + "\\n")
    (run / "partial").replace(history)
{more}
for name in ("scores.csv", "run.json"):
    (run / name).write_text("")
"""


def training(more: str = "") -> dict:
    return {"04_training.py": TRAINING.replace("{more}", more)}


def start(*command: str) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DASK_LOGGING__DISTRIBUTED": "critical"}
    return subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment, start_new_session=True,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def worker(address: str, name: str, *more: str) -> subprocess.Popen:
    """A worker without a nanny, so that its own process can be killed."""
    return start("-m", "distributed.cli.dask_worker", address, "--no-nanny", "--nthreads", "1", "--no-dashboard",
                 "--memory-limit", "0", "--name", name, *more)


@contextmanager
def scheduler(folder: Path) -> Iterator[tuple[str, ExitStack]]:
    """Its address, and a stack for the processes that shall end with it."""
    with ExitStack() as stack:
        stack.callback(end, process := start("-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
                                             "--no-dashboard", "--scheduler-file", str(folder / "scheduler.json")))
        until(lambda: (folder / "scheduler.json").exists() and process.poll() is None)
        yield yaml.safe_load((folder / "scheduler.json").read_text())["address"], stack


def end(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()


def until(true, seconds: float = 120) -> None:
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.1)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def epochs(run: Path) -> int:
    return len((run / "trained").read_text().split()) if (run / "trained").exists() else 0


class Runner:
    """``run_profile`` in a process of its own."""

    def __init__(self, folder: Path, *options: str, work: dict | None = None, **profile):
        path, notebooks = make(folder, work or training(), **{"stages": ["training"]} | profile)
        self.build, self.log = folder / "build", folder / "log"
        code = ("import sys; from pathlib import Path; from kitsnb.workflow.profile import load; from kitsnb.workflow.run import run_profile;"
                "path, notebooks, build, *scheduler = sys.argv[1:];"
                "sys.exit(run_profile(load(path, notebooks=Path(notebooks), build=build),"
                " scheduler=scheduler[0] if scheduler else None))")
        with self.log.open("w") as log:
            self.process = subprocess.Popen([sys.executable, "-c", code, path, notebooks, self.build, *options], cwd=ROOT,
                                            env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=log, stderr=log,
                                            start_new_session=True)

    def run(self, experiment: str) -> Path:
        return self.build / "runs" / f"{experiment}-seed0"

    def status(self) -> int:
        return self.process.wait(300)

    def said(self) -> str:
        return self.log.read_text()


@contextmanager
def runner(*arguments, **profile) -> Iterator[Runner]:
    one = Runner(*arguments, **profile)
    try:
        yield one
    finally:
        end(one.process)


def test_a_run_whose_worker_is_killed_goes_on_at_another(tmp_path):
    with scheduler(tmp_path) as (address, stack):
        workers = {name: worker(address, name) for name in ("first", "second")}
        for process in workers.values():
            stack.callback(end, process)
        with runner(tmp_path, address) as grid:
            until(lambda: epochs(grid.run("a")) >= 3)
            mark = yaml.safe_load((grid.build / "stamps" / "training-a-seed0.worker").read_text())
            kernel = int((grid.run("a") / "kernel").read_text())
            end(workers[mark["worker"]])
            until(lambda: not alive(kernel), 10)
            assert grid.status() == 0, grid.said()
        for experiment in "ab":
            assert len((grid.run(experiment) / "history.csv").read_text().splitlines()) == 9
            assert (grid.run(experiment) / "run.json").exists()
        assert 8 <= epochs(grid.run("a")) <= 9  # the epoch under way was lost at most
        assert epochs(grid.run("b")) == 8
        assert "attempt 2" in grid.said() and "training a seed 0: epoch 8/8" in grid.said()
        assert not list((grid.build / "stamps").glob("*.worker")) and not list((grid.build / "stamps").glob(".token*"))


def test_many_deaths_are_survived_while_epochs_are_done_between(tmp_path):
    with scheduler(tmp_path) as (address, stack), runner(tmp_path, address, experiments=[{"name": "a", "loss": "dice"}]) as grid:
        for count in range(6):
            process = worker(address, f"w{count}")
            stack.callback(end, process)
            until(lambda: epochs(grid.run("a")) >= count + 1)
            end(process)
        stack.callback(end, worker(address, "last"))
        assert grid.status() == 0, grid.said()
        assert epochs(grid.run("a")) <= 8 + 6


def test_a_run_that_kills_its_workers_is_given_up(tmp_path):
    murder = "if experiment == 'a':\n    os.kill(os.getppid(), signal.SIGKILL)\n    time.sleep(60)\n"
    with runner(tmp_path, work=training(murder)) as grid:  # local workers have nannies, which start them again
        assert grid.status() == 1
    assert "its worker died, 6 times without an epoch between" in grid.said()
    assert "training b seed 0: done" in grid.said() and (grid.run("b") / "run.json").exists()


def test_a_run_that_fails_is_not_tried_again_and_others_go_on(tmp_path):
    with runner(tmp_path, work=training("if experiment == 'a':\n    raise FloatingPointError('the loss is nan')")) as grid:
        assert grid.status() == 1
    assert "FloatingPointError: the loss is nan" in grid.said() and "attempt" not in grid.said()
    assert epochs(grid.run("a")) == 8 and "training b seed 0: done" in grid.said()
    assert (grid.build / "stamps" / "training-a-seed0.failed").exists()


@pytest.mark.parametrize("always", [False, True])
def test_a_killed_kernel_is_started_once_more(tmp_path, always):
    more = f"""
if experiment == "a" and ({always} or not (run / "killed").exists()):
    (run / "killed").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    with runner(tmp_path, work=training(more)) as grid:
        assert grid.status() == int(always)
    assert grid.said().count("its kernel was killed") == 1 and epochs(grid.run("a")) == 8
    assert ("DeadKernelError" in grid.said()) is always


@pytest.mark.parametrize("remote", [False, True])
def test_an_interrupt_ends_kernels_and_the_same_command_goes_on(tmp_path, remote):
    with ExitStack() as stack:
        address, processes = stack.enter_context(scheduler(tmp_path)) if remote else (None, stack)
        options = [address] if remote else []
        if remote:
            processes.callback(end, worker(address, "one"))
        with runner(tmp_path, *options) as grid:
            until(lambda: epochs(grid.run("a")) >= 2)
            kernel = int((grid.run("a") / "kernel").read_text())
            os.killpg(grid.process.pid, signal.SIGINT)  # as a terminal does it
            assert grid.status() == 130, grid.said()
            until(lambda: not alive(kernel), 10)
            assert "the same command goes on" in grid.said() and "Traceback" not in grid.said()
            assert (grid.build / "stamps" / "training-a-seed0.started").exists()
            assert not (grid.build / "stamps" / "training-a-seed0.json").exists()
        with runner(tmp_path, *options) as grid:
            assert grid.status() == 0, grid.said()
        assert epochs(grid.run("a")) <= 9 and "the former run is kept" not in grid.said()


def test_no_scheduler_is_an_error_and_no_worker_is_said(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(clusters, "PATIENCE", 1)
    path, notebooks = make(tmp_path, training(), stages=["training"])
    profile = load(path, notebooks=notebooks, build=str(tmp_path / "build"))
    assert run_profile(profile, scheduler="tcp://127.0.0.1:9") == 1
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in capfd.readouterr().out
    with scheduler(tmp_path) as (address, stack), runner(tmp_path, address) as grid:
        until(lambda: "waiting for a worker" in grid.said())
        stack.callback(end, worker(address, "late"))
        assert grid.status() == 0, grid.said()


def test_a_worker_with_another_checkout_is_named(tmp_path):
    other = tmp_path / "other"
    (other / "notebooks").mkdir(parents=True)
    subprocess.run(["cp", "-r", ROOT / "kitsnb", other], check=True)
    with scheduler(tmp_path) as (address, stack):
        environment = os.environ | {"PYTHONPATH": str(other)}
        stack.callback(end, subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-nanny", "--no-dashboard"], cwd=other,
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True))
        with runner(tmp_path, address) as grid:
            assert grid.status() == 1
    assert re.search(rf"tcp://127.0.0.1:\d+: it has kitsnb from {other}, not from {ROOT}", grid.said())


def test_each_local_worker_owns_its_gpus():
    one = local_workers(["2", "3", "5"], 1, 7, None, 2)
    assert [worker["env"]["CUDA_VISIBLE_DEVICES"] for worker in one.values()] == ["2", "3", "5"]
    two = local_workers(["0", "1", "2"], 2, 7, None, 2)
    assert [(worker["env"]["CUDA_VISIBLE_DEVICES"], worker["resources"]["GPU"]) for worker in two.values()] == [("0,1", 2)]
    assert len(local_workers([], 1, 7, None, 2)) == 2 and len(local_workers([], 1, 7, 3, 2)) == 3
    assert len(local_workers(["0", "1", "2"], 1, 2, None, 9)) == 2
    with pytest.raises(GridError, match="wants 4 GPUs .* this machine has 2"):
        local_workers(["0", "1"], 4, 7, None, 2)


def test_threads_of_a_run_do_not_depend_on_how_many_are_left(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(8), raising=False)
    assert threads_here(2) == 4 and threads_here(16) == 1
    monkeypatch.setattr(grid_module, "visible_gpus", lambda: ["0"])
    assert threads_here(2) is None
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_here(2) == 3


def test_runs_ask_for_gpus_where_workers_declare_them(tmp_path):
    with scheduler(tmp_path) as (address, stack):
        stack.callback(end, worker(address, "gpu", "--resources", "GPU=1"))
        stack.callback(end, worker(address, "plain"))
        with runner(tmp_path, address) as grid:
            until(lambda: epochs(grid.run("a")) >= 1)
            mark = yaml.safe_load((grid.build / "stamps" / "training-a-seed0.worker").read_text())
            assert mark["worker"] == "gpu" and epochs(grid.run("b")) == 0
            assert grid.status() == 0, grid.said()


def test_slots_count_gpus_of_runs_with_several_devices(tmp_path):
    path, notebooks = make(tmp_path)
    jobs = [job for job in build_jobs(load(path, notebooks=notebooks)) if job.stage == "training"]
    assert devices_of(jobs[0]) == 1
    workers = {"a": {"nthreads": 4, "resources": {"GPU": 3}}, "b": {"nthreads": 8, "resources": {}}}
    assert slots(workers, jobs) == 3
    jobs[0].parameters["devices"] = 2
    assert slots(workers, jobs) == 1
    assert slots({"b": workers["b"]}, jobs) == 8


@pytest.mark.parametrize(
    ("content", "text"),
    [({"jobs": 2, "cores": 1, "memmory": "1GB"}, "unknown key 'memmory'; did you mean 'memory'"),
     ({"jobs": 2, "cores": "1", "memory": "1GB"}, "cores: is int, not str '1'"),
     ({"cores": 1, "memory": "1GB"}, "jobs is missing"), ({"jobs": 0, "cores": 1, "memory": "1GB"}, "1 or more"), ([], "keys")],
)
def test_a_mistake_in_a_slurm_file_is_named(tmp_path, content, text):
    (tmp_path / "slurm.yml").write_text(yaml.safe_dump(content))
    with pytest.raises(GridError, match=text):
        read_place(str(tmp_path / "slurm.yml"))


def test_where_to_run_must_be_an_address_or_a_file():
    assert read_place("tcp://there:8786").address and read_place(str(NOTEBOOKS / "clusters" / "slurm.yml")).slurm["jobs"]
    for wrong in ("there:8786", "notebooks/clusters/none.yml"):
        with pytest.raises(GridError, match=wrong):
            read_place(wrong)


def test_the_table_tells_each_state(tmp_path):
    path, notebooks = make(tmp_path, experiments=[{"name": name, "loss": "dice"} for name in ("a", "b", "c", "d", "e")])
    profile = load(path, notebooks=notebooks, build=str(tmp_path / "build"))
    stamps = profile.build.stamps
    a, b, c, d, e = jobs = [job for job in build_jobs(profile) if job.stage == "training"]
    write_json(stamps / f"{a.name}.json", {})
    write_json(failed_path(b, stamps), {})
    for job in (c, d):
        write_json(mark_path(job, stamps), {"worker": "w1", "host": "node7", "attempt": 2})
        write_json(job.run / "settings.json", {"epochs": 10})
        rows = [{"epoch": n, "seconds": 60.0, "validation_loss": 0.5, "validation_tumour": 0.25} for n in (1, 2)]
        pd.DataFrame(rows).to_csv(job.run / "history.csv", index=False)
    os.utime(mark_path(d, stamps), (0, 0))
    assert [read_state(job, stamps).status for job in jobs] == ["done", "failed", "running", "interrupted", "waiting"]
    console = Console(width=200, record=True, file=open(os.devnull, "w"))
    watch(profile, once=True, console=console)
    text = console.export_text()
    assert "2/10" in text and "0.250" in text and "60.0" in text and "8:00" in text and "w1 on node7, attempt 2" in text
    assert "5 training runs: 1 done, 1 failed, 1 running, 1 interrupted, 1 waiting; about 26:00 left" in text
    assert grid_table([]).row_count == 0


def test_the_real_notebook_goes_on_after_its_worker_was_killed(tmp_path):
    """The smoke profile with two rows: preprocessing here, training at two workers, one of which is killed."""
    content = yaml.safe_load((ROOT / "tests" / "helpers" / "smoke.yml").read_text())
    content |= {"stages": ["data_analysis", "preprocessing", "losses", "training", "results"],
                "experiments": content["experiments"][:2]}
    content["training"] |= {"epochs": 10, "steps_per_epoch": 10}
    (tmp_path / "smoke.yml").write_text(yaml.safe_dump(content))
    with scheduler(tmp_path) as (address, stack):
        workers = {name: worker(address, name) for name in ("first", "second")}
        for process in workers.values():
            stack.callback(end, process)
        log = (tmp_path / "log").open("w")
        process = subprocess.Popen(
            [sys.executable, "-m", "kitsnb", "run", tmp_path / "smoke.yml", "--build", tmp_path / "build",
             "--scheduler", address],
            cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=log, stderr=log, start_new_session=True)
        stack.callback(end, process)
        history = tmp_path / "build" / "runs" / "dice-seed0" / "history.csv"
        until(lambda: history.exists() and len(history.read_text().splitlines()) > 3, 300)
        before = history.read_text().splitlines()[:4]
        end(workers[yaml.safe_load((tmp_path / "build" / "stamps" / "training-dice-seed0.worker").read_text())["worker"]])
        status = process.wait(300)
    said = (tmp_path / "log").read_text()
    assert status == 0, said
    assert history.read_text().splitlines()[:4] == before  # seconds too: these epochs were not trained again
    assert len(history.read_text().splitlines()) == 11 and "attempt 2" in said
    assert len(yaml.safe_load((tmp_path / "build" / "results.json").read_text())["table"]) >= 2

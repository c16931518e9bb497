"""The grid through a real SLURM of one node on this machine, submitted by dask-jobqueue; jobs are cancelled on the way."""

import subprocess

import pytest
import yaml
from helpers import slurm_at_hand
from workflow.test_grid import alive, epochs, runner, until

MISSING = slurm_at_hand.why_not()
pytestmark = pytest.mark.skipif(MISSING is not None, reason=f"SLURM: {MISSING}")


@pytest.fixture(scope="module")
def slurm():
    """SLURM_CONF of a SLURM that runs while these tests do."""
    with pytest.MonkeyPatch.context() as environment, slurm_at_hand.one_node() as configuration:
        environment.setenv("SLURM_CONF", str(configuration))
        yield configuration
    assert not configuration.parent.exists()


def settings(folder, **more):
    """A file for ``--scheduler``."""
    path = folder / "slurm.yml"
    path.write_text(yaml.safe_dump({"jobs": 2, "cores": 1, "memory": "300MB", "scheduler_options": {
        "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}} | more))
    return str(path)


def jobs() -> list[str]:
    return subprocess.run(["squeue", "-h", "-t", "R", "-o", "%A"], capture_output=True, text=True, check=True).stdout.split()


def test_a_cancelled_job_is_replaced_and_its_run_goes_on(tmp_path, slurm):
    with runner(tmp_path, settings(tmp_path)) as grid:
        until(lambda: epochs(grid.run("a")) >= 3)
        mark = yaml.safe_load((grid.build / "stamps" / "training-a-seed0.worker").read_text())
        kernel = int((grid.run("a") / "kernel").read_text())
        before = jobs()
        log = next(path for path in (grid.build / "slurm").glob("*.err") if mark["worker"] in path.read_text())
        subprocess.run(["scancel", log.stem.rpartition("-")[2]], check=True)
        until(lambda: not alive(kernel), 10)
        assert grid.status() == 0, grid.said()
    assert len(before) == 2
    assert 8 <= epochs(grid.run("a")) <= 9 and epochs(grid.run("b")) == 8
    assert "attempt 2" in grid.said(), grid.said()
    assert len(list((grid.build / "slurm").glob("*.err"))) >= 3
    until(lambda: not jobs(), 30)


def test_a_job_that_ends_before_its_worker_comes_is_said(tmp_path, slurm):
    prologue = ["echo no such module >&2; exit 1"]
    with runner(tmp_path, settings(tmp_path, job_script_prologue=prologue)) as grid:
        assert grid.status() == 1, grid.said()
    assert "ended before its worker" in grid.said() and str(grid.build / "slurm") in grid.said()
    until(lambda: not jobs(), 30)


def test_without_sbatch_it_is_said_where_to_run(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with runner(tmp_path, settings(tmp_path)) as grid:
        assert grid.status() == 1
    assert "sbatch is not on this machine" in grid.said()

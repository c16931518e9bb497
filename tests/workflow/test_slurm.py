"""Runs behind srun, on a real SLURM of one node: a job is cancelled on the way, and the main process is killed."""

import signal
import subprocess

import pytest
from helpers import slurm_at_hand
from helpers.runner_at_hand import alive, processes_below, runner, until

MISSING = slurm_at_hand.why_not()
pytestmark = pytest.mark.skipif(MISSING is not None, reason=f"SLURM: {MISSING}")
LAUNCH = "srun --ntasks 1 --cpus-per-task 1 --mem 300M"


@pytest.fixture(scope="module")
def slurm():
    """A SLURM of one node with two processors that runs while these tests do."""
    with pytest.MonkeyPatch.context() as environment, slurm_at_hand.one_node() as configuration:
        environment.setenv("SLURM_CONF", str(configuration))
        yield configuration
    assert not configuration.parent.exists()


def jobs(state: str = "") -> list[str]:
    options = ["-t", state] if state else []
    command = ["squeue", "-h", *options, "-o", "%A"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_a_cancelled_job_is_named_and_the_same_command_goes_on_from_its_epoch(tmp_path, slurm):
    rows = [{"name": "a", "loss": "dice"}]
    with runner(tmp_path, None, LAUNCH, experiments=rows) as grid:
        grid.until(lambda: grid.epochs("a") >= 3)
        kernel = grid.kernel("a")
        subprocess.run(["scancel", *jobs("R")], check=True)
        until(lambda: not alive(kernel), 20)
        assert grid.status() == 1 and "the same command goes on with it" in grid.said(), grid.said()
    with runner(tmp_path, None, LAUNCH, experiments=rows) as grid:
        assert grid.status() == 0, grid.said()
    assert 8 <= grid.epochs("a") <= 9 and "goes on from its checkpoint" in grid.said()
    until(lambda: not jobs(), 30)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=lambda how: how.name)
def test_no_job_is_left_when_the_main_process_ends(tmp_path, slurm, how):
    rows = [{"name": name, "loss": "dice"} for name in "abc"]
    with runner(tmp_path, None, LAUNCH, 3, experiments=rows) as grid:
        grid.until(lambda: sum(grid.epochs(name) >= 1 for name in "abc") == 2)
        kernels = [grid.kernel(name) for name in "abc" if grid.epochs(name)]
        assert len(jobs("PD")) == 1
        grid.process.send_signal(how)
        grid.process.wait(60)
        until(lambda: not jobs() and not any(map(alive, kernels)) and not processes_below(tmp_path), 40)

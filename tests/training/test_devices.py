"""One run on two devices: two processes on the CPU, connected by gloo and started by torchrun, as they are on GPUs."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from kitsnb.data.cases import discover
from kitsnb.preprocessing.prepare import Preprocessing, preprocess_cases
from kitsnb.simulation.phantom import write_dataset
from kitsnb.training.devices import Ranks, find_ranks
from kitsnb.training.history import TIMING, PooledScores
from kitsnb.training.module import SegmentationModule
from kitsnb.training.patches import PatchSampler, fixed_patches
from kitsnb.training.run import train
from kitsnb.training.settings import Training
from kitsnb.training.volumes import load_volumes

#: Batch normalization, since its running statistics are what processes could differ in; 3 steps on 2 devices are 2 each.
TWO = Training(network={"base_filters": 2, "depth": 2, "normalization": "batch"}, patch_size=(16, 16, 16), batch_size=1,
               steps_per_epoch=3, epochs=25, learning_rate=1e-3, foreground=1.0, devices=2, plateau_patience=0, stop_patience=25)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Two to train on and three, an odd number, to validate."""
    folder = tmp_path_factory.mktemp("distributed")
    preprocess_cases(write_dataset(folder / "data", 5, 0), folder / "grid", Preprocessing(spacing=(8, 8, 8), resize_in_plane=None))
    found = discover(folder / "grid")
    return found[:2], found[2:]


@pytest.fixture(scope="module")
def whole(cases, tmp_path_factory):
    """An uninterrupted run on two devices, and its summary."""
    run = tmp_path_factory.mktemp("whole") / "run"
    return run, train(TWO, *cases, run)


def table(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "history.csv").drop(columns=list(TIMING))


def test_two_processes_write_one_history_and_one_checkpoint(whole):
    run, summary = whole
    assert list(table(run).epoch) == list(range(1, 26)) and list(table(run).step) == list(range(2, 51, 2))
    assert summary["epochs"] == 25 and summary["devices"] == 2 and summary["steps"] == 50
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert len(list((run / "logs" / "tensorboard").glob("events*"))) == 1


def test_validation_is_the_same_as_on_one_device_with_the_same_weights(whole, cases):
    run, _ = whole
    volumes = load_volumes(cases[1])
    alone = Ranks()
    module = SegmentationModule(TWO, None, fixed_patches(volumes, TWO.patch_size, TWO.batch_size), alone)
    module.load_state_dict(torch.load(run / "checkpoints" / "last.ckpt")["state_dict"])
    module.eval()
    module.scores = {"validation": PooledScores()}
    with torch.no_grad():
        for number in range(3):
            module.validation_step(number, number)
    for name, value in module.scores["validation"].measures("validation", alone)[1].items():
        assert table(run)[name].iloc[-1] == pytest.approx(value, rel=1e-6, abs=1e-9)


def test_ranks_draw_different_patches(cases):
    volumes = load_volumes(cases[0])
    batches = [PatchSampler(volumes, (16, 16, 16), 1, foreground=1.0, seed=seed, rank=rank).batch(step)[0]
               for seed in (0, 1) for step in (0, 1) for rank in (0, 1)]
    assert all(not torch.equal(a, b) for n, a in enumerate(batches) for b in batches[:n])


def test_an_epoch_keeps_its_number_of_patches():
    assert TWO.changed(steps_per_epoch=8).patches_of_an_epoch == 8
    assert TWO.steps_of_a_rank == 2 and TWO.patches_of_an_epoch == 4  # rounded up
    assert TWO.changed(devices=1).steps_of_a_rank == 3


def test_the_sum_over_ranks_does_not_depend_on_their_number():
    torch.manual_seed(0)
    batches = [(torch.randn(2, 3, 4, 4, 4), torch.randint(3, (2, 4, 4, 4))) for _ in range(5)]

    class Pretended(Ranks):
        def gather(self, part):
            return part | {index: row for index, row in others.items()}

    alone = PooledScores()
    halves = PooledScores(), PooledScores()
    for index, (logits, target) in enumerate(batches):
        for scores in (alone, halves[index % 2]):
            scores.add(index, logits.mean(), logits, target)
    others = {index: row.tolist() for index, row in halves[1].rows.items()}
    assert halves[0].measures("x", Pretended(None)) == alone.measures("x", Ranks())


def test_a_run_on_two_devices_goes_on_after_a_process_was_killed(whole, cases, tmp_path):
    run, killed = tmp_path / "run", []

    def kill_second_rank():
        _wait_for_epochs(run, 3)
        killed.extend(_ranks_of(run))
        os.kill(killed[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill_second_rank)
    killer.start()
    with pytest.raises(RuntimeError, match="."):
        train(TWO, *cases, run)
    killer.join()
    assert len(killed) == 2 and not any(_alive(process) for process in killed)
    assert 3 <= len(table(run)) < TWO.epochs
    assert train(TWO, *cases, run)["best_epoch"] == whole[1]["best_epoch"]
    pd.testing.assert_frame_equal(table(run), table(whole[0]), check_exact=True)
    for name in ("best", "last"):
        states = [torch.load(path / "checkpoints" / f"{name}.ckpt")["state_dict"] for path in (run, whole[0])]
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[1])


def test_a_finished_run_is_told_without_any_process(whole, cases, monkeypatch):
    monkeypatch.setattr("kitsnb.training.run.launch", None)
    assert train(TWO, *cases, whole[0]) == whole[1]


def test_a_run_begun_on_two_devices_is_refused_on_one(whole, cases):
    with pytest.raises(ValueError, match="devices: 2 there, 1 now"):
        train(TWO.changed(devices=1), *cases, whole[0])


NAN_ON_ONE = """
import os
import torch
calls = []

def loss(logits, target):
    calls.append(0)
    return logits.mean() * (float("nan") if os.environ["RANK"] == "1" and len(calls) == 6 else 1.0)
"""


def test_nan_on_one_device_stops_all_and_says_where(cases, tmp_path):
    (tmp_path / "own.py").write_text(NAN_ON_ONE)
    settings = TWO.changed(loss=f"{tmp_path / 'own.py'}:loss")
    with pytest.raises(RuntimeError, match="FloatingPointError: the loss is nan at step 3"):  # 2 steps, 2 validations, 2 steps
        train(settings, *cases, tmp_path / "run")
    assert list(table(tmp_path / "run").epoch) == [1]


PARENT = """
import json, sys
from pathlib import Path
from kitsnb.data.cases import Case
from kitsnb.training.run import train
from kitsnb.training.settings import Training
settings, folders, run = json.loads(sys.argv[1])
train(Training(**settings), *[[Case(Path(f)) for f in part] for part in folders], Path(run))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_processes_end_with_the_one_that_started_them(cases, tmp_path, how):
    run = tmp_path / "run"
    folders = [[str(case.folder) for case in part] for part in cases]
    settings = TWO.changed(epochs=100_000, stop_patience=100_000).as_json()
    task = json.dumps([settings, folders, str(run)])
    parent = subprocess.Popen([sys.executable, "-c", PARENT, task], stderr=subprocess.DEVNULL)
    try:
        _wait_for_epochs(run, 1)
        ranks = _ranks_of(run)
        parent.send_signal(how)
        parent.wait(120)
    finally:
        parent.kill()
        parent.wait()
    ends = time.monotonic() + 60
    while any(map(_alive, ranks)) and time.monotonic() < ends:
        time.sleep(0.1)
    assert len(ranks) == 2 and not any(map(_alive, ranks))


def test_as_many_processes_as_devices_are_asked_for(monkeypatch):
    assert find_ranks(1).size == 1
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "1",
                        "TORCHELASTIC_RUN_ID": "x", "MASTER_ADDR": "localhost", "MASTER_PORT": "1",
                        "LOCAL_WORLD_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    ranks = find_ranks(4)
    assert (ranks.size, ranks.rank, ranks.nodes) == (4, 3, 2)
    for devices in (1, 2):
        with pytest.raises(ValueError, match=f"devices is {devices}, but 4 processes were started"):
            find_ranks(devices)


def test_slurm_s_processes_are_found(monkeypatch):
    for name, value in {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "2", "SLURM_LOCALID": "0",
                        "SLURM_NTASKS_PER_NODE": "2", "SLURM_STEP_NUM_NODES": "2", "SLURM_NODEID": "1"}.items():
        monkeypatch.setenv(name, value)
    ranks = find_ranks(4)
    assert (ranks.size, ranks.rank, ranks.nodes) == (4, 2, 2) and not ranks.environment.auto_requeue
    assert find_ranks(1).size == 1  # a job of the grid on a cluster trains alone


def _wait_for_epochs(run: Path, epochs: int) -> None:
    ends = time.monotonic() + 200
    while not (run / "history.csv").exists() or len((run / "history.csv").read_text().splitlines()) < 1 + epochs:
        assert time.monotonic() < ends, f"no epoch {epochs} in {run}"
        time.sleep(0.002)


def _ranks_of(run: Path) -> list[int]:
    """Process ids of the ranks that train in ``run``, found by their lock's holder and its siblings."""
    first = int(re.search(r"process (\d+)", (run / ".holder").read_text())[1])
    parent = _parent(first)
    others = (int(name) for name in os.listdir("/proc") if name.isdigit())
    beside = [pid for pid in others if pid != first and _parent(pid) == parent]
    return [first, *(pid for pid in beside if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())]


def _parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() and ") Z" not in Path(f"/proc/{pid}/stat").read_text()

"""The real notebooks, killed on the way: all processes at once, then the process of one run alone."""

import os
import signal
import subprocess
import sys

import pandas as pd
from helpers.runner_at_hand import processes_below, until
from helpers.smoke_at_hand import CONTENT, finished, kitsnb, write_profile

from kitsnb.files import ROOT, read_json


def test_a_killed_run_goes_on_from_its_last_epoch(build, tmp_path):
    training = CONTENT["training"] | {"epochs": 40, "steps_per_epoch": 6}
    profile = write_profile(tmp_path / "killed.yml", training=training, experiments=CONTENT["experiments"][:1],
                            stages=["data_analysis", "preprocessing", "training"])
    run = build / "runs" / "dice-seed0"
    command = [sys.executable, "-m", "kitsnb", "run", str(profile), "--build", str(build)]
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL)

    def epochs() -> int:
        assert process.poll() is None, "the runner has ended"
        history = run / "history.csv"
        return len(pd.read_csv(history)) if history.exists() and (run.parent / "archive").exists() else 0

    until(lambda: epochs() >= 5)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: not processes_below(build))  # those of the run notice by themselves that their parent is gone
    before = pd.read_csv(run / "history.csv")
    assert len(before) < 40

    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    until(lambda: epochs() > len(before) + 3)
    os.kill(int(read_json(build / "stamps" / "training-dice-seed0.mark")["where"].split()[1]), signal.SIGKILL)
    said = (tmp_path / "log").read_text() if process.wait(300) == 0 else ""
    after = pd.read_csv(run / "history.csv")
    assert "attempt 2" in said, (tmp_path / "log").read_text()
    assert list(after.epoch) == list(range(1, 41))
    kept = len(before) - 1  # the epoch whose checkpoint was being written may be repeated
    pd.testing.assert_frame_equal(after[:kept], before[:kept])  # seconds too: these epochs were not trained again
    assert finished(said) == {"training dice seed 0"} and not finished(kitsnb("run", profile, "--build", build).stdout)

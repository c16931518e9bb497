"""A build that was damaged after it was finished."""

import pandas as pd
from helpers.smoke_at_hand import SMOKE, kitsnb


def test_damage_is_named_and_healed_and_no_training_is_repeated(smoke, build):
    runs, summary, phantom = build / "runs", build / "losses" / "summary.json", build / "data" / "case_00003" / "imaging.nii.gz"
    volume, scores = build / "preprocessed" / "case_00005" / "imaging.npy", pd.read_csv(runs / "dice-seed0" / "scores.csv")
    content = bytearray(volume.read_bytes())
    content[-1] ^= 1
    volume.write_bytes(content)
    scores.assign(kidney=1.0).to_csv(runs / "dice-seed0" / "scores.csv", index=False)
    for path in (phantom, runs / "focal_tversky-seed0" / "history.csv", summary):
        path.write_bytes(path.read_bytes()[:-20])
    for name in ("weighted_log_cosh_dice-seed0/run.json", "log_cosh_dice-seed0/predictions/case_00005.nii.gz"):
        (runs / name).write_bytes(b"")
    figure = next(build.glob("figures/scores.svg"))
    figure.unlink()
    (build / "paper.pdf").unlink()
    trained = {path: path.stat().st_mtime_ns for path in runs.glob("*/checkpoints/*")}
    done = kitsnb("run", SMOKE, "--build", build)
    assert done.returncode == 0, done.stdout
    for path in (phantom, volume, summary, *(runs / name for name in (
            "dice-seed0/scores.csv", "focal_tversky-seed0/history.csv", "weighted_log_cosh_dice-seed0/run.json"))):
        assert f"{path} was changed since it was made" in done.stdout, path
    assert trained == {path: path.stat().st_mtime_ns for path in runs.glob("*/checkpoints/*")}
    assert not (runs / "archive").exists()
    for path in (volume, phantom, runs / "dice-seed0/scores.csv", runs / "focal_tversky-seed0/history.csv",
                 runs / "weighted_log_cosh_dice-seed0/run.json", figure):
        assert path.read_bytes() == (smoke / path.relative_to(build)).read_bytes(), path

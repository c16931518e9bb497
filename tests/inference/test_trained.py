"""What belongs to a trained run: what it lacks, and what does not fit together, is named."""

import shutil

import pytest
from helpers.files_at_hand import rewrite

from kitsnb.data.nifti import CaseError
from kitsnb.inference import load_run


@pytest.mark.parametrize(("lost", "said"), [
    ("run.json", "dice-seed0: run.json: is missing"),
    ("settings.json", "dice-seed0: settings.json: is missing"),
    ("checkpoints/best.ckpt", "dice-seed0: best.ckpt: is missing"),
])
def test_what_a_run_lacks_is_named(run, lost, said):
    (run / lost).unlink()
    with pytest.raises(CaseError, match=said):
        load_run(run)


@pytest.mark.parametrize(("file", "change", "said"), [
    ("run.json", lambda c: c["settings"].pop("prediction"), "settings.prediction Field required.*execute"),
    ("run.json", lambda c: c["settings"]["preprocessing"].update(colour=1), "unknown setting 'colour'"),
    ("run.json", lambda c: c["settings"]["prediction"].update(overlap=[16, 0, 0]), r"overlap \[16, 0, 0\] must be below"),
    ("run.json", lambda c: c["settings"]["prediction"].update(overlap=[3, 0, 0]), "multiple of 2"),
    ("run.json", lambda c: c.pop("title"), "run.json: title Field required"),
    ("settings.json", lambda c: c.update(learning_rate=1.0), "or of other settings than run.json; finish"),
])
def test_settings_that_do_not_belong_are_named(run, file, change, said):
    rewrite(run / file, change)
    with pytest.raises(CaseError, match=said):
        load_run(run)


def test_a_checkpoint_of_another_network_is_named(run):
    for name in ("run.json", "settings.json"):
        rewrite(run / name, lambda c: c.get("settings", {"training": c})["training"]["network"].update(base_filters=4))
    with pytest.raises(CaseError, match="best.ckpt: .*does not fit run.json's network"):
        load_run(run)
    (run / "checkpoints" / "best.ckpt").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(CaseError, match="best.ckpt: is missing, damaged"):
        load_run(run)


def test_a_run_is_loaded_from_any_folder_and_a_build_names_its_runs(run, tmp_path):
    with pytest.raises(CaseError, match=r"give one of .*build's runs \(dice-seed0\)"):
        load_run(tmp_path / "build")
    moved = shutil.move(run, tmp_path / "archive" / "dice")
    assert load_run(moved).record.training_cases == 100

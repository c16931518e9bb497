"""What belongs to a trained run: what it lacks, and what does not fit together, is named."""

from pathlib import Path

import pytest
from helpers.files_at_hand import rewrite

from kitsnb.data.nifti import CaseError
from kitsnb.inference.trained import load_run


@pytest.mark.parametrize("lost", ["run.json", "settings.json", "checkpoints/best.ckpt"])
def test_what_a_run_lacks_is_named(own_run, lost):
    (own_run / lost).unlink()
    with pytest.raises(CaseError, match=f"dice-seed0: {Path(lost).name}: .* is missing"):
        load_run(own_run)


@pytest.mark.parametrize(("file", "change", "message"), [
    ("run.json", lambda c: c["settings"].pop("overlap"), "run.json: does not say 'overlap'; execute"),
    ("settings.json", lambda c: c.update(learning_rate=1.0), "belong to other settings .learning_rate: 1.0 there, 0.0001"),
    ("run.json", lambda c: c.pop("preprocessing"), "run.json: does not say 'preprocessing'; execute"),
    ("run.json", lambda c: c["preprocessing"].update(colour=1), "run.json: .*colour"),
    ("run.json", lambda c: c["settings"].update(overlap=[99, 0, 0]), "run.json: .*overlap"),
])
def test_settings_that_do_not_belong_are_named(own_run, file, change, message):
    rewrite(own_run / file, change)
    with pytest.raises(CaseError, match=message):
        load_run(own_run)


def test_a_checkpoint_of_another_network_is_named(own_run):
    for name in ("run.json", "settings.json"):
        rewrite(own_run / name, lambda c: c.get("settings", c)["network"].update(base_filters=4))
    with pytest.raises(CaseError, match="best.ckpt: does not fit run.json's network"):
        load_run(own_run)
    (own_run / "checkpoints" / "best.ckpt").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(CaseError, match="best.ckpt"):
        load_run(own_run)

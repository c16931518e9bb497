"""What belongs to a trained run: what it lacks, and what does not fit together, is named."""

import pytest
from helpers.files_at_hand import rewrite

from kitsnb.data.nifti import CaseError
from kitsnb.inference import load_run


@pytest.mark.parametrize("lost", ["run.json", "settings.json", "checkpoints/best.ckpt"])
def test_what_a_run_lacks_is_named(run, lost):
    (run / lost).unlink()
    with pytest.raises(CaseError, match=f"dice-seed0: .*{lost.rpartition('/')[2]}.* missing.*give the folder"):
        load_run(run)


@pytest.mark.parametrize(("file", "change", "said"), [
    ("run.json", lambda c: c["settings"].pop("prediction"), "settings.prediction Field required"),
    ("run.json", lambda c: c["settings"]["preprocessing"].update(colour=1), "unknown setting 'colour'"),
    ("settings.json", lambda c: c.update(learning_rate=1.0), "or of other settings"),
])
def test_settings_that_do_not_belong_are_named(run, file, change, said):
    rewrite(run / file, change)
    with pytest.raises(CaseError, match=said):
        load_run(run)


def test_a_checkpoint_of_another_network_and_a_cut_one_are_named(run):
    for name in ("run.json", "settings.json"):
        rewrite(run / name, lambda c: c.get("settings", {"training": c})["training"]["network"].update(base_filters=4))
    with pytest.raises(CaseError, match="size mismatch"):
        load_run(run)
    (run / "checkpoints" / "best.ckpt").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(CaseError, match="best.ckpt is damaged"):
        load_run(run)

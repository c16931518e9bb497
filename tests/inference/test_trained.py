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


def test_settings_and_a_checkpoint_that_do_not_belong_are_named(run):
    def assert_refused(said):
        with pytest.raises(CaseError, match=said):
            load_run(run)

    rewrite(run / "settings.json", lambda c: c["network"].update(base_filters=4))
    assert_refused("settings.json is missing, or of other settings")
    rewrite(run / "run.json", lambda c: c["settings"]["training"]["network"].update(base_filters=4))
    assert_refused("size mismatch")
    (run / "checkpoints" / "best.ckpt").write_bytes(b"PK\x03\x04 cut")
    assert_refused("best.ckpt is damaged")
    rewrite(run / "run.json", lambda c: c["settings"]["preprocessing"].update(colour=1))
    assert_refused("unknown setting 'colour'")

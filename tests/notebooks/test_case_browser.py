"""The case browser: what its widgets hold, and that a case that cannot be read is named."""

import shutil

from interactive.case_browser import CaseBrowser
from viewing.test_scan import folder  # noqa: F401, a fixture

from kitsnb.viewing.scan import WINDOWS


def test_the_browser_follows_its_controls(folder):
    widget = CaseBrowser(folder, prediction=folder / "predictions", simulated=True)
    assert "case_00007 (simulated CT)" in widget.facts.value
    assert [volume.name for volume in widget.view.volumes] == ["imaging.nii", "label.nii"]
    assert "label: tumour" in widget.where.value and widget.slice.max == 12
    widget.opacity["errors"].value = 0.7
    assert widget.view.volumes[-1].name == "errors.nii" and widget.view.volumes[-1].opacity == 0.7
    widget.preset.value = "bone"
    assert (widget.view.volumes[0].cal_min, widget.view.volumes[0].cal_max) == widget.window.value == WINDOWS["bone"]
    widget.slice.value = 1
    assert widget.at[0] == 0 and "-1000 HU" in widget.where.value
    (folder / "case_00007" / "imaging.nii.gz").unlink()
    widget.choose("case_00007")
    assert "imaging.nii.gz" in widget.facts.value and "missing" in widget.facts.value


def test_a_first_case_that_cannot_be_read_is_named_and_the_next_can_be_chosen(folder):
    shutil.copytree(folder / "case_00007", folder / "case_00006")
    (folder / "case_00006" / "imaging.nii.gz").write_bytes(b"no CT")
    widget = CaseBrowser(folder)
    assert "imaging.nii.gz" in widget.facts.value and widget.scan is None
    assert widget.slice.disabled and all(slider.disabled for slider in widget.opacity.values())
    widget.case.value = "case_00007"
    assert widget.scan.name == "case_00007" and not widget.slice.disabled and not widget.opacity["label"].disabled

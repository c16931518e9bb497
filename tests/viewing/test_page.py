"""The page of ``show`` in a real browser: letters, pixels, keyboard, and the command."""

import re
import signal
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from helpers.canvas_at_hand import picture, settled
from typer.testing import CliRunner
from viewing.conftest import write

from kitsnb.__main__ import app
from kitsnb.files import ROOT
from kitsnb.viewing.page import write_page
from kitsnb.viewing.scan import Given, find_scans, read_scan

#: Of a volume [x, y, z] towards right, front and head: the voxels at the end that a letter names.
ENDS = {"R": np.s_[33:, :, :], "A": np.s_[:, 25:, :], "S": np.s_[:, :, 17:]}
PLANES = ("axial", "coronal", "sagittal")
#: Each letter over a canvas with the box that it is drawn in: down, right, height and width.
LETTERS = """canvas => {
    const frame = canvas.getBoundingClientRect();
    return [...canvas.parentElement.querySelectorAll("b")].map(letter => [letter, letter.getBoundingClientRect()]).map(
        ([letter, box]) => [letter.textContent, box.y - frame.y, box.x - frame.x, Math.floor(box.height), Math.floor(box.width)]);
}"""


def test_a_mark_on_one_side_lies_at_the_letter_of_that_side_however_it_is_stored(visit, tmp_path):
    """NIfTI's world points to the right, to the front and to the head: "RAS" in nibabel's names of directions."""
    scans = []
    for letter, voxels in ENDS.items():
        volume = np.full((40, 30, 20), -1000, np.int16)
        volume[voxels] = 1000
        image = nib.Nifti1Image(volume, np.diag([2.0, 2, 3, 1]))
        for stored in ("IPL", "RAS"):
            turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(stored))
            path = tmp_path / f"{letter}-{stored}.nii.gz"
            nib.save(image.as_reoriented(turn), path)
            scans.append((path.name, read_scan(Given(path.name, path))))
    write_page(tmp_path / "page", scans, title="Marks")
    with visit(tmp_path / "page") as page:
        for name, _ in scans:
            page.get_by_role("status").evaluate("status => { status.textContent = ''; }")
            page.get_by_label("case").select_option(name)
            page.get_by_text("Point: HU").wait_for()
            seen = [found for plane in PLANES if (found := nearest_letter(page, plane))]
            assert seen == [name[0], name[0]], name
        assert not page.wrong


def nearest_letter(page, plane: str) -> str | None:
    """The letter that is drawn closest to the bright part of a plane; None where none of it is bright."""
    canvas = page.get_by_role("img", name=f"{plane} section")
    pixels = picture(canvas)
    bright = np.argwhere(pixels.min(axis=2) > 0.9)
    if len(bright) < 0.05 * pixels[..., 0].size:
        return None
    away = {}
    for letter, down, right, height, width in canvas.evaluate(LETTERS):
        part = pixels[int(down):int(down + height), int(right):int(right + width)]
        assert part.shape[:2] == (int(height), int(width)) and part.std() > 0.1, f"{letter} is not to be seen"
        away[letter] = np.hypot(*(bright.mean(axis=0) - (down + height / 2, right + width / 2)))
    assert len(away) == 4
    return min(away, key=away.get)


def test_the_viewer_follows_case_layer_slider_and_mouse(visit, folder):
    found = find_scans(folder / "data", prediction=folder / "run")
    write_page(folder / "page", [(name, read_scan(given)) for name, given in found.items()], title="Two cases")
    with visit(folder / "page") as page:
        canvas = page.get_by_role("img", name="axial section")
        seen = settled(canvas)
        assert page.get_by_label("prediction").is_disabled() and page.get_by_label("label").is_checked()
        page.get_by_label("case").select_option("case_00007")
        seen = settled(canvas, seen)
        for act in (lambda: page.get_by_label("prediction").press("Space"),
                    lambda: page.get_by_label("axial slice").press("ArrowRight"),
                    lambda: canvas.click(position={"x": 30, "y": 40}),
                    lambda: page.mouse.wheel(0, 100),
                    lambda: drag(page, canvas)):
            act()
            seen = settled(canvas, seen)
        assert "window" in page.get_by_role("status").text_content()
        canvas.hover(position={"x": 30, "y": 40})
        assert re.search(r"slice \d+ of 12 · -?\d+ HU · label none", page.get_by_role("status").text_content())
        assert not page.wrong


def drag(page, canvas) -> None:
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 150, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 20, box["y"] + 50, steps=3)
    page.mouse.up()


def test_the_command_serves_the_page_until_ctrl_c(folder):
    given = [folder / "data", "--prediction", folder / "run", "--output", folder / "kept", "--no-open"]
    command = [sys.executable, "-m", "kitsnb", "show", *given]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert re.match(r"http://127\.0\.0\.1:\d+/ shows", process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    page = (folder / "kept" / "index.html").read_text()
    assert page.index("case_00007") < page.index("case_00006"), "that with a prediction first"


@pytest.mark.parametrize("arguments, reason", [
    (["nowhere.nii.gz"], "no such file or folder; give"),
    (["{0}/data", "--label", "{0}/data/case_00006/segmentation.nii.gz"], "belongs to one CT"),
    (["{0}/data/case_00006", "--prediction", "{0}/run"], "no prediction of case_00006"),
    (["{0}/data/case_00006", "--label", "{0}/other.nii.gz"], "case_00006: other.nii.gz"),
], ids=["nothing", "one label", "other prediction", "other label"])
def test_what_cannot_be_shown_is_said_in_one_paragraph(folder, arguments, reason):
    write(folder / "other.nii.gz", np.zeros((5, 5, 5), np.uint8))
    said = CliRunner().invoke(app, ["show", "--no-open", *(text.format(folder) for text in arguments)])
    assert said.exit_code == 1
    assert reason in said.output and len(said.output.strip().splitlines()) == 1, said.output

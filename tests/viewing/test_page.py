"""The page of ``show`` in a real browser: letters, pixels, keyboard, and the command."""

import os
import re
import signal
import threading
import webbrowser
from urllib.request import urlopen

import nibabel as nib
import numpy as np
import pytest
from helpers.canvas_at_hand import picture, settled
from typer.testing import CliRunner
from viewing.conftest import write

from kitsnb.__main__ import app
from kitsnb.data.settings import Accept
from kitsnb.files import write_json
from kitsnb.viewing.show import show_page, write_page
from kitsnb.viewing.scan import Given, find_scans, read_scan

#: The letters that are nearest to the right, front, upper corner of the body.
NEAREST = {"axial": "AR", "coronal": "SR", "sagittal": "SA"}


@pytest.mark.parametrize("stored", ["IPL", "RAS"])
def test_a_mark_in_a_corner_lies_between_the_letters_of_its_sides_however_it_is_stored(visit, tmp_path, stored):
    """NIfTI's world points to the right, to the front and to the head: "RAS" in nibabel's names of directions."""
    mark = np.zeros((40, 30, 20), np.uint8)
    mark[20:, 15:, 10:] = 1
    files = {}
    for kind, volume in (("ct", mark * np.int16(2000) - 1000), ("prediction", mark)):
        image = nib.Nifti1Image(volume, np.diag([2.0, 2, 3, 1]))
        turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(stored))
        files[kind] = tmp_path / f"{kind}.nii.gz"
        nib.save(image.as_reoriented(turn), files[kind])
    scan = read_scan(Given("mark", files["ct"], None, files["prediction"]))
    write_page(tmp_path / "page", [("mark", scan)], title="Mark")
    with visit(tmp_path / "page") as page:
        page.get_by_text("Point: HU").wait_for()
        page.get_by_label("prediction").press("Space")  # what is white now is CT
        assert {plane: nearest_letters(page, plane) for plane in NEAREST} == NEAREST


def nearest_letters(page, plane: str) -> str:
    """The two letters, down and right, that are drawn closest to the bright part of a plane."""
    canvas = page.get_by_role("img", name=f"{plane} section")
    frame = canvas.bounding_box()
    pixels = picture(canvas)
    bright = np.argwhere(pixels.min(axis=2) > 0.9).mean(axis=0)
    away = {}
    for letter in canvas.locator("xpath=..").locator("b").all():
        box = letter.bounding_box()
        place = np.array([box["y"] - frame["y"], box["x"] - frame["x"]])
        size = np.array([box["height"], box["width"]])
        away[letter.inner_text()] = np.hypot(*(bright - place - size / 2))
    vertical, horizontal = list(away)[:2], list(away)[2:]
    return min(vertical, key=away.get) + min(horizontal, key=away.get)


def test_the_viewer_follows_case_layer_slider_and_mouse(visit, folder):
    found = find_scans(folder / "data", prediction=folder / "run")
    write_page(folder / "page", [(name, read_scan(given)) for name, given in found.items()], title="Two cases")
    with visit(folder / "page") as page:
        canvas = page.get_by_role("img", name="axial section")
        seen = settled(canvas)
        assert page.get_by_label("prediction").is_disabled() and page.get_by_label("label").is_checked()
        for act in (lambda: page.get_by_label("case").select_option("case_00007"),
                    lambda: page.get_by_label("prediction").press("Space"),
                    lambda: page.get_by_label("axial slice").press("ArrowRight"),
                    lambda: canvas.click(position={"x": 30, "y": 40}),
                    lambda: canvas.drag_to(canvas, source_position={"x": 150, "y": 50}, target_position={"x": 20, "y": 50})):
            act()
            seen = settled(canvas, seen)
        assert "window" in page.get_by_role("status").text_content()
        canvas.hover(position={"x": 30, "y": 40})
        assert re.search(r"slice \d+ of 12 · -?\d+ HU · label none", page.get_by_role("status").text_content())


def test_the_command_serves_the_page_until_ctrl_c(folder, monkeypatch):
    pages = []

    def visit_and_leave(address):
        pages.append(urlopen(address).read().decode())
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(webbrowser, "open", lambda address: threading.Thread(target=visit_and_leave, args=[address]).start())
    said = CliRunner().invoke(app, ["show", f"{folder}/data", "--prediction", f"{folder}/run"])
    assert said.exit_code == 0 and re.match(r"http://127\.0\.0\.1:\d+/ shows", said.output)
    assert pages[0].index("case_00007") < pages[0].index("case_00006"), "that with a prediction first"


def test_a_build_is_shown_as_it_reads_its_cases_whatever_labels_are_mapped_too(folder):
    write_json(folder / "profile.json", {"data": {
        "source": "folder", "folder": str(folder / "data"), "training": [6, 6], "validation": [7, 7], "excluded": [],
        "slab": {"in_plane": 10}}})
    show_page(folder / "page", folder, None, Accept({3: 1}))
    assert re.search(r"shape\W+3, 10, 10\D", (folder / "page" / "index.html").read_text("utf-8"))


@pytest.mark.parametrize("arguments, reason", [
    (["nowhere.nii.gz"], "no such folder; give"),
    (["{0}/data/case_00006", "--prediction", "{0}/run"], "no prediction of case_00006"),
    (["{0}/data/case_00006", "--prediction", "{0}/other.nii.gz"], "case_00006: other.nii.gz"),
])
def test_what_cannot_be_shown_is_said_in_one_paragraph(folder, arguments, reason):
    write(folder / "other.nii.gz", np.zeros((5, 5, 5), np.uint8))
    said = CliRunner().invoke(app, ["show", *(text.format(folder) for text in arguments)])
    assert said.exit_code == 1
    assert reason in said.output and len(said.output.strip().splitlines()) == 1, said.output

"""The command ``show``, and the page that it serves, in a real browser."""

import json
import re
import signal
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from helpers.canvas_at_hand import settled
from typer.testing import CliRunner

from kitsnb.__main__ import app
from kitsnb.files import ROOT
from kitsnb.simulation.phantom import write_dataset


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """A build with two cases and the prediction of one, which is its label, shifted."""
    folder = tmp_path_factory.mktemp("build")
    made = {"source": "phantom", "folder": None}
    (folder / "profile.json").write_text(json.dumps({"simulated": True, "parameters": {"data_analysis": made}}))
    case, _ = write_dataset(folder / "data", 2, seed=3)
    label = nib.load(case.segmentation)
    predictions = folder / "runs" / "dice-seed0" / "predictions"
    predictions.mkdir(parents=True)
    shifted = np.roll(np.asarray(label.dataobj), 2, axis=1)
    nib.save(nib.Nifti1Image(shifted, label.affine), predictions / "case_00000.nii.gz")
    return folder


@pytest.fixture
def address(build):
    """Where ``show`` serves the build; at the end Ctrl-C ends it, in good order."""
    given = [build, "--prediction", build / "runs" / "dice-seed0"]
    command = [sys.executable, "-m", "kitsnb", "show", *given, "--no-open"]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        said = process.stdout.readline()
        yield re.match(r"http://127\.0\.0\.1:\d+/", said)[0]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0, process.stdout.read()


def test_the_page_shows_ct_and_follows_case_window_layer_and_keyboard(browser, address):
    page, wrong = browser.new_page(viewport={"width": 1000, "height": 700}), []
    page.on("request", lambda request: request.url.startswith((address, "data:", "blob:")) or wrong.append(request.url))
    page.on("requestfailed", lambda request: wrong.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
    page.goto(address)
    canvas = page.locator("#stage canvas")
    seen = settled(canvas)
    assert "simulated" in page.locator("#facts").text_content()
    assert "label: kidney" in page.locator("#facts").text_content()

    for control, value in (("window", "bone"), ("view", "0"), ("case", "case_00001")):
        page.locator(f"#{control}").select_option(value)
        seen = settled(canvas, seen)
    assert page.locator("#errors").is_disabled(), "no prediction, no errors"
    page.locator("#case").select_option("case_00000")
    seen = settled(canvas, seen)
    page.locator("#errors").fill("1")
    seen = settled(canvas, seen)
    canvas.focus()
    for _ in range(4):
        page.keyboard.press("ArrowUp")
    settled(canvas, seen)
    canvas.click()
    page.wait_for_function("document.querySelector('#where').textContent.includes('HU')")
    assert not wrong
    page.close()


def test_without_webgl_the_still_picture_stands(browser, address):
    page = browser.new_page()
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page.goto(address)
    page.wait_for_function("document.querySelector('#still').naturalWidth > 300")
    assert "no WebGL" in page.locator("#stage").text_content()
    assert "case_00000" in page.locator("#still").get_attribute("alt")
    page.close()


@pytest.mark.parametrize("arguments, reason", [
    (["nowhere.nii.gz"], "no such file or folder; give"),
    (["{build}/profile.json"], "neither a gzip nor a NIfTI"),
    (["{build}", "--label", "{build}/data/case_00000/segmentation.nii.gz"], "is the label of one CT"),
    (["{build}/data/case_00001", "--prediction", "{build}/runs/dice-seed0"], "no prediction of case_00001"),
    (["{build}/data/case_00000", "--label", "{build}/data/case_00001/segmentation.nii.gz"], "case_00000: segmentation"),
    (["{build}/data/case_00000", "--label-map", "3"], "must read OLD=NEW"),
], ids=["nothing", "no NIfTI", "one label", "other prediction", "other label", "map"])
def test_what_cannot_be_shown_is_said_in_one_paragraph(build, arguments, reason):
    said = CliRunner().invoke(app, ["show", "--no-open", *(text.format(build=build) for text in arguments)])
    assert said.exit_code == 1
    assert reason in said.output and len(said.output.strip().splitlines()) == 1, said.output

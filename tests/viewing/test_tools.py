"""The three tools as a reader uses them, in a real JupyterLab: each draws, and follows what is chosen."""

import shutil

import numpy as np
import pandas as pd
import pytest
from helpers.canvas_at_hand import settled
from helpers.lab_at_hand import open_notebook, run_all, start_lab
from interactive.browse import browse
from interactive.case_table import table_of
from interactive.playground import Playground
from probing.errors import phantom_geometry
from viewing.conftest import write

from kitsnb.files import NOTEBOOKS
from kitsnb.losses import FocalTverskyLoss

CELLS = '''# %% [markdown]
# Tools

# %%
import sys

import pandas as pd

from kitsnb.viewing.scan import find_scans, read_scan

sys.path.append("NOTEBOOKS")
from interactive.browse import browse
from interactive.case_table import case_table
from interactive.playground import Playground
from probing.errors import phantom_geometry

# %%
browse("FOLDER/data", predictions="FOLDER/run", split={"case_00006": "training"})

# %%
given = find_scans(__import__("pathlib").Path("FOLDER/data"), prediction=__import__("pathlib").Path("FOLDER/run"))
scores = pd.read_csv("FOLDER/scores.csv")
case_table(scores, {"dice": "Dice loss", "own": "My <own>"}, lambda experiment, case: read_scan(given[case]), True)

# %%
Playground(phantom_geometry(1, 0, (130.0, 130.0, 130.0))).show()
'''
#: The dark pixels of the last picture in the notebook, as a text, once they are others than before.
DRAWN = """before => {
    const image = [...document.querySelectorAll(".jp-OutputArea-output img[src^='data:image/png']:not([alt*=case])")].at(-1);
    if (!image?.naturalWidth) return false;
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight), pen = canvas.getContext("2d");
    pen.drawImage(image, 0, 0);
    const {data} = pen.getImageData(0, 0, canvas.width, canvas.height);
    const dark = [...data.keys()].filter(place => place % 4 === 0 && data[place] < 100);
    const now = `${dark.length} ${dark.reduce((sum, place) => sum + place, 0)}`;
    return dark.length > 100 && now !== before && now;
}"""


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    """JupyterLab with a notebook of all three tools, run."""
    folder = tmp_path_factory.mktemp("tools")
    label = np.zeros((12, 20, 24), np.uint8)
    label[3:9, 5:15, 4:10] = 1
    label[4:7, 6:10, 5:8] = 2
    for number, name in enumerate(("case_00006", "case_00007")):
        noise = np.random.default_rng(number).normal(40, 60, label.shape)
        write(folder / "data" / name / "imaging.nii.gz", noise.astype(np.int16))
        write(folder / "data" / name / "segmentation.nii.gz", label)
        write(folder / "run" / "predictions" / f"{name}.nii.gz", np.roll(label, 2 + number, 2))
    dice = {"case": ["case_00006", "case_00007"], "tumour": [0.7, 0.4], "tumour_ml": [20.7, 20.7]}
    pd.DataFrame(dice).to_csv(folder / "run" / "scores.csv", index=False)
    scores = pd.concat(pd.DataFrame(dice).assign(experiment=name, seed=0) for name in ("dice", "own"))
    scores.to_csv(folder / "scores.csv", index=False)
    header = (NOTEBOOKS / "03_losses.py").read_text().partition("# %%")[0]  # it names the kernel
    text = header + CELLS.replace("FOLDER", str(folder)).replace("NOTEBOOKS", str(NOTEBOOKS))
    (folder / "lab").mkdir()
    (folder / "lab" / "tools.py").write_text(text)
    with start_lab(folder / "lab", folder / "home") as address:
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(address)
        page.wait_for_selector(".jp-DirListing-item", timeout=120_000)
        open_notebook(page, "tools.py")
        state = run_all(page)
        assert not state["errors"], "\n".join("\n".join(error["traceback"]) for error in state["errors"])
        yield page
        page.close()
    shutil.rmtree(folder)


def test_browse_draws_the_case_that_is_chosen(page):
    canvas = page.get_by_role("img", name="axial section")
    canvas.scroll_into_view_if_needed()
    seen = settled(canvas)
    lines = [line.replace("\xa0", " ") for line in page.locator("select[size] option").all_inner_texts()]
    assert lines == ["case_00006 · training · tumour 20.7 ml · Dice 0.70", "case_00007 · tumour 20.7 ml · Dice 0.40"]
    assert page.get_by_label("prediction").is_checked()
    assert canvas.locator("xpath=..").locator("b").all_inner_texts() == ["A", "P", "R", "L"]
    page.locator("select[size]").select_option(index=1)
    seen = settled(canvas, seen)
    page.get_by_label("prediction").press("Space")
    settled(canvas, seen)
    canvas.hover(position={"x": 30, "y": 40})
    page.get_by_text(" HU · label none").wait_for()


def test_a_row_of_the_table_opens_its_case_for_two_losses(page):
    rows = page.locator("table.dataTable tbody tr")
    assert [row.split()[0] for row in rows.all_inner_texts()] == ["case_00007", "case_00006"], "worst first"
    page.locator("table.dataTable th", has_text="case").get_by_role("button").click()
    page.locator("table.dataTable th[aria-sort=ascending]", has_text="case").wait_for()
    rows.first.click()
    picture = page.get_by_role("img", name="case_00006: label, prediction and errors of")
    assert settled(picture).std() > 0.1
    assert "My <own>, Dice 0.70" in picture.get_attribute("alt")


def test_the_playground_follows_its_loss_and_its_slider(page):
    page.wait_for_function(DRAWN, arg="")
    before = page.evaluate(f"({DRAWN})('')")
    handle = page.locator(".widget-slider", has=page.get_by_text("exponent", exact=True)).locator(".noUi-handle")
    handle.press("PageUp")
    page.wait_for_function(DRAWN, arg=before)


def test_a_case_that_cannot_be_read_is_named_and_the_next_can_be_chosen(folder):
    (folder / "data" / "case_00006" / "imaging.nii.gz").write_bytes(b"no CT")
    choice, facts, viewer = browse(folder / "data").children
    assert "alert" in facts.value and "case_00006: imaging.nii.gz" in facts.value
    choice.value = "case_00007"
    assert "kidney 187 ml" in facts.value and viewer.scan["name"] == "case_00007" and viewer.layout.display is None


def test_what_the_playground_draws_is_what_the_loss_says():
    play = Playground(phantom_geometry(1, 0, (100.0, 100.0, 100.0)))
    figure = play.draw("focal_tversky", exponent=2.0)
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].get_lines()}
    loss = FocalTverskyLoss(exponent=2.0)
    wanted = [float(loss(logits, play.geometry.target)) for logits in play.logits["missed tumour"]]
    assert lines["missed tumour"] == pytest.approx(wanted) and lines["erosion"][-1] > lines["erosion"][0]
    with pytest.raises(ValueError, match="did you mean 'dice'"):
        play.draw("dica")


def test_the_table_averages_seeds_and_keeps_undefined_cases():
    scores = pd.DataFrame({"experiment": ["a", "a", "b", "a"], "seed": [0, 1, 0, 0], "case": ["x", "x", "x", "y"],
                           "tumour": [0.2, 0.4, 0.8, np.nan]})
    table = table_of(scores, {"b": "B", "a": "A", "c": "C"})
    assert table.columns.tolist() == ["b", "a"] and table.index.tolist() == ["x", "y"]
    assert table.loc["x"].tolist() == pytest.approx([0.8, 0.3]) and table.loc["y"].isna().all()

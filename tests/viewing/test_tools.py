"""The three tools as a reader uses them, in a real JupyterLab: each draws, and follows what is chosen."""

import numpy as np
import pandas as pd
import pytest
from helpers.canvas_at_hand import settled
from helpers.lab_at_hand import open_notebook, run_all, start_lab
from interactive.browse import browse
from interactive.case_table import table_of
from interactive.playground import Playground
from probing.errors import phantom_geometry
from viewing.conftest import write_cases

from kitsnb.files import NOTEBOOKS
from kitsnb.losses import FocalTverskyLoss

CELLS = '''# %% [markdown]
# Tools

# %%
import sys
from pathlib import Path

import pandas as pd

from kitsnb.viewing.scan import find_scans, read_scan

sys.path.append("NOTEBOOKS")
from interactive.browse import browse
from interactive.case_table import case_table
from interactive.playground import Playground
from probing.errors import phantom_geometry

# %%
browse("FOLDER/data", predictions="FOLDER/run")

# %%
given = find_scans(Path("FOLDER/data"), prediction=Path("FOLDER/run"))
scores = pd.read_csv("FOLDER/run/scores.csv").assign(experiment="own", seed=0)
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


@pytest.fixture
def page(browser, tmp_path):
    """JupyterLab with a notebook of all three tools, run."""
    write_cases(tmp_path)
    scores = pd.DataFrame({"case": ["case_00006", "case_00007"], "tumour": [0.7, 0.4], "tumour_ml": 20.7})
    scores.to_csv(tmp_path / "run" / "scores.csv", index=False)
    header = (NOTEBOOKS / "03_losses.py").read_text().partition("# %%")[0]  # it names the kernel
    text = header + CELLS.replace("FOLDER", str(tmp_path)).replace("NOTEBOOKS", str(NOTEBOOKS))
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "tools.py").write_text(text)
    with start_lab(tmp_path / "lab", tmp_path / "home") as address:
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(address)
        page.wait_for_selector(".jp-DirListing-item", timeout=120_000)
        open_notebook(page, "tools.py")
        state = run_all(page)
        assert not state["errors"], "\n".join("\n".join(error["traceback"]) for error in state["errors"])
        yield page
        page.close()


def test_each_tool_draws_and_follows_in_jupyterlab(page):
    canvas = page.get_by_role("img", name="axial section")
    canvas.scroll_into_view_if_needed()
    seen = settled(canvas)
    assert canvas.locator("xpath=..").locator("b").all_inner_texts() == ["A", "P", "R", "L"]
    page.locator("select[size]").select_option(index=1)
    seen = settled(canvas, seen)
    assert page.get_by_label("prediction").is_checked()
    page.get_by_label("prediction").press("Space")
    settled(canvas, seen)
    canvas.hover(position={"x": 30, "y": 40})
    page.get_by_text(" HU · label none").wait_for()

    page.locator("table.dataTable tbody tr").first.click()
    picture = page.get_by_role("img", name="case_00007: label, prediction and errors of")
    assert settled(picture).std() > 0.1 and "My <own>, Dice 0.40" in picture.get_attribute("alt")

    page.wait_for_function(DRAWN, arg="")
    before = page.evaluate(f"({DRAWN})('')")
    slider = page.locator(".widget-slider", has=page.get_by_text("exponent", exact=True))
    slider.locator(".noUi-handle").press("PageUp")
    page.wait_for_function(DRAWN, arg=before)


def test_browse_says_what_is_known_of_each_case(folder):
    pd.DataFrame({"case": ["case_00007"], "tumour": [0.4]}).to_csv(folder / "run" / "scores.csv", index=False)
    known = pd.DataFrame({"tumour_ml": [20.7, 20.7]}, index=["case_00007", "case_00006"])
    choice, *_ = browse(folder / "data", known, folder / "run", {"case_00006": "training"}).children
    assert list(choice.options) == ["case_00006 · training · tumour 20.7 ml", "case_00007 · tumour 20.7 ml · Dice 0.40"]


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

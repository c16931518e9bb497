"""The three tools as a reader uses them: each draws, and follows what is chosen; the viewer in a real JupyterLab."""

import numpy as np
import pandas as pd
import pytest
from helpers.canvas_at_hand import settled
from helpers.lab_at_hand import open_notebook, run_all, start_lab
from interactive.browse import browse
from interactive.case_table import case_table, table_of
from interactive.playground import Playground
from probing.errors import phantom_geometry

from kitsnb.files import NOTEBOOKS
from kitsnb.losses import FocalTverskyLoss
from kitsnb.viewing.scan import find_scans, read_scan

CELLS = """# %% [markdown]
# Any case

# %%
import sys

sys.path.append("NOTEBOOKS")
from interactive.browse import browse

browse("FOLDER/data", predictions="FOLDER/run")
"""


def test_browse_draws_in_jupyterlab(browser, folder):
    header = (NOTEBOOKS / "03_losses.py").read_text().partition("# %%")[0]  # it names the kernel
    (folder / "lab").mkdir()
    text = header + CELLS.replace("FOLDER", str(folder)).replace("NOTEBOOKS", str(NOTEBOOKS))
    (folder / "lab" / "tools.py").write_text(text)
    with start_lab(folder / "lab", folder / "home") as address:
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector(".jp-DirListing-item", timeout=120_000)
        open_notebook(page, "tools.py")
        state = run_all(page)
        assert not state["errors"], state["errors"]
        canvas = page.get_by_role("img", name="axial section")
        seen = settled(canvas)
        page.locator("select[size]").select_option(index=1)
        seen = settled(canvas, seen)
        assert page.get_by_label("prediction").is_checked()
        page.get_by_label("prediction").press("Space")
        settled(canvas, seen)
        page.close()


def test_browse_says_what_is_known_of_each_case(folder):
    pd.DataFrame({"case": ["case_00007"], "tumour": [0.4]}).to_csv(folder / "run" / "scores.csv", index=False)
    cases = pd.DataFrame({"tumour_ml": 20.7, "role": [None, "training"]}, index=["case_00007", "case_00006"])
    choice, *_ = browse(folder / "data", cases, folder / "run").children
    assert list(choice.options) == ["case_00006 · training · tumour 20.7 ml", "case_00007 · tumour 20.7 ml · Dice 0.40"]


def test_a_row_of_the_table_opens_its_case_for_two_losses(folder):
    scores = pd.DataFrame({"experiment": ["dice", "own"] * 2, "seed": 0, "tumour": [0.7, 0.8, 0.3, 0.4],
                           "case": ["case_00006", "case_00006", "case_00007", "case_00007"]})
    given = find_scans(folder / "data", prediction=folder / "run")
    box = case_table(scores, {"dice": "Dice loss", "own": "My <own>"}, lambda _, case: read_scan(given[case]))
    table, _, heading, picture = box.children
    table.selected_rows = [0]
    said = "case_00007: label, prediction and errors of My &lt;own&gt;, Dice 0.99 here and of Dice loss, Dice 0.99 here"
    assert said in heading.value and f'alt="{said}" src="data:image/png;base64,iVBOR' in picture.value
    given["case_00006"].imaging.write_bytes(b"no CT")
    table.selected_rows = [1]
    assert "alert" in heading.value and "case_00006: imaging.nii.gz" in heading.value and not picture.value


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

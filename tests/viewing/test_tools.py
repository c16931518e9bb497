"""The three tools as a reader uses them: each draws, and follows what is chosen; the viewer in a real JupyterLab."""

import numpy as np
import pandas as pd
import pytest
from helpers.canvas_at_hand import settled
from helpers.lab_at_hand import open_notebook, run_all, start_lab
from interactive import compare
from interactive.playground import draw
from probing.errors import phantom_geometry, predict_errors

from kitsnb.files import NOTEBOOKS
from kitsnb.losses import FocalTverskyLoss
from kitsnb.viewing.scan import find_scans, read_scan

CELLS = """# %% [markdown]
# Any case

# %%
import sys

sys.path.append("NOTEBOOKS")
from interactive.browse import browse

browse("FOLDER/data", {"case_00007": "training"}, "FOLDER/run")
"""


def test_browse_draws_in_jupyterlab_and_names_a_case_that_cannot_be_read(browser, folder):
    header = (NOTEBOOKS / "03_losses.py").read_text().partition("# %%")[0]  # it names the kernel
    (folder / "lab").mkdir()
    text = header + CELLS.replace("FOLDER", str(folder)).replace("NOTEBOOKS", str(NOTEBOOKS))
    (folder / "lab" / "tools.py").write_text(text)
    (folder / "data" / "case_00008").mkdir()
    (folder / "data" / "case_00008" / "imaging.nii.gz").write_bytes(b"no CT")
    with start_lab(folder / "lab", folder / "home") as address:
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector(".jp-DirListing-item", timeout=120_000)
        open_notebook(page, "tools.py")
        state = run_all(page)
        assert not state["errors"], state["errors"]
        canvas = page.get_by_role("img", name="axial section")
        cases = page.locator("select[size]")
        seen = settled(canvas)
        cases.select_option(label="case_00008 ")
        page.get_by_text("CaseError: case_00008: imaging.nii.gz").first.wait_for()
        cases.select_option(label="case_00007 training")
        page.get_by_text("kidney 187 ml").first.wait_for()
        seen = settled(canvas, seen)
        assert page.get_by_label("prediction").is_checked()
        page.get_by_label("prediction").press("Space")
        settled(canvas, seen)
        page.close()


def test_a_case_is_shown_as_two_losses_see_it(folder, monkeypatch):
    shown = []
    monkeypatch.setattr(compare, "as_png", lambda figure: shown.append(figure) or b"")
    scores = pd.DataFrame({"experiment": ["dice", "own"] * 6, "seed": [0] * 6 + [1] * 6,
                           "case": np.tile(np.repeat(["case_00006", "case_00007", "case_00008"], 2), 2),
                           "tumour": [0.6, 0.7, 0.3, np.nan, np.nan, np.nan, 0.8, 0.9, 0.4, np.nan, np.nan, np.nan]})
    given = find_scans(folder / "data", prediction=folder / "run")
    box = compare.compare(scores, {"dice": "Dice loss", "own": "My own"}, lambda _, case: read_scan(given[case]))
    case, loss, beside, trouble, _ = box.children
    assert list(case.options) == [f"case_0000{end}" for end in (
        "7: mean tumour Dice 0.35", "6: mean tumour Dice 0.75", "8: mean tumour Dice nan")]
    assert (loss.value, beside.value) == ("own", "dice")
    case.value = "case_00008"
    assert "KeyError" in trouble.value, "no such case was given"
    case.value = "case_00007"
    rows = [axes.get_ylabel() for axes in shown[-1].axes[::3]]
    assert rows == ["case_00007\nMy own, Dice 0.99 here", "case_00007\nDice loss, Dice 0.99 here"]
    assert len(shown) == 2 and not trouble.value


def test_what_the_playground_draws_is_what_the_loss_says():
    geometry = phantom_geometry(1, 0, (100.0, 100.0, 100.0))
    predictions = predict_errors(geometry, 3)
    figure = draw(geometry, predictions, "focal_tversky", exponent=2.0)
    (line,) = figure.axes[2].get_lines()
    loss = FocalTverskyLoss(exponent=2.0)
    values = [float(loss(logits, geometry.target)) for logits in predictions["missed tumour"].values()]
    assert line.get_label() == "focal tversky, exponent 2"
    assert line.get_ydata() / line.get_ydata()[0] == pytest.approx(np.divide(values, values[0]))

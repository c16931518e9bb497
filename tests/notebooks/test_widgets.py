"""Widgets as a reader uses them, in a real JupyterLab: sliders redraw, the table sorts, and a row opens its case."""

import pytest
from helpers.canvas_at_hand import settled
from helpers.lab_at_hand import open_notebook, run_all, shut_down

CELLS = '''# %% [markdown]
# Widgets

# %%
import sys

from kitsnb.data.cases import Case
from kitsnb.files import NOTEBOOKS, Build
from kitsnb.study import figures
from kitsnb.study.runs import read_stage
from kitsnb.training.volumes import load_volumes
from kitsnb.workflow.profile import recorded_parameters

sys.path.append(str(NOTEBOOKS))
from interactive.augmentation import StrengthSlider
from interactive.case_browser import CaseBrowser
from interactive.playground import Playground
from interactive.run_browser import RunBrowser
from probing.probes import phantom_geometry

build = Build(BUILD)
given = recorded_parameters(build.folder, "results")
figures.use_style()

# %%
Playground(phantom_geometry(1, 0, (130.0, 130.0, 130.0)))

# %%
RunBrowser(build, given["experiments"], given["seeds"], build.data, simulated=True)

# %%
case = sorted(build.preprocessed.glob("case_*"))[0]
StrengthSlider(load_volumes([Case(case)])[0], read_stage(build.preprocessed / "report.json", "02")["spacing"], simulated=True)

# %%
CaseBrowser(build.data, prediction=build.run("dice", 0), simulated=True)
'''
#: The mean of the pixels that a picture shows, none where it is not loaded.
PIXELS = """async (image) => {
    await image.decode();
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
    const pen = canvas.getContext("2d");
    pen.drawImage(image, 0, 0);
    const {data} = pen.getImageData(0, 0, canvas.width, canvas.height);
    return data.reduce((sum, value) => sum + value, 0) / data.length;
}"""


@pytest.fixture(scope="module")
def widgets(page, lab, smoke):
    """The page of JupyterLab with a notebook of all three widgets, run."""
    header = (lab.folder / "03_losses.py").read_text().partition("# %%")[0]  # it names the kernel
    (lab.folder / "widgets.py").write_text(header + CELLS.replace("BUILD", repr(str(smoke))))
    page.evaluate("window.jupyterapp.commands.execute('filebrowser:refresh')")
    page.wait_for_selector('.jp-DirListing-item[title^="Name: widgets.py"]')
    open_notebook(page, "widgets.py")
    state = run_all(page)
    assert not state["errors"], "\n".join("\n".join(error["traceback"]) for error in state["errors"])
    yield page
    shut_down(page)
    (lab.folder / "widgets.py").unlink()


def slide(page, name: str, key: str) -> None:
    page.locator(".widget-slider", has=page.get_by_text(name, exact=True)).locator(".noUi-handle").press(key)


def picture(page, alt: str):
    """The picture whose text holds ``alt``, once it is there."""
    found = page.locator(f'.jp-OutputArea img[alt*="{alt}"]:visible')
    found.wait_for(timeout=30_000)
    return found


def test_a_slider_redraws_the_playground_and_a_faulty_file_is_named(widgets):
    before = picture(widgets, "focal tversky, exponent 0.75").evaluate(PIXELS)
    slide(widgets, "exponent", "PageUp")
    assert picture(widgets, "focal tversky, exponent 1.").evaluate(PIXELS) != before > 0
    assert slider_is_disabled(widgets, "gamma") and not slider_is_disabled(widgets, "alpha")
    own = widgets.get_by_placeholder("my_loss.py:my_loss")
    own.fill("no_such_file.py:loss")
    own.press("Enter")
    widgets.get_by_role("alert").get_by_text("there is no file").wait_for(timeout=30_000)


def slider_is_disabled(page, name: str) -> bool:
    slider = page.locator(".widget-slider", has=page.get_by_text(name, exact=True)).locator(".noUi-target")
    return slider.get_attribute("disabled") is not None


def test_the_table_of_cases_sorts_and_a_row_opens_its_case(widgets):
    widgets.get_by_text("Cases", exact=True).click()
    table = widgets.locator("table.dataTable")
    rows = table.locator("tbody tr")
    rows.first.wait_for(timeout=30_000)
    volumes = table.locator("tbody tr td:nth-child(6)")
    before = [float(text) for text in volumes.all_inner_texts()]
    table.locator("th", has_text="tumour (ml)").get_by_role("button").click()
    table.locator("th[aria-sort=ascending]", has_text="tumour (ml)").wait_for(timeout=30_000)
    after = [float(text) for text in volumes.all_inner_texts()]
    assert after == sorted(after) != before

    seen = set()
    for number in (0, 3):
        run, case = rows.nth(number).locator("td").all_inner_texts()[:2]
        rows.nth(number).click()
        seen.add(picture(widgets, f"{case}, {run}: tumour Dice").evaluate(PIXELS))
        assert widgets.locator(".jp-OutputArea b", has_text=f"{case}, {run}: tumour Dice").is_visible()
    assert len(seen) == 2 and min(seen) > 0


def test_the_strength_of_augmentation_changes_the_picture(widgets):
    before = picture(widgets, "at 1 times the usual strength").evaluate(PIXELS)
    slide(widgets, "strength", "ArrowRight")
    assert picture(widgets, "at 1.1 times the usual strength").evaluate(PIXELS) != before > 0


def test_the_case_browser_draws_and_follows_case_window_and_slice(widgets):
    browser = widgets.locator(".jp-OutputArea-output", has=widgets.locator("canvas"))
    canvas = browser.locator("canvas")
    canvas.scroll_into_view_if_needed()
    seen = settled(canvas)
    assert browser.get_by_text("case_00000 (simulated CT)").is_visible()
    browser.locator("select").first.select_option("case_00005")
    seen = settled(canvas, seen)
    assert browser.get_by_text("prediction: kidney").is_visible(), "a held-out case has one"
    browser.get_by_role("button", name="bone").click()
    seen = settled(canvas, seen)
    for name, key in (("slice", "PageUp"), ("errors", "End")):
        slide(widgets, name, key)
        seen = settled(canvas, seen)


def test_a_notebook_of_widgets_is_small_when_it_is_saved(widgets):
    size = widgets.evaluate("JSON.stringify(window.jupyterapp.shell.currentWidget.context.model.toJSON()).length")
    assert 1000 < size < 1_000_000

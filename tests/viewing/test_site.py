"""The page to share, in a real browser: this build's story, open to all readers, on a phone too."""

import json
import shutil

import nbformat
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from helpers.canvas_at_hand import settled
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from viewing.conftest import write_cases

from kitsnb.files import Build
from kitsnb.viewing.site import write_site

TABLE = pd.DataFrame({f"column {n}": [n] for n in range(30)}).to_html()
CELLS = [
    new_markdown_cell("# 3. Losses & all\n\nThe share $s_c$ of class $c$."),
    new_code_cell("hidden = 1", outputs=[new_output("display_data", {"text/html": TABLE})]),
]


def row(name: str, mean: float) -> dict:
    score = {"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "crossed_low": None, "crossed_high": None, "n": 2}
    names = ("kidney_and_tumour", "kidney", "tumour", "composite")
    return {"experiment": name, "title": f"The {name} loss", "scores": dict.fromkeys(names, score)}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site of a build with two losses, of which one is a reader's own."""
    folder = write_cases(tmp_path_factory.mktemp("site"))
    build = Build(folder)
    (folder / "profile.json").write_text(json.dumps({
        "title": "My study", "description": "Two losses.", "experiments": [{"name": "own"}], "seeds": [0], "data": {
        "source": "phantom", "simulated": True, "training": [0, 5], "validation": [6, 7], "excluded": []}}))
    build.results.write_text(json.dumps({
        "table": [row("dice", 0.5), row("own", 0.7)], "about": {"pictured": {"row": "own", "seed": 0}},
        "findings": ["The own loss is <higher> than the dice loss."]}))
    build.paper.write_bytes(b"%PDF")
    run = build.run("own", 0)
    shutil.copytree(folder / "run", run)
    shutil.copy(run / "predictions" / "case_00007.nii.gz", run / "predictions" / "case_00006.nii.gz")
    scores = {"case": ["case_00006", "case_00007"], "tumour": [0.9, 0.4], "kidney": [0.9, 0.9], "tumour_ml": [20, 20]}
    pd.DataFrame(scores).to_csv(run / "scores.csv", index=False)
    build.notebooks.mkdir()
    for name in ("03_losses", "04_training-dice-seed0"):
        nbformat.write(new_notebook(cells=CELLS), build.notebooks / f"{name}.ipynb")
    return write_site(build).parent


def test_the_page_tells_this_builds_story(visit, site):
    with visit(site) as page:
        assert page.locator("h1").inner_text() == "My study" and "simulated" in page.locator(".notice").inner_text()
        assert page.locator("li").first.inner_text() == "The own loss is <higher> than the dice loss."
        assert page.locator("tbody tr").first.inner_text().split("\t")[:2] == ["The dice loss", "0.500 [0.400, 0.600]"]
        assert page.locator("#case option").all_inner_texts()[0].endswith("tumour Dice 0.40"), "worst first"
        assert page.get_by_label("prediction").is_checked()
        assert page.locator("nav a").count() == 4 and page.locator("main ul").last.inner_text() == "03_losses"


@pytest.mark.parametrize("address", ["", "notebooks/03_losses.html"])
def test_all_readers_can_read_it_on_a_phone_too(visit, site, address):
    with visit(site, 400, address) as page:
        if not address:
            settled(page.get_by_role("img", name="axial section"))
        assert page.evaluate("document.documentElement.scrollWidth") <= 400, "tables scroll inside themselves"
        found = Axe().run(page).response["violations"]
        assert not [one for one in found if one["impact"] in ("serious", "critical")]


def test_a_notebook_shows_what_it_says_and_made_without_its_code(visit, site):
    with visit(site) as page:
        page.get_by_role("link", name="03_losses").click()
        assert page.locator("h1").inner_text().startswith("3. Losses & all")
        assert page.locator("nav a").all_inner_texts() == ["Back"]
        text = page.locator("main").text_content()
        assert "hidden" not in text and "column 29" in text and "$s_c$" in text


def test_an_unfinished_build_is_named_and_the_site_that_was_there_stays(tmp_path):
    (tmp_path / "site").mkdir()
    with pytest.raises(FileNotFoundError, match="results.json: missing; .* run make first"):
        write_site(Build(tmp_path))
    assert (tmp_path / "site").is_dir()

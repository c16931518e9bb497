"""The page that `make lab` opens: what it says where nothing is built, where part is, and where all is."""

import json
import subprocess

import pytest
from helpers.lab_at_hand import STATE, shut_down
from helpers.smoke_at_hand import CONTENT

from kitsnb.files import NOTEBOOKS, ROOT
from kitsnb.workflow.execute import execute

START = "00_start.py"


def said(build, folder) -> str:
    """All that the page says of ``build``."""
    executed = folder / "start.ipynb"
    assert execute(NOTEBOOKS / START, executed, {"build": str(build)}, lambda group: None) is None
    cells = json.loads(executed.read_text())["cells"]
    data = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    return "".join("".join(one.get("text/markdown", one.get("text/html", ""))) for one in data)


def test_who_has_built_nothing_is_told_what_to_do_and_shown_a_picture(tmp_path):
    text = said(tmp_path / "build" / "quick", tmp_path)
    assert "Finished: none. Begun: none." in text and "Next: `make`, in a terminal." in text
    assert ">done<" not in text and "quick" in text and "kits19" in text
    assert "data:image/svg+xml" in text and "yours is not made yet" in text


def test_a_finished_build_is_shown_with_its_paper_and_notebooks(smoke, tmp_path):
    text = said(smoke, tmp_path)
    assert CONTENT["title"] in text and "Finished: smoke." in text
    assert f"{smoke.name}/paper.pdf" in text and f"{smoke.name}/notebooks/05_results.ipynb" in text
    assert "made by smoke" in text and "highest mean composite Dice" in text


def test_what_is_missing_or_failed_is_counted(build, tmp_path):
    training = sorted((build / "stamps").glob("training-*.json"))
    training[0].unlink()
    (build / "stamps" / "results.failed").write_text("{}")
    text = said(build, tmp_path)
    assert f">{len(training) - 1} of {len(training)}<" in text and ">1 failed<" in text
    assert f"Begun: {build.name}" in text and "goes on where it stopped" in text


def test_its_links_open_notebooks_as_notebooks(browser, lab):
    """On a page of its own, which is left as it is, so that no dialog stands in the way of other tests."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.goto(lab.address.replace("/lab?", f"/lab/tree/{START}?"))
    page.wait_for_selector(".jp-NotebookPanel:visible .jp-MarkdownOutput", timeout=120_000)
    page.locator(".jp-NotebookPanel:visible a", has_text="02_preprocessing.py").first.click()
    page.wait_for_function(f"({STATE})().path === '02_preprocessing.py'", timeout=120_000)
    page.wait_for_function(f"({STATE})().kernel === 'idle'", timeout=120_000)
    assert page.locator(".jp-FileEditor").count() == 0, "opened as a text file"
    shut_down(page)
    page.close()


@pytest.mark.parametrize("user", ["0", "1000"])
def test_make_lab_opens_it_as_any_user(user, tmp_path):
    """Root, as in containers, needs a flag of JupyterLab's, and no other user has it."""
    (tmp_path / "id").write_text(f"#!/bin/sh\necho {user}\n")
    (tmp_path / "id").chmod(0o755)
    shown = subprocess.run(["make", "--dry-run", "lab"], cwd=ROOT, text=True, capture_output=True, check=True,
                           env={"PATH": f"{tmp_path}:/usr/bin:/bin"}).stdout
    assert f"/lab/tree/notebooks/{START}" in shown and (NOTEBOOKS / START).is_file()
    assert ("--allow-root" in shown) == (user == "0")

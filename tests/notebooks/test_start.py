"""The page that `make lab` opens: what it says where nothing is built, and where part is."""

import json
import shutil
import subprocess

import pytest
from helpers.lab_at_hand import STATE, shut_down
from helpers.smoke_at_hand import CONTENT

from kitsnb.files import NOTEBOOKS, ROOT
from kitsnb.workflow.notebook import execute

START = "00_start.py"


def said(builds, folder) -> str:
    """Return all that the page says of the folder ``builds``."""
    executed = folder / "start.ipynb"
    assert execute(NOTEBOOKS / START, executed, {"builds": str(builds)}, []) is None
    cells = json.loads(executed.read_text("utf-8"))["cells"]
    data = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    return "".join("".join(one.get("text/markdown", one.get("text/html", ""))) for one in data)


def test_who_has_built_nothing_is_told_what_to_do_and_shown_a_picture(tmp_path):
    text = said(tmp_path / "builds", tmp_path)
    assert "Nothing yet: type `make` in a terminal" in text and "data:image/svg+xml" in text


def test_a_build_is_a_line_and_runs_that_the_profile_no_longer_has_do_not_count(build, tmp_path):
    builds = tmp_path / "builds"
    shutil.copytree(build, builds / "smoke")
    stamps = builds / "smoke" / "stamps"
    (stamps / "training-dice-seed0.json").rename(stamps / "training-former-seed0.json")
    text = said(builds, tmp_path)
    jobs = len(CONTENT["experiments"]) + 5
    assert f"| **smoke** | {CONTENT['title']} | {jobs - 1} of {jobs} |" in text
    assert "smoke/paper.pdf" in text and "smoke/notebooks/05_results.ipynb" in text


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

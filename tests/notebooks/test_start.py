"""The page that `make lab` opens: what it says where nothing is built, and where something is."""

import re
import subprocess

import IPython.display
import pytest
from helpers.lab_at_hand import STATE, shut_down
from helpers.smoke_at_hand import SMOKE

from kitsnb.files import NOTEBOOKS, ROOT, write_atomic, write_json
from kitsnb.workflow.jobs import build_jobs
from kitsnb.workflow.profile import load

START = "00_start.py"


def said(builds, monkeypatch) -> str:
    """Run the notebook as a script, with the builds of a folder; return all that it shows."""
    shown = []
    monkeypatch.setattr(IPython.display, "display", lambda *objects: shown.extend(objects))
    text = (NOTEBOOKS / START).read_text("utf-8")
    text, count = re.subn(r'(?m)^builds = "build"', f"builds = {str(builds)!r}", text)
    assert count == 1
    exec(compile(text, START, "exec"), {})
    return "\n".join(one.data for one in shown)


def test_without_a_build_it_says_what_to_do_and_shows_a_picture(tmp_path, monkeypatch):
    text = said(tmp_path, monkeypatch)
    assert "Nothing yet: type `make`" in text and "data:image/svg+xml" in text and "looks like" in text


def test_a_build_is_a_line_that_counts_its_own_jobs_alone_and_one_of_another_version_stops_no_other(
    tmp_path, monkeypatch
):
    """All but the last training is stamped, and a run that the build lacks."""
    profile = load(SMOKE, build=tmp_path / "smoke")
    write_json(profile.build.profile, profile.model_dump(mode="json"))
    jobs = build_jobs(profile)
    for job in jobs:
        write_json(job.stamp, {})
        write_atomic(job.output, "executed")
    [job for job in jobs if job.run][-1].stamp.unlink()
    write_json(profile.build.stamps / "training-old_row-seed0.json", {})
    write_json(tmp_path / "older" / "profile.json", {"title": "Older", "epochs": 3})
    text = said(tmp_path, monkeypatch)
    line = next(line for line in text.splitlines() if "**smoke**" in line)
    assert f"{len(jobs) - 1} of {len(jobs)}" in line and "Smoke profile" in line
    assert line.count("[04]") == 1 and "smoke/paper.pdf)" in line and "05_results.ipynb)" in line
    assert "| **older** | made by another version" in text


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

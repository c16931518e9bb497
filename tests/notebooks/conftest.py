"""What the tests of notebooks share: a finished build of the smoke profile, and a JupyterLab on it in a real browser.

``smoke`` is made once a session for all workers: only look at it. ``build`` is a copy of it to work in. ``lab`` is a
JupyterLab on copies of the notebooks, one a worker, and ``page`` shows it; close what you open there.
"""

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from filelock import FileLock
from helpers.lab_at_hand import start_lab
from helpers.smoke_at_hand import SMOKE, copy_build, kitsnb

from kitsnb.files import NOTEBOOKS


@pytest.fixture(scope="session")
def smoke(tmp_path_factory, worker_id) -> Path:
    """The build folder of a whole run of the smoke profile; nobody writes in it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "smoke"
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "paper.pdf").exists():
            done = kitsnb("run", SMOKE, "--build", folder)
            assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture
def build(smoke, tmp_path) -> Path:
    """A finished build of the smoke profile of one's own."""
    return copy_build(smoke, tmp_path / "build")


class Lab(NamedTuple):
    """A JupyterLab: the folder that it shows, with the notebooks, and its address."""

    folder: Path
    address: str


@pytest.fixture(scope="session")
def lab(tmp_path_factory, browser, smoke) -> Lab:
    """A JupyterLab on notebooks as a reader opens them by hand; only ``build`` names another build, a finished one.

    It keeps all its own files in a folder of the test.
    """
    folder, home = tmp_path_factory.mktemp("lab"), tmp_path_factory.mktemp("home")
    for path in NOTEBOOKS.glob("*.py"):
        text, count = re.subn(r"(?m)^build = \"build/\w+\"", f"build = {str(smoke)!r}", path.read_text())
        assert count == 1, path
        (folder / path.name).write_text(text)
    with start_lab(folder, home) as address:
        yield Lab(folder, address)


@pytest.fixture(scope="session")
def page(browser, lab):
    """JupyterLab, loaded, as a page of the browser."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.goto(lab.address)
    page.wait_for_selector(".jp-DirListing-item", timeout=120_000)
    return page

"""What the tests of notebooks share: a finished build of the smoke profile, and a JupyterLab on it in a real browser."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock
from helpers.lab_at_hand import start_lab
from helpers.smoke_at_hand import SMOKE, kitsnb

from kitsnb.files import NOTEBOOKS


@pytest.fixture(scope="session")
def smoke(tmp_path_factory, worker_id) -> Path:
    """Return the build folder of a whole run of the smoke profile; nobody writes in it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "smoke"
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "paper.pdf").exists():
            done = kitsnb("run", SMOKE, "--build", folder)
            assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture
def build(smoke, tmp_path) -> Path:
    """Return a finished build of the smoke profile of one's own."""
    return Path(shutil.copytree(smoke, tmp_path / "build"))


@pytest.fixture(scope="session")
def lab(tmp_path_factory, browser, smoke) -> SimpleNamespace:
    """Serve the notebooks as a reader opens them by hand; only ``profile`` names another build, a finished one."""
    folder = tmp_path_factory.mktemp("lab")
    for path in NOTEBOOKS.glob("*.py"):
        text = path.read_text("utf-8")
        changed, count = re.subn(r'(?m)^profile = "quick"', f"profile = {str(smoke)!r}", text)
        assert count == (not path.name.startswith("00")), path
        (folder / path.name).write_text(changed, "utf-8")
    with start_lab(folder, tmp_path_factory.mktemp("home")) as address:
        yield SimpleNamespace(folder=folder, address=address)


@pytest.fixture(scope="session")
def page(browser, lab):
    """Open JupyterLab as a page of the browser."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.goto(lab.address)
    page.wait_for_selector(".jp-DirListing-item", timeout=120_000)
    return page

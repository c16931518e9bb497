"""What all tests share: one thread, no windows, a browser, the real labels if there."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is imported: idle threads leave the cores to others

import shutil
import signal
from pathlib import Path

import matplotlib
import pytest
import torch
from playwright.sync_api import sync_playwright

matplotlib.use("agg")
# Who is started in the background by a shell ignores Ctrl-C, or by nohup SIGHUP, and so would what tests start and stop.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
torch.set_num_threads(1)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    *("--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
    *("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),  # WebGL without a graphics card
]


@pytest.fixture(scope="session")
def browser():
    """A real Chromium, one a worker; tests that ask for it skip where there is none."""
    if CHROMIUM is None:
        pytest.skip("no chromium here (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def kits19_labels() -> Path:
    """The folder of the real KiTS19 cases; tests that ask for it skip where the environment names none."""
    folder = os.environ.get("KITSNB_DATA")
    if not folder:
        pytest.skip("KITSNB_DATA is not set: it names the folder with KiTS19's case_XXXXX folders")
    return Path(folder)


def pytest_collection_modifyitems(items) -> None:
    """The slow ones first (notebooks, then whole runs), so that no worker begins one of them at the end."""
    slow = ("tests/notebooks/", "tests/workflow/", "tests/training/")
    items.sort(key=lambda item: next((place for place, name in enumerate(slow) if item.nodeid.startswith(name)), len(slow)))

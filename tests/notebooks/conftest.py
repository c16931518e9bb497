"""What the tests of notebooks share: a finished build of the smoke profile, and a JupyterLab on it in a real browser.

``smoke`` is made once a session for all workers: only look at it. ``build`` is a copy of it to work in. ``lab`` is a
JupyterLab on copies of the notebooks, one a worker, and ``page`` shows it; close what you open there.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import pytest
from filelock import FileLock
from helpers.smoke_at_hand import SMOKE, copy_build, kitsnb

from kitsnb.files import NOTEBOOKS

#: Where an environment keeps the setting that opens .py files as notebooks (see the Makefile).
VIEWER = "labconfig/default_setting_overrides.json"


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
    own = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    environment = os.environ | own | {"HOME": str(home), "IPYTHONDIR": str(home / "ipython")}
    if not (Path(sys.prefix) / "etc" / "jupyter" / VIEWER).exists():  # an environment that `make` did not make
        command = ["jupytext_config", "--settings-file", home / "config" / VIEWER, "set-default-viewer", "python"]
        subprocess.run([sys.executable, "-m", *command], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--IdentityProvider.token=of-this-test"),
        *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"),
        *(f"--ServerApp.root_dir={folder}", "--LabApp.expose_app_in_browser=True"),
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    log = home / "server.log"
    with log.open("w") as output:
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_for_server(server, f"http://127.0.0.1:{port}/api/status?token=of-this-test", log)
        yield Lab(folder, f"http://127.0.0.1:{port}/lab?token=of-this-test")
    finally:
        server.terminate()  # JupyterLab ends its kernels with it
        server.wait(timeout=30)


def wait_for_server(server: subprocess.Popen, address: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return json.load(answer)
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()}")


@pytest.fixture(scope="session")
def page(browser, lab):
    """JupyterLab, loaded, as a page of the browser."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.goto(lab.address)
    page.wait_for_selector(".jp-DirListing-item", timeout=120_000)
    return page

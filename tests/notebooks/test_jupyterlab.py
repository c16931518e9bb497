"""Every notebook, opened in a real JupyterLab by a real browser: it shows as a notebook and all its cells run."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from jupyter_server.services.contents.largefilemanager import LargeFileManager
from jupytext.sync_contentsmanager import build_sync_jupytext_contents_manager_class
from playwright.sync_api import sync_playwright

from kitsnb.files import NOTEBOOKS, ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
#: Where an environment keeps the setting that opens .py files as notebooks (see the Makefile).
VIEWER = "labconfig/default_setting_overrides.json"
SECONDS = 240
NAMES = sorted(path.name for path in NOTEBOOKS.glob("*.py"))
SMOKE = ROOT / "tests" / "helpers" / "smoke.yml"
#: State of the notebook in front: of its code cells, how many there are and have run; its errors; its kernel.
STATE = """() => {
    const {content, context, sessionContext} = window.jupyterapp.shell.currentWidget;
    const cells = [...content.model.cells].filter(cell => cell.type === 'code' && cell.sharedModel.getSource().trim());
    const outputs = cells.flatMap(cell => cell.outputs.toJSON());
    return {
        path: context.path, total: cells.length, ran: cells.filter(cell => cell.executionCount !== null).length,
        errors: outputs.filter(output => output.output_type === 'error'),
        kernel: sessionContext.session?.kernel?.status ?? 'none',
    };
}"""

browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (Debian: apt-get install chromium)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, smoke) -> Path:
    """Copies of the notebooks as a reader opens them by hand; only ``build`` names another build, a finished one."""
    folder = tmp_path_factory.mktemp("lab")
    for path in NOTEBOOKS.glob("*.py"):
        pattern = re.compile(r"^build = \"build/\w+\"", re.MULTILINE)
        text, count = pattern.subn(f"build = {str(smoke)!r}", path.read_text())
        assert count == 1, path
        (folder / path.name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def address(folder, tmp_path_factory):
    """Address, with token, of a JupyterLab on ``folder`` that keeps all its own files in a folder of the test."""
    home = tmp_path_factory.mktemp("home")
    environment = os.environ | {
        "HOME": str(home),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "IPYTHONDIR": str(home / "ipython"),
    }
    if not (Path(sys.prefix) / "etc" / "jupyter" / VIEWER).exists():  # an environment that `make` did not make
        command = ["jupytext_config", "--settings-file", home / "config" / VIEWER, "set-default-viewer", "python"]
        subprocess.run([sys.executable, "-m", *command], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = "of-this-test"
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--IdentityProvider.token={token}"),
        *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"),
        *(f"--ServerApp.root_dir={folder}", "--LabApp.expose_app_in_browser=True"),
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    log = home / "server.log"
    with log.open("w") as output:
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_for_server(server, f"http://127.0.0.1:{port}/api/status?token={token}", log)
        yield f"http://127.0.0.1:{port}/lab?token={token}"
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


@pytest.fixture(scope="module")
def page(address):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(address)
        page.wait_for_selector(".jp-DirListing-item", timeout=60_000)
        yield page
        browser.close()


@browser
@pytest.mark.parametrize("name", NAMES)
def test_notebook_opens_and_runs(page, folder, name):
    """By hand, on a finished build: no cell fails."""
    text = (folder / name).read_text()
    page.locator(f'.jp-DirListing-item[title^="Name: {name}"]').dblclick()
    page.wait_for_function(f"window.jupyterapp.shell.currentWidget?.context?.path === {name!r}", timeout=60_000)
    page.wait_for_selector(".jp-NotebookPanel:visible .jp-MarkdownOutput, .jp-FileEditor:visible", timeout=60_000)
    assert page.locator(".jp-FileEditor").count() == 0, "opened as a text file"
    page.wait_for_function(f"({STATE})().kernel === 'idle'", timeout=60_000)

    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    state = wait_until_run(page)
    assert state["path"] == name
    assert not state["errors"], "\n".join("\n".join(error["traceback"]) for error in state["errors"])
    assert state["ran"] == state["total"] > 0, state

    before = (folder / name).stat().st_mtime_ns
    page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    assert (folder / name).stat().st_mtime_ns > before, "not saved"
    assert (folder / name).read_text() == text, "git shows a change after a save"
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")  # frees the kernel's memory


@browser
def test_what_was_opened_by_hand_has_left_the_build_as_it_was(smoke):
    why = [sys.executable, "-m", "kitsnb", "run", str(SMOKE), "--build", str(smoke), "--why"]
    said = subprocess.run(why, cwd=ROOT, text=True, capture_output=True, check=True).stdout
    assert said.count("up to date") == said.count(": ") > len(NAMES), said


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.py")), ids=lambda path: path.name)
def test_saving_changes_nothing_whatever_the_version_of_jupytext(path, tmp_path, monkeypatch):
    """As the server saves: with the metadata that JupyterLab adds to a notebook and its cells."""
    manager = build_sync_jupytext_contents_manager_class(LargeFileManager)(root_dir=str(tmp_path))
    shutil.copy(path, tmp_path)
    model = manager.get(path.name, type="notebook", content=True)
    model["content"]["metadata"]["language_info"] = {"name": "python", "version": "3.99"}
    model["content"]["cells"][-1]["metadata"]["trusted"] = True
    monkeypatch.setattr("jupytext.header.__version__", "9.9.9")
    manager.save(model, path.name)
    assert (tmp_path / path.name).read_text() == path.read_text()


def wait_until_run(page) -> dict:
    """The notebook's state when all cells have run, one failed, the kernel died, or the time is over."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        state = page.evaluate(STATE)
        if state["errors"] or state["ran"] == state["total"] or state["kernel"] in ("dead", "none"):
            return state
        time.sleep(0.3)
    pytest.fail(f"not finished after {SECONDS} s: {state}")

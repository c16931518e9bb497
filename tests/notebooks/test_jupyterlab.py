"""Every notebook, opened in a real JupyterLab by a real browser: it shows as a notebook and all its cells run."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import jupytext
import pytest
from nbformat.v4 import new_code_cell
from playwright.sync_api import sync_playwright

from kitsnb.files import ROOT
from kitsnb.workflow.jobs import build_jobs
from kitsnb.workflow.profile import STAGES, load

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
#: Where an environment keeps the setting that opens .py files as notebooks (see the Makefile).
VIEWER = "labconfig/default_setting_overrides.json"
SECONDS = 240
NAMES = [name for name in STAGES.values() if name]  # in the order of the stages
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

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (Debian: apt-get install chromium)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Copies of the notebooks, told what the runner would tell them, for the smoke profile and its first experiment."""
    folder = tmp_path_factory.mktemp("lab")
    profile = load(ROOT / "tests" / "helpers" / "smoke.yml", build=str(folder / "build"))
    profile = profile.model_copy(update={"experiments": profile.experiments[:1], "seeds": profile.seeds[:1]})
    check = f"import sys\nassert sys.prefix == {sys.prefix!r}, sys.prefix  # the kernel's Python is the server's"
    for job in build_jobs(profile):
        if job.notebook:
            notebook = jupytext.read(job.notebook)
            place = ["parameters" in cell.metadata.get("tags", []) for cell in notebook.cells].index(True) + 1
            given = "\n".join(f"{name} = {value!r}" for name, value in job.parameters.items())
            notebook.cells.insert(place, new_code_cell(given))
            notebook.cells.append(new_code_cell(check))
            jupytext.write(notebook, folder / job.notebook.name, fmt="py:percent")
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


@pytest.mark.parametrize("name", NAMES)
def test_notebook_opens_and_runs(page, folder, name):
    """In the order of their numbers: each notebook reads what the ones before it wrote."""
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

    page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    assert (folder / name).read_text() == text  # git shows no change after a save
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")  # frees the kernel's memory


def wait_until_run(page) -> dict:
    """The notebook's state when all cells have run, one failed, the kernel died, or the time is over."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        state = page.evaluate(STATE)
        if state["errors"] or state["ran"] == state["total"] or state["kernel"] in ("dead", "none"):
            return state
        time.sleep(0.3)
    pytest.fail(f"not finished after {SECONDS} s: {state}")

"""What a reader does in JupyterLab, on a page of a browser: open a notebook, run all its cells, shut it down."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from kitsnb.files import ROOT

#: Where JupyterLab keeps the setting that opens .py files as notebooks.
VIEWER = "labconfig/default_setting_overrides.json"
SECONDS = 300
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


def open_notebook(page, name: str) -> None:
    """Open the text notebook ``name`` as a reader does, by two clicks on its name, and wait for its kernel."""
    page.locator(f'.jp-DirListing-item[title^="Name: {name}"]').dblclick()
    page.wait_for_function(f"window.jupyterapp.shell.currentWidget?.context?.path === {name!r}", timeout=120_000)
    page.wait_for_selector(".jp-NotebookPanel:visible .jp-MarkdownOutput, .jp-FileEditor:visible", timeout=120_000)
    assert page.locator(".jp-FileEditor").count() == 0, "opened as a text file"
    page.wait_for_function(f"({STATE})().kernel === 'idle'", timeout=120_000)


def run_all(page) -> dict:
    """Run all cells by the menu. The notebook's state when all have run, one failed, or the kernel died."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        state = page.evaluate(STATE)
        if state["errors"] or state["ran"] == state["total"] or state["kernel"] in ("dead", "none"):
            return state
        time.sleep(0.3)
    pytest.fail(f"not finished after {SECONDS} s: {state}")


def shut_down(page) -> None:
    """End the kernel of the notebook in front, which frees its memory, and close it, so that no other test finds it."""
    page.evaluate("""async () => {
        const notebook = window.jupyterapp.shell.currentWidget;
        await notebook.sessionContext.shutdown();
        notebook.dispose();
    }""")


@contextmanager
def start_lab(folder: Path, home: Path) -> Iterator[str]:
    """Serve ``folder`` in a JupyterLab that keeps all its own files in ``home``; give its address."""
    own = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    environment = os.environ | own | {"HOME": str(home), "IPYTHONDIR": str(home / "ipython")}
    (home / "config" / VIEWER).parent.mkdir(parents=True)
    shutil.copy(ROOT / "docs" / "jupyterlab.json", home / "config" / VIEWER)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--LabApp.expose_app_in_browser=True",
               "--IdentityProvider.token=of-this-test", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}",
               f"--ServerApp.root_dir={folder}", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    log = home / "server.log"
    with log.open("w") as output:
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_for_server(server, f"http://127.0.0.1:{port}/api/status?token=of-this-test", log)
        yield f"http://127.0.0.1:{port}/lab?token=of-this-test"
    finally:
        server.terminate()  # JupyterLab ends its kernels with it
        server.wait(timeout=30)


def wait_for_server(server: subprocess.Popen, address: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(OSError), urllib.request.urlopen(address, timeout=5):
            return
        time.sleep(0.3)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()}")

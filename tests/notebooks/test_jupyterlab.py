"""Every notebook, opened in a real JupyterLab by a real browser: it shows as a notebook and all its cells run."""

import pytest
from helpers.lab_at_hand import open_notebook, run_all, shut_down

from kitsnb.files import NOTEBOOKS

NAMES = sorted(path.name for path in NOTEBOOKS.glob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_notebook_opens_and_runs(page, lab, name):
    """By hand, on a finished build: no cell fails."""
    text = (lab.folder / name).read_text()
    open_notebook(page, name)
    state = run_all(page)
    assert state["path"] == name
    assert not state["errors"], "\n".join("\n".join(error["traceback"]) for error in state["errors"])
    assert state["ran"] == state["total"] > 0, state

    before = (lab.folder / name).stat().st_mtime_ns
    page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    assert (lab.folder / name).stat().st_mtime_ns > before, "not saved"
    assert (lab.folder / name).read_text() == text, "git shows a change after a save"
    shut_down(page)

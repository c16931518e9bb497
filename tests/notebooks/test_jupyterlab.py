"""Every notebook, opened in a real JupyterLab by a real browser: it shows as a notebook and all its cells run."""

import shutil

import pytest
from helpers.lab_at_hand import open_notebook, run_all, shut_down
from helpers.smoke_at_hand import SMOKE, kitsnb
from jupyter_server.services.contents.largefilemanager import LargeFileManager
from jupytext.sync_contentsmanager import build_sync_jupytext_contents_manager_class

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


def test_what_was_opened_by_hand_has_left_the_build_as_it_was(smoke):
    said = kitsnb("run", SMOKE, "--build", smoke, "--why").stdout
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

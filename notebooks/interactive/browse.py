"""Look at the cases of a folder in JupyterLab: three planes at the file's own resolution, label and prediction."""

from collections.abc import Mapping
from pathlib import Path

import anywidget
import ipywidgets as widgets
import numpy as np
import traitlets

from kitsnb.data.checks import Accept
from kitsnb.viewing.scan import Scan, find_scans, read_scan
from kitsnb.viewing.show import LOOK, PAGES, for_viewer

from interactive.follow import follow


class Viewer(anywidget.AnyWidget):
    """The viewer of the page as a widget, which is sent the slices that it asks for."""

    _esm = PAGES / "viewer.js"
    _css = PAGES / "viewer.css"
    look = traitlets.Dict(LOOK).tag(sync=True)
    scan = traitlets.Dict().tag(sync=True)

    def show(self, scan: Scan) -> None:
        """Show another scan."""
        about, self.arrays = for_viewer(scan)
        self.scan = {"name": scan.name, "kinds": list(scan.layers), **about}
        self.on_msg(Viewer.answer)

    def answer(self, asked: dict, _: list) -> None:
        """Send the slice of each array that the browser asked for."""
        slices = []
        for array in self.arrays.values():
            across = np.moveaxis(array, asked["across"], 0)
            slices.append(across[asked["index"]].tobytes())
        self.send({**asked, "kinds": list(self.arrays)}, slices)


def browse(
    folder: str | Path, facts: Mapping[str, str] | None = None, predictions: str | Path | None = None,
    accept: Accept | None = None,
) -> widgets.VBox:
    """Show the cases of ``folder`` (as ``find_scans`` has it), one chosen from a list, where ``facts`` stand behind it.

    ``predictions`` is the folder of a run, or of labels. Raises FileNotFoundError where there is nothing to show.
    """
    found = find_scans(Path(folder).expanduser(), Path(predictions) if predictions else None)
    facts = facts or {}
    options = {f"{name} {facts.get(name, '')}": name for name in found}
    choice = widgets.Select(options=options, rows=8, layout={"width": "auto"})
    heading = widgets.HTML()
    viewer = Viewer()

    def show(case: str) -> None:
        heading.value = ""
        scan = read_scan(found[case], accept)
        viewer.show(scan)
        heading.value = f"<b>{scan.name}</b> · {scan.facts}"

    return follow(show, widgets.VBox([heading, viewer]), case=choice)

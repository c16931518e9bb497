"""Look at the cases of a folder in JupyterLab: three planes at the file's own resolution, label and prediction."""

import html
from collections.abc import Mapping
from pathlib import Path

import anywidget
import ipywidgets as widgets
import numpy as np
import pandas as pd
import traitlets

from kitsnb.data.checks import Accept
from kitsnb.data.nifti import CaseError
from kitsnb.viewing.show import LOOK, PAGES, for_viewer
from kitsnb.viewing.scan import Scan, find_scans, read_scan


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
        slices = [np.moveaxis(array, asked["across"], 0)[asked["index"]].tobytes() for array in self.arrays.values()]
        self.send({**asked, "kinds": list(self.arrays)}, slices)


def browse(
    folder: str | Path, cases: pd.DataFrame | None = None, predictions: str | Path | None = None,
    accept: Accept | None = None,
) -> widgets.VBox:
    """Show the cases of ``folder`` (as ``find_scans`` has it), one chosen from a list.

    ``cases``, a row per case, gives ``role``, ``tumour_ml`` and ``tumour`` (Dice) for the list; ``predictions`` is the
    folder of a run, whose scores are read, or of labels. A case that cannot be read is named in its place. Raises
    FileNotFoundError where there is nothing to show.
    """
    run = Path(predictions) if predictions else None
    found = find_scans(Path(folder).expanduser(), prediction=run)
    known = pd.DataFrame(index=list(found)) if cases is None else cases.reindex(list(found))
    if run and (run / "scores.csv").is_file():
        known = pd.read_csv(run / "scores.csv", index_col="case").reindex(known.index).combine_first(known)
    options = {}
    for row in known.itertuples():
        parts = [row.Index]
        for column, form in (("role", "{}"), ("tumour_ml", "tumour {:.1f} ml"), ("tumour", "Dice {:.2f}")):
            value = getattr(row, column, None)
            if pd.notna(value):
                parts.append(form.format(value))
        options[" · ".join(parts)] = row.Index
    choice = widgets.Select(options=options, description="case", rows=min(8, len(found)), layout={"width": "auto"})
    facts = widgets.HTML()
    viewer = Viewer()

    def show(change: Mapping) -> None:
        try:
            scan = read_scan(found[change["new"]], accept)
        except CaseError as error:
            facts.value = f'<b role="alert">{html.escape(str(error))}</b>'
            viewer.layout.display = "none"
            return
        facts.value = f"<b>{html.escape(scan.name)}</b> · {scan.facts}"
        viewer.show(scan)
        viewer.layout.display = None

    choice.observe(show, "value")
    show({"new": choice.value})
    return widgets.VBox([choice, facts, viewer])

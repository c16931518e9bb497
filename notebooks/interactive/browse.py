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


#: What the list says of a case, by column.
FACTS = {"role": "{}", "tumour_ml": "tumour {:.1f} ml", "tumour": "Dice {:.2f}"}


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
    folder: str | Path,
    cases: pd.DataFrame | None = None,
    predictions: str | Path | None = None,
    accept: Accept | None = None,
) -> widgets.VBox:
    """Show the cases of ``folder`` (as ``find_scans`` has it), one chosen from a list.

    ``cases``, a row per case, may hold FACTS for the list; ``predictions`` is the folder of a run, whose scores are
    read, or of labels. Raises FileNotFoundError where there is nothing to show.
    """
    run = Path(predictions) if predictions else None
    found = find_scans(Path(folder).expanduser(), prediction=run)
    known = pd.DataFrame() if cases is None else cases
    if run and (run / "scores.csv").is_file():
        scores = pd.read_csv(run / "scores.csv", index_col="case")
        known = scores.combine_first(known)
    options = {}
    for name, row in known.reindex(list(found)).iterrows():
        facts = [form.format(row[column]) for column, form in FACTS.items() if pd.notna(row.get(column))]
        options[" · ".join([name, *facts])] = name
    choice = widgets.Select(options=options, description="case", rows=8, layout={"width": "auto"})
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

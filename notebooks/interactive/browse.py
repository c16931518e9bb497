"""Look at the cases of a folder in JupyterLab: three planes at the file's own resolution, label and prediction."""

import html
from collections.abc import Mapping
from pathlib import Path

import anywidget
import ipywidgets as widgets
import pandas as pd
import traitlets

from kitsnb.data.checks import Accept
from kitsnb.data.nifti import CaseError
from kitsnb.viewing.page import LOOK, PAGES, for_viewer
from kitsnb.viewing.scan import find_scans, read_scan


class Viewer(anywidget.AnyWidget):
    """The viewer of the page as a widget: ``scan`` holds its arrays, packed."""

    _esm = PAGES / "viewer.js"
    _css = PAGES / "viewer.css"
    look = traitlets.Dict().tag(sync=True)
    scan = traitlets.Dict().tag(sync=True)


def browse(
    folder: str | Path, cases: pd.DataFrame | None = None, predictions: str | Path | None = None,
    split: Mapping[str, str] | None = None, accept: Accept | None = None,
) -> widgets.VBox:
    """Show the cases of ``folder`` (as ``find_scans`` has it), one chosen from a list.

    ``cases`` has a row per case: its ``tumour_ml`` and ``tumour`` (Dice) stand in the list. ``predictions`` is the
    folder of a run, whose Dice are read, or of labels. ``split`` says which part a case belongs to, by its name.
    Raises FileNotFoundError where there is nothing to show; a case that cannot be read is named in its place.
    """
    run = Path(predictions) if predictions else None
    found = find_scans(Path(folder).expanduser(), prediction=run)
    columns = [pd.Series(split or {}, name="split", dtype=object)]
    columns += [cases[name] for name in ("tumour_ml", "tumour") if cases is not None and name in cases]
    if run and (run / "scores.csv").is_file():
        columns = [columns[0], pd.read_csv(run / "scores.csv", index_col="case")[["tumour_ml", "tumour"]]]
    known = pd.concat(columns, axis=1).reindex(list(found))
    options = {_line(row): row.Index for row in known.itertuples()}
    choice = widgets.Select(options=options, description="case", rows=min(8, len(found)), layout={"width": "40em"})
    facts = widgets.HTML()
    viewer = Viewer(look=LOOK)

    def show(change: Mapping) -> None:
        try:
            scan = read_scan(found[change["new"]], accept)
        except CaseError as error:
            facts.value = f'<b role="alert">{html.escape(str(error))}</b>'
            viewer.layout.display = "none"
            return
        facts.value = f"<b>{html.escape(scan.name)}</b> · {scan.facts}"
        about, arrays = for_viewer(scan)
        viewer.scan = {**about, "arrays": arrays}
        viewer.layout.display = None

    choice.observe(show, "value")
    show({"new": choice.value})
    return widgets.VBox([choice, facts, viewer])


def _line(row: tuple) -> str:
    parts = [row.Index]
    for name, form in (("split", "{}"), ("tumour_ml", "tumour {:.1f} ml"), ("tumour", "Dice {:.2f}")):
        value = getattr(row, name, None)
        parts += [form.format(value)] if pd.notna(value) else []
    return " · ".join(parts)

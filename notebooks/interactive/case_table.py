"""A table of cases x losses: tumour Dice, worst first; a click on a row shows that case as two losses see it."""

import html
from collections.abc import Callable, Mapping

import ipywidgets as widgets
import pandas as pd
from IPython.core.pylabtools import print_figure
from itables.widget import ITable

from kitsnb.data.nifti import CaseError
from kitsnb.metric import kits19_score
from kitsnb.viewing.scan import Scan
from kitsnb.viewing.still import gallery

#: One row can be chosen, and the case has room below.
TABLE = {"select": "single", "showIndex": False, "maxBytes": 0, "pageLength": 8, "order": []}


def table_of(scores: pd.DataFrame, titles: Mapping[str, str]) -> pd.DataFrame:
    """Return tumour Dice of every case (rows, worst mean first) by every loss of ``titles``, averaged over seeds."""
    dice = scores.pivot_table(index="case", columns="experiment", values="tumour", dropna=False)
    dice = dice[[name for name in titles if name in dice]]
    return dice.loc[dice.mean(axis=1).sort_values(kind="stable").index]


def case_table(
    scores: pd.DataFrame,
    titles: Mapping[str, str],
    read: Callable[[str, str], Scan],
    simulated: bool = False,
) -> widgets.VBox:
    """Show tidy ``scores``, and below them the case that is chosen; ``read(experiment, case)`` gives its scan."""
    dice = table_of(scores, titles)
    shown = dice.round(3).rename(columns=titles)
    options = [(titles[name], name) for name in dice]
    means = dice.mean()
    best = widgets.Dropdown(options=options, value=means.idxmax(), description="loss")
    worst = widgets.Dropdown(options=options, value=means.idxmin(), description="beside")
    table = ITable(shown.reset_index(), **TABLE)
    heading = widgets.HTML("A click on a row shows the case.")
    picture = widgets.HTML()

    def show(_: object = None) -> None:
        if not table.selected_rows:
            return
        case = dice.index[table.selected_rows[0]]
        names = [best.value, worst.value]
        texts = []
        scans = []
        try:
            for name in names:
                scan = read(name, case)
                dice_here = kits19_score(scan.layers["prediction"], scan.layers["label"])["tumour"]  # of one seed
                texts.append(f"{titles[name]}, Dice {dice_here:.2f} here")
                scans.append((texts[-1], scan))
        except (CaseError, OSError) as error:
            heading.value = f'<b role="alert">{html.escape(str(error))}</b>'
            picture.value = ""
            return
        said = html.escape(f"{case}: label, prediction and errors of {' and of '.join(texts)}")
        data = print_figure(gallery(scans, case, simulated), fmt="png", base64=True)
        heading.value = f"<b>{said}</b>"
        picture.value = f'<img style="max-width:100%" alt="{said}" src="data:image/png;base64,{data.strip()}">'

    table.observe(show, "selected_rows")
    best.observe(show, "value")
    worst.observe(show, "value")
    return widgets.VBox([table, widgets.HBox([best, worst]), heading, picture])

"""Any case as two losses see it, chosen from a list with the hardest on top."""

from collections.abc import Callable, Mapping

import ipywidgets as widgets
import pandas as pd

from kitsnb.metric import kits19_score
from kitsnb.viewing.scan import Scan
from kitsnb.viewing.still import gallery

from interactive.follow import as_png, follow


def average_dice(scores: pd.DataFrame, titles: Mapping[str, str]) -> pd.DataFrame:
    """Return tumour Dice of every case (rows, worst mean first) by every loss of ``titles``, averaged over seeds."""
    dice = scores.pivot_table(index="case", columns="experiment", values="tumour", dropna=False)
    dice = dice[[name for name in titles if name in dice]]
    return dice.loc[dice.mean(axis=1).sort_values(kind="stable").index]


def compare(
    scores: pd.DataFrame,
    titles: Mapping[str, str],
    read: Callable[[str, str], Scan],
    simulated: bool = False,
) -> widgets.VBox:
    """Show a case of tidy ``scores`` for two losses, first best and worst; ``read(experiment, case)`` reads it."""
    dice = average_dice(scores, titles)
    cases = {f"{case}: mean tumour Dice {mean:.2f}": case for case, mean in dice.mean(axis=1).items()}
    losses = {titles[name]: name for name in dice}
    picture = widgets.Image()

    def show(case: str, loss: str, beside: str) -> None:
        scans = []
        for name in (loss, beside):
            scan = read(name, case)
            score = kits19_score(scan.layers["prediction"], scan.layers["label"])["tumour"]  # of one seed
            scans.append((f"{titles[name]}, Dice {score:.2f} here", scan))
        picture.value = as_png(gallery(scans, case, simulated))

    return follow(
        show, picture, case=widgets.Select(options=cases, rows=8, layout={"width": "auto"}),
        loss=widgets.Dropdown(options=losses, value=dice.mean().idxmax()),
        beside=widgets.Dropdown(options=losses, value=dice.mean().idxmin()))

"""Figures of the paper and the notebooks: one theme; colours and slices are those of ``kitsnb.drawing``.

Every function returns a matplotlib ``Figure`` and writes nothing; ``save`` writes the SVG that the paper includes.
"""

import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import seaborn as sns
from IPython import get_ipython
from IPython.core.pylabtools import print_figure
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from PIL import Image

from kitsnb.drawing import COLOURS, COLUMN, GREY, PAGE, alternative, canvas
from kitsnb.files import write_atomic
from kitsnb.study.tables import ranked

#: Scores with a panel of their own in ``rows_and_ranks``: those that the seed paper has, too.
SHOWN = ("kidney_and_tumour", "tumour")
#: What a score, a class or a distance is called in text.
NAMES = {
    "background": "background", "kidney": "kidney", "tumour": "tumour", "kidney_and_tumour": "kidney and tumour",
    "composite": "composite", "predicted_tumour_ml": "predicted tumour (ml)",
    "hd95_kidney_and_tumour": "HD95, kidney and tumour (mm)", "hd95_tumour": "HD95, tumour (mm)",
    "nsd_kidney_and_tumour": "surface Dice, kidney and tumour", "nsd_tumour": "surface Dice, tumour",
}


def use_style() -> None:
    """Set the theme of all figures, and let notebooks show them with their alternative texts."""
    sns.set_theme(context="paper", style="ticks", palette="colorblind", font_scale=0.85, rc={
        "figure.dpi": 110, "figure.constrained_layout.use": True, "axes.spines.top": False, "axes.spines.right": False,
        "font.family": "DejaVu Sans", "legend.frameon": False, "svg.fonttype": "path", "svg.hashsalt": "kitsnb",
    })
    if shell := get_ipython():
        shell.display_formatter.formatters["image/png"].for_type(Figure, _picture)


def _picture(figure: Figure) -> tuple[str, dict[str, str]]:
    """A figure for IPython in 256 colours, a third of the bytes, with the text that nbconvert takes for ``alt``."""
    whole, small = io.BytesIO(print_figure(figure, fmt="png", bbox_inches="tight")), io.BytesIO()
    Image.open(whole).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, "png", optimize=True)
    return b64encode(small.getvalue()).decode(), {"alt": alternative(figure)}


def save(figure: Figure, path: Path) -> Path:
    """Write ``figure`` as SVG, its alternative text as title, without a date: equal figures are equal files."""
    stream = io.BytesIO()
    # The salt is set here too: who saves without ``use_style`` still gets equal files.
    with mpl.rc_context({"svg.hashsalt": "kitsnb"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Title": alternative(figure)}, dpi=200)
    write_atomic(Path(path), stream.getvalue())
    return Path(path)


def legend_below(figure: Figure, handles: Sequence[Artist], columns: int | None = None) -> None:
    """One legend for all axes, below them: in a row where there is room."""
    wide = figure.get_size_inches()[0] > COLUMN or sum(len(handle.get_label()) for handle in handles) < 46
    figure.legend(handles=handles, loc="outside lower center", ncols=columns or (len(handles) if wide else 1))


def whole_numbers(axis: Axis) -> None:
    """Few ticks, for what can only be counted."""
    axis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))


def plain_log(axis: Axis, low: float, high: float) -> None:
    """A logarithmic axis from ``low`` to ``high`` with plain numbers: decades, or 1, 2, 5, or even steps."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    if high < 8 * low:
        ticks = MaxNLocator(5).tick_values(low, high)
    else:
        steps = (1,) if high > 1000 * low else (1, 2, 5)
        ticks = [step * 10.0**power for power in range(-6, 6) for step in steps]
    ticks = [tick for tick in ticks if low <= tick <= high]
    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_ticks([], minor=True)


def rows_and_ranks(found: Mapping, simulated: bool, title: str, reference: str | None = None) -> Figure:
    """Each loss, best composite on top: mean Dice, its paired difference to the row ``reference``, and its ranks.

    Thick: 95 % interval over cases, thin: over cases and seeds. Hollow diamonds are the seed paper's values, on its own
    data. Areas in the last panel are the shares of resampled studies in which a loss has that rank by the composite.
    With one row, the means stand alone.
    """
    rows = {row["experiment"]: row for row in found["table"]}
    order, many = ranked(found["table"]), len(rows) > 1
    panels = [*SHOWN, *(["difference"] if reference in rows and many else []), *(["ranks"] if many else [])]
    figure, grid = canvas(title, (PAGE, 1.15 + 0.25 * len(order)), 1, len(panels), simulated=simulated, sharey=True)
    for axes, panel in zip(grid, panels):
        if panel == "ranks":
            _ranks(axes, [found["ranks"]["composite"][name] for name in order])
        elif panel == "difference":
            _intervals(axes, [_difference(found["pairs"]["tumour"], name, reference) for name in order],
                       COLOURS["tumour"])
            axes.axvline(0, color=GREY, linewidth=0.7, zorder=0)
            axes.set(title=f"tumour, less that of\n{rows[reference]['title']}", xlabel="difference in Dice")
        else:
            _intervals(axes, [rows[name]["scores"][panel] for name in order], COLOURS[panel])
            paper = [rows[name]["paper"][panel] if rows[name]["paper"] else np.nan for name in order]
            axes.plot(paper, range(len(order)), "D", color="black", markerfacecolor="none", markersize=4,
                      markeredgewidth=0.8)
            axes.set(title=NAMES[panel], xlabel="Dice")
        axes.title.set_fontsize("medium")
    grid[0].set(ylim=(len(order) - 0.5, -0.5))
    grid[0].set_yticks(range(len(order)), [rows[name]["title"] for name in order])
    dot = {"color": "black", "markersize": 4}
    handles = [Line2D([], [], marker="o", linewidth=3, label="mean, 95 % over cases", **dot)]
    if found["seeds"] > 1:
        handles.append(Line2D([], [], linewidth=0.9, label="95 % over cases and seeds", **dot))
    if any(row["paper"] for row in found["table"]):
        handles.append(Line2D([], [], marker="D", linestyle="", markerfacecolor="none",
                              label="seed paper, its own data", **dot))
    legend_below(figure, handles)
    return figure


def _difference(pairs: Sequence[Mapping], name: str, reference: str) -> Mapping:
    """The pair of ``name`` and ``reference``, as the difference of the former to the latter; NaN of a row to itself."""
    pair = next((pair for pair in pairs if {pair["first"], pair["second"]} == {name, reference}), None)
    if pair is None:
        return dict.fromkeys(("mean", "low", "high", "crossed_low", "crossed_high"), np.nan)
    sign = 1 if pair["first"] == name else -1
    return {key: sign * pair[key] for key in ("mean", "low", "high", "crossed_low", "crossed_high")}


def _intervals(axes: Axes, found: Sequence[Mapping], colour: str) -> None:
    for place, one in enumerate(found):
        axes.plot([one["low"], one["high"]], [place, place], color=colour, linewidth=3, alpha=0.5,
                  solid_capstyle="butt")
        axes.plot([one["crossed_low"], one["crossed_high"]], [place, place], color=colour, linewidth=0.9)
        axes.plot(one["mean"], place, "o", color=colour, markersize=4)


def _ranks(axes: Axes, shares: Sequence[Sequence[float]]) -> None:
    for place, row in enumerate(shares):
        axes.scatter(np.arange(1, len(row) + 1), [place] * len(row), s=110 * np.asarray(row),
                     color=COLOURS["composite"], linewidth=0)
    axes.set(title="rank by composite", xlabel="rank", xlim=(0.4, len(shares) + 0.6), xticks=range(1, len(shares) + 1))

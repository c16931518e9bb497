"""One theme for all figures, and how they are shown and saved."""

from pathlib import Path

import matplotlib as mpl
import seaborn as sns
from IPython import get_ipython
from IPython.core.pylabtools import print_figure
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from kitsnb.drawing import alternative
from kitsnb.files import replaced

#: What a score or a class is called in text.
NAMES = {"background": "background", "kidney": "kidney", "tumour": "tumour",
         "kidney_and_tumour": "kidney and tumour", "composite": "composite", "predicted_tumour_ml": "predicted tumour"}
STYLE = {
    "figure.dpi": 110, "figure.constrained_layout.use": True, "axes.spines.top": False, "axes.spines.right": False,
    "font.family": "DejaVu Sans", "legend.frameon": False, "svg.fonttype": "path", "svg.hashsalt": "kitsnb",
}


def use_style() -> None:
    """Set the theme of all figures, whatever a matplotlibrc says; let notebooks show them with alternative texts."""
    mpl.rcdefaults()
    sns.set_theme(context="paper", style="ticks", palette="colorblind", font_scale=0.85, rc=STYLE)
    shell = get_ipython()
    if shell:
        shell.display_formatter.formatters["image/png"].for_type(Figure, _show)


def _show(figure: Figure) -> tuple[str, dict[str, str]]:
    """Give IPython a figure with the text that nbconvert takes for ``alt``."""
    picture = print_figure(figure, fmt="png", bbox_inches="tight", base64=True)
    return picture, {"alt": alternative(figure)}


def save(figure: Figure, path: Path) -> Path:
    """Write ``figure`` as SVG, its alternative text as title, without a date: equal figures are equal files."""
    with replaced(path) as partial:
        figure.savefig(partial, format="svg", metadata={"Date": None, "Title": alternative(figure)}, dpi=200)
    return path


def legend_below(figure: Figure, axes: Axes, columns: int | None = None) -> None:
    """Draw one legend for all axes, below them, in a row or in ``columns``: what ``axes`` label, each label once."""
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles))
    figure.legend(unique.values(), unique, loc="outside lower center", ncols=columns or len(unique))


def plain_log(axis: Axis, low: float, high: float) -> None:
    """Make a logarithmic axis for ``low`` to ``high`` with plain numbers: decades, or some steps in each."""
    steps = (1,) if high > 1000 * low else (1, 2, 5)
    axis.axes.set(**{f"{axis.axis_name}scale": "log", f"{axis.axis_name}lim": (low, high)})
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_locator(NullLocator())

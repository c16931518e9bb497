"""One theme for all figures, and how they are shown and saved; colours and slices are those of ``kitsnb.drawing``."""

import io
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import seaborn as sns
from IPython import get_ipython
from IPython.core.pylabtools import print_figure
from matplotlib.artist import Artist
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from kitsnb.drawing import COLUMN, alternative
from kitsnb.files import write_atomic

#: What a score, a class or a distance is called in text.
NAMES = {
    "background": "background", "kidney": "kidney", "tumour": "tumour", "kidney_and_tumour": "kidney and tumour",
    "composite": "composite", "predicted_tumour_ml": "predicted tumour (ml)",
    "hd95_kidney_and_tumour": "HD95, kidney and tumour (mm)", "hd95_tumour": "HD95, tumour (mm)",
    "nsd_kidney_and_tumour": "surface Dice, kidney and tumour", "nsd_tumour": "surface Dice, tumour",
}
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
    """Give IPython a figure in 256 colours, a third of the bytes, with the text that nbconvert takes for ``alt``."""
    whole = io.BytesIO(print_figure(figure, fmt="png", bbox_inches="tight"))
    small = io.BytesIO()
    Image.open(whole).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, "png", optimize=True)
    return b64encode(small.getvalue()).decode(), {"alt": alternative(figure)}


def save(figure: Figure, path: Path) -> Path:
    """Write ``figure`` as SVG, its alternative text as title, without a date: equal figures are equal files."""
    stream = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "kitsnb"}):  # for callers that did not set the style
        figure.savefig(stream, format="svg", metadata={"Date": None, "Title": alternative(figure)}, dpi=200)
    write_atomic(Path(path), stream.getvalue())
    return Path(path)


def legend_below(figure: Figure, handles: Sequence[Artist], columns: int | None = None) -> None:
    """Draw one legend for all axes, below them: in a row where there is room."""
    letters = sum(len(handle.get_label()) for handle in handles)
    wide = figure.get_size_inches()[0] > COLUMN or letters < 46
    figure.legend(handles=handles, loc="outside lower center", ncols=columns or (len(handles) if wide else 1))


def whole_numbers(axis: Axis) -> None:
    """Set few ticks, for what can only be counted."""
    axis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))


def plain_log(axis: Axis, low: float, high: float) -> None:
    """Make a logarithmic axis from ``low`` to ``high`` with plain numbers: decades, or 1, 2, 5, or even steps."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    if high < 8 * low:
        ticks = MaxNLocator(5).tick_values(low, high)
    else:
        steps = (1,) if high > 1000 * low else (1, 2, 5)
        ticks = [step * 10.0**power for power in range(-6, 6) for step in steps]
    ticks = [tick for tick in ticks if low <= tick <= high]
    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_ticks([], minor=True)

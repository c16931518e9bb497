"""Figures of the paper and the notebooks: one theme, one set of colours, one way to draw a slice.

Every function returns a matplotlib ``Figure`` and writes nothing; ``save`` writes the SVG that the paper includes.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from kitsnb.files import write_atomic

#: Widths of one and of two columns of the paper, in inches.
COLUMN, PAGE = 3.4, 7.0
#: Seaborn's palette for colour-blind readers; all colours of all figures are from it, but for greys.
PALETTE = sns.color_palette("colorblind").as_hex()
GREY, PALE = "#7f7f7f", "#d9d9d9"
COLOURS = {"background": GREY, "kidney": PALETTE[0], "tumour": PALETTE[3],
           "kidney_and_tumour": PALETTE[2], "composite": PALETTE[4]}
#: What a score, a class or a distance is called in text.
NAMES = {
    "background": "background", "kidney": "kidney", "tumour": "tumour", "kidney_and_tumour": "kidney and tumour",
    "composite": "composite", "predicted_tumour_ml": "predicted tumour (ml)",
    "hd95_kidney_and_tumour": "HD95, kidney and tumour (mm)", "hd95_tumour": "HD95, tumour (mm)",
    "nsd_kidney_and_tumour": "surface Dice, kidney and tumour", "nsd_tumour": "surface Dice, tumour",
}


def use_style() -> None:
    """Set the theme of all figures. Equal figures give equal bytes."""
    sns.set_theme(context="paper", style="ticks", palette="colorblind", font_scale=0.85, rc={
        "figure.dpi": 110, "figure.constrained_layout.use": True, "axes.spines.top": False, "axes.spines.right": False,
        "font.family": "DejaVu Sans", "legend.frameon": False, "svg.fonttype": "path", "svg.hashsalt": "kitsnb",
    })


def save(figure: Figure, path: Path) -> Path:
    """Write ``figure`` as SVG, without a date, so that equal figures are equal files."""
    stream = io.BytesIO()
    # The salt is set here too: who saves without ``use_style`` still gets equal files.
    with mpl.rc_context({"svg.hashsalt": "kitsnb"}):
        figure.savefig(stream, format="svg", metadata={"Date": None}, dpi=200)
    write_atomic(Path(path), stream.getvalue())
    return Path(path)


def canvas(
    title: str, size: tuple[float, float], rows: int = 1, columns: int = 1, *, simulated: bool = False, **options
) -> tuple[Figure, Axes | np.ndarray]:
    """A figure of ``size`` inches and its axes, with a heading that says so where its CT is ``simulated``."""
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(f"{title} (simulated CT)" if simulated else title)
    return figure, figure.subplots(rows, columns, **options)


def section(
    axes: Axes, volume: np.ndarray, spacing: Sequence[float], at: int, across: int = 0, **options
) -> AxesImage:
    """Draw slice ``at``, across axis ``across``, of a volume [D, H, W] to scale; ``options`` are those of ``imshow``.

    ``spacing`` holds the volume's three, in mm: which two of them the picture needs is decided here, for all figures.
    """
    picture = np.take(volume, at, axis=across)
    down, right = (size * step for size, step in zip(picture.shape, _of_shown(spacing, across)))
    axes.set(xticks=[], yticks=[], frame_on=False)
    return axes.imshow(picture, extent=(0, right, down, 0), aspect="equal", interpolation="nearest", **options)


def outline(axes: Axes, mask: np.ndarray, spacing: Sequence[float], at: int, colour: str, across: int = 0) -> None:
    """The border of ``mask`` [D, H, W] on what ``section`` drew there."""
    shown = np.pad(np.take(mask, at, axis=across), 1).astype(float)
    if shown.any():
        limits = axes.get_xlim(), axes.get_ylim()
        down, right = ((np.arange(size) - 0.5) * step for size, step in zip(shown.shape, _of_shown(spacing, across)))
        axes.contour(right, down, shown, levels=[0.5], colors=[colour], linewidths=1.1)
        axes.set(xlim=limits[0], ylim=limits[1])  # the padding, and only where there is a mask, widened them


def _of_shown(spacing: Sequence[float], across: int) -> list[float]:
    return [step for axis, step in enumerate(spacing) if axis != across]


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

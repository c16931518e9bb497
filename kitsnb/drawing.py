"""What all pictures of the project share: colours, a canvas, and slices of volumes to scale with their letters."""

import re
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch

#: Widths of one and of two columns of the paper, in inches.
COLUMN, PAGE = 3.4, 7.0
#: Seaborn's "colorblind"; other colours are from it, but for a grey fit for text and the purple of Okabe and Ito.
PALETTE = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9")
GREY = "#595959"
COLOURS = {"background": GREY, "kidney": PALETTE[0], "tumour": PALETTE[3],
           "kidney_and_tumour": PALETTE[2], "composite": "#cc79a7"}
#: Where a prediction is wrong: foreground missed, foreground invented, kidney and tumour mixed up.
ERRORS = {"missed": PALETTE[8], "invented": PALETTE[4], "wrong class": PALETTE[2]}
#: Soft tissue, in HU.
WINDOW = (-160.0, 240.0)
#: The two ends of each array axis of a volume in KiTS19's orientation, IPL: first index and last.
ENDS = (("S", "I"), ("A", "P"), ("R", "L"))


def canvas(
    title: str, size: tuple[float, float], rows: int = 1, columns: int = 1, *, simulated: bool = False, **options
) -> tuple[Figure, Axes | np.ndarray]:
    """Make a figure of ``size`` inches and its axes, with a heading that says where its CT is ``simulated``."""
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(f"{title} (simulated CT)" if simulated else title)
    return figure, figure.subplots(rows, columns, **options)


def alternative(figure: Figure) -> str:
    """Describe ``figure`` for readers who cannot see it: heading, what panels draw against what, legend, rows."""
    told = {"Panels": [], "Legend": [], "Rows": []}
    legends = list(figure.legends)
    for axes in filter(Axes.get_visible, figure.axes):
        against = " against ".join(filter(None, (axes.get_ylabel(), axes.get_xlabel())))
        told["Panels"].append(", ".join(filter(None, (axes.get_title(), against))))
        ticks = [tick.get_text() for tick in (*axes.get_xticklabels(), *axes.get_yticklabels())]
        told["Rows"] += [text for text in ticks if re.search("[A-Za-z]", re.sub(r"\\\w+", "", text))]  # no TeX
        if axes.get_legend():
            legends.append(axes.get_legend())
    for legend in legends:
        told["Legend"] += [text.get_text() for text in legend.get_texts()]
    parts = [figure.get_suptitle()]
    for name, texts in told.items():
        unique = list(filter(None, dict.fromkeys(texts)))
        more = f"; and {len(unique) - 12} more" if len(unique) > 12 else ""
        if unique:
            parts.append(f"{name}: {'; '.join(unique[:12])}{more}")
    return ". ".join(parts).replace("\n", " ")


def section(axes: Axes, volume: np.ndarray, spacing: Sequence[float], at: int, across: int = 0, **options) -> AxesImage:
    """Draw slice ``at``, across axis ``across``, of a volume [D, H, W], spacing in mm, to scale, by ``imshow``."""
    picture = np.moveaxis(volume, across, 0)[at]  # np.take would copy all of a turned volume first
    down, right = np.delete(spacing, across) * picture.shape
    axes.set(xticks=[], yticks=[], frame_on=False)
    return axes.imshow(picture, extent=(0, right, down, 0), aspect="equal", interpolation="nearest", **options)


def outline(axes: Axes, mask: np.ndarray, spacing: Sequence[float], at: int, colour: str, across: int = 0) -> None:
    """Draw the border of ``mask`` [D, H, W] on what ``section`` drew there."""
    shown = np.pad(np.moveaxis(mask, across, 0)[at], 1)
    if shown.any():
        limits = axes.get_xlim(), axes.get_ylim()
        down, right = ((np.arange(n) - 0.5) * step for n, step in zip(shown.shape, np.delete(spacing, across)))
        axes.contour(right, down, shown, levels=[0.5], colors=[colour], linewidths=1.1)
        axes.set(xlim=limits[0], ylim=limits[1])  # the padding widened them


def labelled_section(
    axes: Axes, imaging: np.ndarray, labels: np.ndarray, spacing: Sequence[float], at: int, across: int = 0,
    window: tuple[float, float] = WINDOW,
) -> AxesImage:
    """Draw a section of CT [D, H, W] in grey over ``window`` (HU), with the borders of kidney and tumour."""
    image = section(axes, imaging, spacing, at, across, cmap="gray", vmin=window[0], vmax=window[1])
    for number, name in enumerate(("kidney", "tumour"), 1):
        outline(axes, labels == number, spacing, at, COLOURS[name], across)
    return image


def legend_of(figure: Figure, names: Sequence[str]) -> None:
    """Say below the figure which of COLOURS and ERRORS is what."""
    handles = [Patch(color=(COLOURS | ERRORS)[name], label=name) for name in names]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def centre_of(labels: np.ndarray) -> tuple[int, int, int]:
    """Find the voxel to look at: on each axis the section with most tumour, else most kidney, else the middle one."""
    for label in (2, 1):
        places = np.nonzero(labels == label)
        if len(places[0]):
            return tuple(int(np.bincount(found).argmax()) for found in places)
    return tuple(n // 2 for n in labels.shape)


def letters(axes: Axes, vertical: tuple[str, str], horizontal: tuple[str, str]) -> None:
    """Name the four sides of a picture on its inner edge."""
    box = {"boxstyle": "circle,pad=0.15", "facecolor": to_rgba("white", 0.8), "edgecolor": "none"}
    for letter, place in zip((*vertical, *horizontal), ((0.5, 0.94), (0.5, 0.06), (0.06, 0.5), (0.94, 0.5))):
        axes.text(*place, letter, transform=axes.transAxes, ha="center", va="center", fontsize=7, bbox=box)

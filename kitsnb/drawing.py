"""What all pictures of the project share: colours, names, a canvas, and slices of volumes drawn to scale."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

#: Widths of one and of two columns of the paper, in inches.
COLUMN, PAGE = 3.4, 7.0
#: Seaborn's "colorblind", which colour-blind readers can tell apart; all colours are from it but for greys, of which
#: the darker can be text and is told from green by its lightness, and a purple of Okabe and Ito's, less like blue
#: without red receptors.
PALETTE = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9")
GREY, PALE = "#595959", "#d9d9d9"
COLOURS = {"background": GREY, "kidney": PALETTE[0], "tumour": PALETTE[3],
           "kidney_and_tumour": PALETTE[2], "composite": "#cc79a7"}
#: Where a prediction is wrong: foreground missed, foreground invented, kidney and tumour taken for each other.
ERRORS = {"missed": PALETTE[8], "invented": PALETTE[4], "wrong class": PALETTE[2]}
#: Soft tissue, in HU.
WINDOW = (-160.0, 240.0)
#: The two ends of each array axis of a volume in KiTS19's orientation, IPL: first index and last.
ENDS = (("S", "I"), ("A", "P"), ("R", "L"))


def heading(title: str, simulated: bool) -> str:
    return f"{title} (simulated CT)" if simulated else title


def canvas(
    title: str, size: tuple[float, float], rows: int = 1, columns: int = 1, *, simulated: bool = False, **options
) -> tuple[Figure, Axes | np.ndarray]:
    """A figure of ``size`` inches and its axes, with a heading that says so where its CT is ``simulated``."""
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(heading(title, simulated))
    return figure, figure.subplots(rows, columns, **options)


def alternative(figure: Figure) -> str:
    """What ``figure`` shows, for who cannot see it: heading, what each panel draws against what, legend, rows."""
    heads, panels = [figure.get_suptitle().replace("\n", " ")], []
    for axes in filter(Axes.get_visible, figure.axes):
        against = f"{axes.get_ylabel()} against {axes.get_xlabel()}" if axes.get_xlabel() and axes.get_ylabel() else (
            axes.get_ylabel() or axes.get_xlabel())
        panels.append(", ".join(filter(None, (axes.get_title(), against))))
    legends = [*figure.legends, *filter(None, (axes.get_legend() for axes in figure.axes))]
    named = [text.get_text() for legend in legends for text in legend.get_texts()]
    rows = [tick.get_text() for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)
            for tick in axis.get_ticklabels() if tick.get_text().strip("-−+.,0123456789 ×10$\\mathdefault{}^")]
    for name, found in (("Panels", panels), ("Legend", named), ("Rows", rows)):
        if unique := list(dict.fromkeys(filter(None, found))):
            heads.append(f"{name}: {'; '.join(unique[:12])}")
    return ". ".join(filter(None, heads)).replace("\n", " ")


def section(axes: Axes, volume: np.ndarray, spacing: Sequence[float], at: int, across: int = 0, **options) -> AxesImage:
    """Draw slice ``at``, across axis ``across``, of a volume [D, H, W] to scale; ``options`` are those of ``imshow``.

    ``spacing`` holds the volume's three, in mm: which two of them the picture needs is decided here, for all figures.
    """
    picture = np.moveaxis(volume, across, 0)[at]  # np.take would copy all of a turned volume first
    down, right = np.delete(spacing, across) * picture.shape
    axes.set(xticks=[], yticks=[], frame_on=False)
    return axes.imshow(picture, extent=(0, right, down, 0), aspect="equal", interpolation="nearest", **options)


def outline(axes: Axes, mask: np.ndarray, spacing: Sequence[float], at: int, colour: str, across: int = 0) -> None:
    """The border of ``mask`` [D, H, W] on what ``section`` drew there."""
    shown = np.pad(np.moveaxis(mask, across, 0)[at], 1).astype(float)
    if shown.any():
        limits = axes.get_xlim(), axes.get_ylim()
        down, right = ((np.arange(n) - 0.5) * step for n, step in zip(shown.shape, np.delete(spacing, across)))
        axes.contour(right, down, shown, levels=[0.5], colors=[colour], linewidths=1.1)
        axes.set(xlim=limits[0], ylim=limits[1])  # the padding, and only where there is a mask, widened them


def layered(
    axes: Axes, imaging: np.ndarray, kind: str, layer: np.ndarray | None, spacing: Sequence[float], at: int,
    across: int = 0
) -> None:
    """A ``section`` of CT under ``layer``: where ``kind`` is "errors" its numbers are those of ERRORS, drawn as areas;
    all others hold labels, which are outlined."""
    section(axes, imaging, spacing, at, across, cmap="gray", vmin=WINDOW[0], vmax=WINDOW[1])
    if kind == "errors":
        colours = ListedColormap([to_rgba("white", 0), *(to_rgba(colour, 0.75) for colour in ERRORS.values())])
        section(axes, layer, spacing, at, across, cmap=colours, vmin=0, vmax=len(ERRORS))
    elif layer is not None:
        alone = np.expand_dims(np.moveaxis(layer, across, 0)[at], across)  # to compare all of a scan takes seconds
        for number, name in enumerate(("kidney", "tumour"), 1):
            outline(axes, alone == number, spacing, 0, COLOURS[name], across)


def legend_of_layers(figure: Figure, kinds: Collection[str]) -> None:
    """What ``layered`` drew in which colour, below the figure."""
    handles = [Line2D([], [], color=COLOURS[name], label=name) for name in ("kidney", "tumour")]
    if "errors" in kinds:
        handles += [Patch(color=colour, label=name) for name, colour in ERRORS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def three_views(
    imaging: np.ndarray | None, layers: Mapping[str, np.ndarray], spacing: Sequence[float], title: str,
    simulated: bool = False,
) -> Figure:
    """One case from below, from the front and from the side, to scale; a row for each of ``layers`` (``layered``).

    All arrays are oriented IPL (slice, height, width), ``spacing`` in mm follows them. With ``imaging`` (HU) each view
    is the section with most tumour, else with most kidney, else the middle one; without, it is the shadow of the labels
    along that axis. Letters say where the patient's left, posterior, superior, ... lie.
    """
    rows = layers or {"CT": None}
    marked = next((layer for layer in layers.values() if layer.any()), next(iter(layers.values()), None))
    marked = np.zeros(imaging.shape, np.uint8) if marked is None else marked
    wanted = np.nonzero(marked == (2 if (marked == 2).any() else 1))
    sides = [np.delete(spacing * np.asarray(marked.shape), across) for across in range(3)]  # mm, down and right
    ratios = [right / down for down, right in sides]  # all views are equally high
    size = PAGE, len(rows) * ((PAGE - 0.3) / sum(ratios) + 0.1) + 0.7
    figure, grid = canvas(title, size, len(rows), 3, simulated=simulated, width_ratios=ratios, squeeze=False)
    for across, (column, plane) in enumerate(zip(grid.T, ("axial", "coronal", "sagittal"))):
        at = int(np.bincount(wanted[across]).argmax()) if wanted[0].size else marked.shape[across] // 2
        for axes, (kind, layer) in zip(column, rows.items()):
            if imaging is None:
                colours = ListedColormap(["#f2f2f2", COLOURS["kidney"], COLOURS["tumour"]])
                section(axes, layer.max(axis=across, keepdims=True), spacing, 0, across, cmap=colours, vmin=0, vmax=2)
            else:
                layered(axes, imaging, kind, layer, spacing, at, across)
            letters(axes, *(ends for axis, ends in enumerate(ENDS) if axis != across))
            axes.set_ylabel("" if across else kind)
        column[0].set_title(plane, fontsize="medium")
    if layers:
        legend_of_layers(figure, layers)
    return figure


def letters(axes: Axes, vertical: tuple[str, str], horizontal: tuple[str, str]) -> None:
    """Name the four sides of a picture on its inner edge."""
    box = {"boxstyle": "circle,pad=0.15", "facecolor": to_rgba("white", 0.8), "edgecolor": "none"}
    for letter, place in zip((*vertical, *horizontal), ((0.5, 0.94), (0.5, 0.06), (0.06, 0.5), (0.94, 0.5))):
        axes.text(*place, letter, transform=axes.transAxes, ha="center", va="center", fontsize=7, bbox=box)

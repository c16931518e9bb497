"""Figures of the data: geometry, anatomy, class imbalance, volumes, HU, clinical sizes, split, and clipping (Figure 1).

``table`` is the one of ``kitsnb.data.fingerprint.measure_cases``. Figures of simulated data say so in their heading.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import ListedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kitsnb.study.figures import COLOURS, COLUMN, NAMES, PAGE
from kitsnb.study.figures.results import heading

CLASSES = ("background", "kidney", "tumour")
#: What happens to a case, and its colour in ``split``.
ROLES = {"training": "#0173b2", "validation": "#de8f05", "cross-validation": "#029e73",
         "excluded": "#cc3311", "not used": "#9a9a9a"}
GREY = "#9a9a9a"
#: The two ends of each array axis of a volume in KiTS19's orientation, IPL: first index and last.
ENDS = (("S", "I"), ("A", "P"), ("R", "L"))


def geometry(table: pd.DataFrame, simulated: bool) -> Figure:
    """Number of slices, spacing of slices and in-plane, and how the first two depend on each other."""
    figure = Figure(figsize=(PAGE, 4.6), layout="constrained")
    slices, spacing, in_plane, both = figure.subplots(2, 2).flat
    sns.histplot(table.slices, bins=24, ax=slices, color=GREY)
    for name, style in {"mean": "-", "median": ":"}.items():
        value = table.slices.agg(name)
        slices.axvline(value, color="black", linestyle=style, linewidth=1, label=f"{name} {value:.1f}")
    _above(slices, columns=2)
    slices.set(xlabel="slices", ylabel="cases")
    sns.histplot(table.slice_mm, bins=18, ax=spacing, color=GREY)
    spacing.set(xlabel="slice spacing (mm)", ylabel="cases")
    sns.histplot(table.width_mm, bins=18, ax=in_plane, color=GREY)
    in_plane.set(xlabel="in-plane spacing (mm)", ylabel="cases")
    both.scatter(table.slice_mm, table.slices, s=9, color=GREY, alpha=0.7, linewidth=0)
    edges = np.geomspace(0.9 * table.slice_mm.min(), 1.1 * table.slice_mm.max(), 50)
    lengths = table.slice_mm * table.slices
    for quantile, style in {0.1: ":", 0.9: "--"}.items():
        length = lengths.quantile(quantile)
        label = f"{quantile:.0%} of the scans are shorter than {length / 10:.0f} cm"
        both.plot(edges, length / edges, color="black", linestyle=style, linewidth=0.8, label=label)
    both.set(xlabel="slice spacing (mm)", ylabel="slices", xscale="log", yscale="log")
    _plain_ticks(both.xaxis, edges[0], edges[-1])
    _plain_ticks(both.yaxis, 0.9 * table.slices.min(), 1.1 * table.slices.max())
    _above(both)
    for axes in (slices, spacing, in_plane):
        axes.yaxis.set_major_locator(_whole_numbers())
    slices.xaxis.set_major_locator(_whole_numbers())
    figure.suptitle(heading("Sizes and spacings", simulated))
    return figure


def three_views(
    imaging: np.ndarray | None, segmentation: np.ndarray, spacing: Sequence[float], name: str, simulated: bool
) -> Figure:
    """One case from below, from the front and from the side, to scale, with its labels in colour.

    Both arrays are oriented IPL (slice, height, width), ``spacing`` in mm follows them. With ``imaging`` (HU, shown
    from -160 to 240) each view is the section with most tumour, or with most kidney if there is no tumour; without, it
    is the shadow of the labels along that axis. Letters say where the patient's left, posterior, superior, ... lie.
    """
    wanted = segmentation == (2 if (segmentation == 2).any() else 1)
    sizes = [n * mm for n, mm in zip(segmentation.shape, spacing, strict=True)]
    views = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}
    figure = Figure(figsize=(PAGE, 2.9), layout="constrained")
    ratios = [sizes[columns] for _, _, columns in views.values()]
    for axes, (title, (across, rows, columns)) in zip(
        figure.subplots(1, 3, width_ratios=ratios), views.items(), strict=True
    ):
        at = int(wanted.sum(axis=(rows, columns)).argmax())
        shown = segmentation.max(axis=across) if imaging is None else segmentation.take(at, axis=across)
        aspect = spacing[rows] / spacing[columns]
        if imaging is not None:
            section = imaging.take(at, axis=across)
            axes.imshow(section, cmap="gray", vmin=-160, vmax=240, aspect=aspect, interpolation="nearest")
        colours = ListedColormap(["none" if imaging is not None else "#f2f2f2", COLOURS["kidney"], COLOURS["tumour"]])
        alpha = 1 if imaging is None else 0.55
        axes.imshow(shown, cmap=colours, vmin=0, vmax=2, aspect=aspect, interpolation="nearest", alpha=alpha)
        axes.set(xticks=[], yticks=[], title=title, frame_on=False)
        _letters(axes, ENDS[rows], ENDS[columns])
    what = "shadow of the labels" if imaging is None else "sections and labels"
    figure.suptitle(heading(f"{name}: {what}", simulated))
    return figure


def imbalance(table: pd.DataFrame, simulated: bool) -> Figure:
    """Share of the voxels that each class takes, on a log scale: of all cases together, and case by case."""
    voxels = table[[f"{name}_voxels" for name in CLASSES]].set_axis([NAMES[name] for name in CLASSES], axis=1)
    pooled = 100 * voxels.sum() / voxels.sum().sum()
    each = 100 * voxels.div(voxels.sum(axis=1), axis=0)
    positive = each[each > 0].min().min()
    colours = [COLOURS[name] for name in CLASSES]
    figure = Figure(figsize=(PAGE, 2.4), layout="constrained")
    together, by_case = figure.subplots(1, 2, sharey=True)
    bars = together.bar(pooled.index, pooled, color=colours, width=0.6)
    together.bar_label(bars, [f"{share:.3f} %" for share in pooled], padding=2)
    boxes = by_case.boxplot(
        [each[name][each[name] > 0] for name in each], tick_labels=list(each), widths=0.5, patch_artist=True,
        medianprops={"color": "black"}, flierprops={"marker": ".", "markersize": 2, "markeredgecolor": GREY},
    )
    for box, colour in zip(boxes["boxes"], colours, strict=True):
        box.set_facecolor(colour)
    together.set(ylabel="share of voxels (%)", yscale="log", ylim=(positive / 2, 300), title="all cases together")
    by_case.set(title="case by case")
    _plain_ticks(together.yaxis, positive / 2, 100)
    figure.suptitle(heading("Class imbalance", simulated))
    return figure


def volumes(table: pd.DataFrame, simulated: bool) -> Figure:
    """Volume in ml of the two labels, and on how many of its slices a case shows them."""
    figure = Figure(figsize=(PAGE, 2.4), layout="constrained")
    volume, shown = figure.subplots(1, 2)
    present = {name: table[table[f"{name}_voxels"] > 0] for name in CLASSES[1:]}
    everything = np.concatenate([rows[f"{name}_ml"] for name, rows in present.items()])
    edges = np.geomspace(0.9 * everything.min(), 1.1 * everything.max(), 36)
    for name, rows in present.items():
        volume.hist(rows[f"{name}_ml"], bins=edges, color=COLOURS[name], alpha=0.65, label=NAMES[name])
        share = 100 * rows[f"{name}_slices"] / rows.slices
        shown.hist(share, bins=np.linspace(0, 100, 26), color=COLOURS[name], alpha=0.65, label=NAMES[name])
    volume.set(xlabel="volume (ml)", ylabel="cases", xscale="log")
    _plain_ticks(volume.xaxis, edges[0], edges[-1])
    shown.set(xlabel="slices that show the label (%)", ylabel="cases")
    for axes in (volume, shown):
        axes.yaxis.set_major_locator(_whole_numbers())
    volume.legend(frameon=False)
    figure.suptitle(heading("Volumes", simulated))
    return figure


def intensities(hu: np.ndarray, values: np.ndarray, window: tuple[float, float], simulated: bool) -> Figure:
    """HU within each label, as densities; ``window`` (HU) is what clipping keeps.

    ``hu``: voxels by class and HU, shape (3, n); ``values``: the n HU, one apart. Drawn in steps of 8 HU.
    """
    step, shown = 8, (-200, 400)
    edges = np.arange(shown[0], shown[1] + step, step)
    figure = Figure(figsize=(PAGE, 2.4), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(*window, color="#e4e4e4", zorder=0, label=f"window {window[0]:g} to {window[1]:g} HU")
    for name, counts in zip(CLASSES, hu, strict=True):
        if counts.sum():
            heights, _ = np.histogram(values, bins=edges, weights=counts / counts.sum() / step)
            filled = name != "background"
            axes.stairs(100 * heights, edges, color=COLOURS[name], fill=filled, alpha=0.7, label=NAMES[name])
    axes.set(xlabel="CT number (HU)", ylabel="voxels of the label (% per HU)", xlim=shown)
    figure.legend(loc="outside right center", frameon=False)
    figure.suptitle(heading("HU within each label", simulated))
    return figure


def clinical_sizes(table: pd.DataFrame, simulated: bool) -> Figure:
    """Equivalent diameter from the label (``tumour_mm``) against the radiologist's (``radiographic_mm``), log-log."""
    found = table[table.tumour_voxels > 0]
    sizes = found[["radiographic_mm", "tumour_mm"]].to_numpy()
    limits = 0.85 * sizes.min(), 1.15 * sizes.max()
    figure = Figure(figsize=(COLUMN, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(limits, limits, color="black", linewidth=0.8, label="equal")
    axes.scatter(found.radiographic_mm, found.tumour_mm, s=9, color=COLOURS["tumour"], alpha=0.6, linewidth=0)
    axes.set(xscale="log", yscale="log", xlim=limits, ylim=limits, aspect="equal")
    axes.set(xlabel="radiographic size (mm)", ylabel="equivalent diameter of the label (mm)")
    for axis in (axes.xaxis, axes.yaxis):
        _plain_ticks(axis, *limits)
    axes.legend(frameon=False)
    figure.suptitle(heading("Tumour size: clinic and label", simulated))
    return figure


def split(table: pd.DataFrame, roles: Mapping[str, str], simulated: bool) -> Figure:
    """Tumour volume against the case's number, coloured by ``roles`` (case name to a key of ``ROLES``)."""
    found = table[table.tumour_voxels > 0]
    figure = Figure(figsize=(PAGE, 2.4), layout="constrained")
    axes = figure.subplots()
    role = found.case.map(roles)
    for name, colour in ROLES.items():
        rows = found[role == name]
        if len(rows):
            count = sum(value == name for value in roles.values())
            marker = "x" if name == "excluded" else "o"
            number = rows.case.str.removeprefix("case_").astype(int)
            axes.scatter(number, rows.tumour_ml, s=14, color=colour, marker=marker, label=f"{name} ({count})")
    axes.set(xlabel="number of the case", ylabel="tumour (ml)", yscale="log")
    axes.xaxis.set_major_locator(_whole_numbers())
    _plain_ticks(axes.yaxis, 0.8 * found.tumour_ml.min(), 1.25 * found.tumour_ml.max())
    figure.legend(loc="outside right center", frameon=False)
    figure.suptitle(heading("Split", simulated))
    return figure


def clipping(
    before: np.ndarray, after: np.ndarray, window: tuple[float, float], spacing: Sequence[float], simulated: bool
) -> Figure:
    """The seed paper's Figure 1: a slice before and after its HU are clipped to ``window``.

    ``before`` and ``after`` are 2D, in HU, of one shape; ``spacing`` is that of rows and columns in mm. Each picture
    spends its grey scale on its own range of HU, as its bar says: this is what clipping is for.
    """
    figure = Figure(figsize=(PAGE, 2.9), layout="constrained")
    ranges = {"before": (before.min(), before.max()), f"clipped to {window[0]:g} to {window[1]:g} HU": window}
    for axes, picture, (title, (low, high)) in zip(figure.subplots(1, 2), (before, after), ranges.items(), strict=True):
        image = axes.imshow(
            picture, cmap="gray", vmin=low, vmax=high, aspect=spacing[0] / spacing[1], interpolation="nearest"
        )
        axes.set(xticks=[], yticks=[], title=title, frame_on=False)
        bar = figure.colorbar(image, ax=axes, label="HU", shrink=0.9, pad=0.02)
        bar.outline.set_visible(False)
    figure.suptitle(heading("Clipping", simulated))
    return figure


def _letters(axes: Axes, vertical: tuple[str, str], horizontal: tuple[str, str]) -> None:
    """Name the four sides of a picture on its inner edge."""
    (top, bottom), (left, right) = vertical, horizontal
    places = {top: (0.5, 0.94), bottom: (0.5, 0.06), left: (0.06, 0.5), right: (0.94, 0.5)}
    box = {"boxstyle": "circle,pad=0.15", "facecolor": to_rgba("white", 0.8), "edgecolor": "none"}
    for letter, (x, y) in places.items():
        axes.text(x, y, letter, transform=axes.transAxes, ha="center", va="center", fontsize=7, bbox=box)


def _above(axes: Axes, columns: int = 1) -> None:
    """Legend above the axes, where no data lie whatever they are."""
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=columns, frameon=False)


def _whole_numbers() -> MaxNLocator:
    """Few ticks for what can only be counted."""
    return MaxNLocator(6, integer=True, steps=[1, 2, 5, 10])


def _plain_ticks(axis: Axis, low: float, high: float) -> None:
    """Ticks of a log axis from ``low`` to ``high``, written as plain numbers: decades, or 1, 2, 5, or even steps."""
    if high < 8 * low:
        ticks = MaxNLocator(5).tick_values(low, high)
    else:
        steps = (1,) if high > 1000 * low else (1, 2, 5)
        ticks = [step * 10.0**power for power in range(-6, 6) for step in steps]
    ticks = [tick for tick in ticks if low <= tick <= high]
    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_ticks([], minor=True)

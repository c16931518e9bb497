"""Figures of the data: geometry, class imbalance, volumes, HU, split, and clipping (Figure 1).

``table`` is the one of ``fingerprint.measure.measure_cases``. Figures of simulated data say so in their heading.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from kitsnb.drawing import COLOURS, GREY, PAGE, PALETTE, canvas, section
from kitsnb.study.figures import NAMES, plain_log, whole_numbers

CLASSES = ("background", "kidney", "tumour")
#: What happens to a case, and its colour in ``split``.
ROLES = {"training": PALETTE[0], "validation": PALETTE[1], "cross-validation": PALETTE[2], "excluded": PALETTE[3],
         "not used": GREY}


def geometry(table: pd.DataFrame, simulated: bool) -> Figure:
    """Number of slices, spacing of slices and in-plane, and how the first two depend on each other."""
    figure, panels = canvas("Sizes and spacings", (PAGE, 4.6), 2, 2, simulated=simulated)
    panels = panels.ravel()
    labels = {"slices": "slices", "slice_mm": "slice spacing (mm)", "width_mm": "in-plane spacing (mm)"}
    for axes, (name, label) in zip(panels, labels.items()):
        sns.histplot(table[name], bins=20, ax=axes, color=GREY)
        axes.set(xlabel=label, ylabel="cases")
        whole_numbers(axes.yaxis)
    whole_numbers(panels[0].xaxis)
    for name, style in {"mean": "-", "median": ":"}.items():
        value = table.slices.agg(name)
        panels[0].axvline(value, color="black", linestyle=style, linewidth=1, label=f"{name} {value:.1f}")
    sns.scatterplot(table, x="slice_mm", y="slices", s=9, color=GREY, alpha=0.7, linewidth=0, ax=panels[3])
    edges = np.geomspace(0.9 * table.slice_mm.min(), 1.1 * table.slice_mm.max(), 50)
    for quantile, style in {0.1: ":", 0.9: "--"}.items():
        length = (table.slice_mm * table.slices).quantile(quantile)
        label = f"{quantile:.0%} of the scans are shorter than {length / 10:.0f} cm"
        panels[3].plot(edges, length / edges, color="black", linestyle=style, linewidth=0.8, label=label)
    panels[3].set(xlabel="slice spacing (mm)", ylabel="slices")
    plain_log(panels[3].xaxis, edges[0], edges[-1])
    plain_log(panels[3].yaxis, 0.9 * table.slices.min(), 1.1 * table.slices.max())
    for axes, columns in ((panels[0], 2), (panels[3], 1)):  # above, where no data lie whatever they are
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=columns)
    return figure


def imbalance(table: pd.DataFrame, simulated: bool) -> Figure:
    """Share of the voxels that each class takes, on a log scale: of all cases together, and case by case."""
    voxels = table[[f"{name}_voxels" for name in CLASSES]].set_axis(list(CLASSES), axis=1)
    pooled = 100 * voxels.sum() / voxels.sum().sum()
    each = 100 * voxels.div(voxels.sum(axis=1), axis=0)
    lowest = each[each > 0].min().min() / 2
    figure, (together, by_case) = canvas("Class imbalance", (PAGE, 2.4), 1, 2, simulated=simulated, sharey=True)
    bars = together.bar(pooled.index, pooled, color=[COLOURS[name] for name in CLASSES], width=0.6)
    together.bar_label(bars, [f"{share:.3f} %" for share in pooled], padding=2)
    together.set(ylabel="share of voxels (%)", ylim=(lowest, 300), title="all cases together")
    plain_log(together.yaxis, lowest, 100)
    sns.boxplot(each[each > 0], palette=COLOURS, width=0.5, fliersize=1.5, linecolor="black", linewidth=0.8, ax=by_case)
    by_case.set(title="case by case")
    return figure


def volumes(table: pd.DataFrame, simulated: bool) -> Figure:
    """Volume in ml of the two labels, and on how many of its slices a case shows them."""
    figure, (volume, shown) = canvas("Volumes", (PAGE, 2.4), 1, 2, simulated=simulated)
    present = {name: table[table[f"{name}_voxels"] > 0] for name in CLASSES[1:]}
    ml = {name: rows[f"{name}_ml"] for name, rows in present.items()}
    share = {name: 100 * rows[f"{name}_slices"] / rows.slices for name, rows in present.items()}
    options = {"palette": COLOURS, "alpha": 0.65, "linewidth": 0}
    sns.histplot(ml, bins=36, log_scale=True, ax=volume, **options)
    sns.histplot(share, bins=25, binrange=(0, 100), ax=shown, legend=False, **options)
    volume.set(xlabel="volume (ml)", ylabel="cases")
    everything = pd.concat(ml)
    plain_log(volume.xaxis, 0.9 * everything.min(), 1.1 * everything.max())
    shown.set(xlabel="slices that show the label (%)", ylabel="cases")
    for axes in (volume, shown):
        whole_numbers(axes.yaxis)
    return figure


def intensities(hu: np.ndarray, values: np.ndarray, window: tuple[float, float], simulated: bool) -> Figure:
    """HU within each label, as densities; ``window`` (HU) is what clipping keeps.

    ``hu``: voxels by class and HU, shape (3, n); ``values``: the n HU, one apart. Drawn in steps of 8 HU.
    """
    step, shown = 8, (-200, 400)
    figure, axes = canvas("HU within each label", (PAGE, 2.4), simulated=simulated)
    axes.axvspan(*window, color="#e4e4e4", zorder=0, label=f"window {window[0]:g} to {window[1]:g} HU")
    for name, counts in zip(CLASSES, hu, strict=True):
        if counts.sum():
            heights, edges = np.histogram(values, bins=np.arange(shown[0], shown[1] + step, step), weights=counts)
            heights = 100 * heights / counts.sum() / step
            axes.stairs(heights, edges, color=COLOURS[name], fill=name != "background", alpha=0.7, label=NAMES[name])
    axes.set(xlabel="CT number (HU)", ylabel="voxels of the label (% per HU)", xlim=shown)
    figure.legend(loc="outside right center")
    return figure


def split(table: pd.DataFrame, roles: Mapping[str, str], simulated: bool) -> Figure:
    """Tumour volume against the case's number, coloured by ``roles`` (case name to a key of ``ROLES``)."""
    found = table[table.tumour_voxels > 0].assign(
        number=lambda rows: rows.case.str.removeprefix("case_").astype(int), role=lambda rows: rows.case.map(roles))
    figure, axes = canvas("Split", (PAGE, 2.4), simulated=simulated)
    for name, colour in ROLES.items():
        if (found.role == name).any():
            count = sum(value == name for value in roles.values())
            axes.scatter("number", "tumour_ml", s=14, color=colour, marker="x" if name == "excluded" else "o",
                         data=found[found.role == name], label=f"{name} ({count})")
    axes.set(xlabel="number of the case", ylabel="tumour (ml)")
    whole_numbers(axes.xaxis)
    plain_log(axes.yaxis, 0.8 * found.tumour_ml.min(), 1.25 * found.tumour_ml.max())
    figure.legend(loc="outside right center")
    return figure


def clipping(
    imaging: np.ndarray, at: int, window: tuple[float, float], spacing: Sequence[float], simulated: bool
) -> Figure:
    """The seed paper's Figure 1: slice ``at`` of a CT [D, H, W] before and after its HU are clipped to ``window``.

    ``spacing`` in mm (slice, height, width). Each picture spends its grey scale on its own range of HU, as its bar
    says: this is what clipping is for.
    """
    figure, panels = canvas("Clipping", (PAGE, 2.9), 1, 2, simulated=simulated)
    ranges = {"before": (imaging[at].min(), imaging[at].max()), f"clipped to {window[0]:g} to {window[1]:g} HU": window}
    for axes, (title, (low, high)) in zip(panels, ranges.items(), strict=True):
        image = section(axes, imaging.clip(low, high), spacing, at, cmap="gray", vmin=low, vmax=high)
        axes.set_title(title)
        figure.colorbar(image, ax=axes, label="HU", shrink=0.9, pad=0.02).outline.set_visible(False)
    return figure

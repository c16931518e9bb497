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
    """Draw slices, spacing of slices and in-plane, and slices against their spacing."""
    figure, panels = canvas("Sizes and spacings", (PAGE, 4.2), 2, 2, simulated=simulated)
    *single, both = panels.ravel()
    labels = {"slices": "slices", "slice_mm": "slice spacing (mm)", "width_mm": "in-plane spacing (mm)"}
    for axes, (name, label) in zip(single, labels.items(), strict=True):
        sns.histplot(table[name], bins=20, ax=axes, color=GREY)
        axes.set(xlabel=label, ylabel="cases")
        whole_numbers(axes.yaxis)
    sns.scatterplot(table, x="slice_mm", y="slices", s=9, color=GREY, linewidth=0, ax=both)
    both.set(xlabel="slice spacing (mm)", ylabel="slices")
    plain_log(both.xaxis, 0.9 * table.slice_mm.min(), 1.1 * table.slice_mm.max())
    plain_log(both.yaxis, 0.9 * table.slices.min(), 1.1 * table.slices.max())
    return figure


def imbalance(table: pd.DataFrame, simulated: bool) -> Figure:
    """Draw the share of voxels that each class takes, on a log scale: of all cases together, and case by case."""
    voxels = table[[f"{name}_voxels" for name in CLASSES]].set_axis(list(CLASSES), axis=1)
    pooled = 100 * voxels.sum() / voxels.sum().sum()
    each = 100 * voxels.div(voxels.sum(axis=1), axis=0)
    lowest = each[each > 0].min().min() / 2
    figure, (together, by_case) = canvas("Class imbalance", (PAGE, 2.4), 1, 2, simulated=simulated, sharey=True)
    bars = together.bar(pooled.index, pooled, color=[COLOURS[name] for name in CLASSES], width=0.6)
    together.bar_label(bars, [f"{share:.3f} %" for share in pooled], padding=2)
    together.set(ylabel="share of voxels (%)", ylim=(lowest, 300), title="all cases together")
    plain_log(together.yaxis, lowest, 100)
    sns.boxplot(each[each > 0], palette=COLOURS, width=0.5, fliersize=1.5, linewidth=0.8, ax=by_case)
    by_case.set(title="case by case")
    return figure


def volumes(table: pd.DataFrame, simulated: bool) -> Figure:
    """Draw the volume in ml of the two labels, where there are any."""
    figure, axes = canvas("Volumes", (PAGE, 2.4), simulated=simulated)
    ml = {name: table[f"{name}_ml"][table[f"{name}_voxels"] > 0] for name in CLASSES[1:]}
    sns.histplot(ml, bins=36, log_scale=True, ax=axes, palette=COLOURS, alpha=0.65, linewidth=0)
    axes.set(xlabel="volume (ml)", ylabel="cases")
    everything = pd.concat(ml)
    plain_log(axes.xaxis, 0.9 * everything.min(), 1.1 * everything.max())
    whole_numbers(axes.yaxis)
    return figure


def intensities(hu: np.ndarray, values: np.ndarray, window: tuple[float, float], simulated: bool) -> Figure:
    """Draw HU within each label, as densities in steps of 8 HU; ``window`` (HU) is what clipping keeps.

    ``hu``: voxels by class and HU [3, n]; ``values``: the n HU, one apart.
    """
    figure, axes = canvas("HU within each label", (PAGE, 2.4), simulated=simulated)
    axes.axvspan(*window, color="#e4e4e4", zorder=0, label=f"window {window[0]:g} to {window[1]:g} HU")
    for name, counts in zip(CLASSES, hu, strict=True):
        if counts.sum():
            heights, edges = np.histogram(values, bins=np.arange(-200, 408, 8), weights=100 * counts / counts.sum() / 8)
            axes.stairs(heights, edges, color=COLOURS[name], fill=name != "background", alpha=0.7, label=NAMES[name])
    axes.set(xlabel="CT number (HU)", ylabel="voxels of the label (% per HU)", xlim=(-200, 400))
    figure.legend(loc="outside right center")
    return figure


def split(table: pd.DataFrame, roles: Mapping[str, str], simulated: bool) -> Figure:
    """Draw tumour volume against the case's place in the list, coloured by ``roles`` (case to a key of ``ROLES``)."""
    found = table[table.tumour_voxels > 0]
    figure, axes = canvas("Split", (PAGE, 2.4), simulated=simulated)
    for name, colour in ROLES.items():
        rows = found[found.case.map(roles) == name]
        if len(rows):
            axes.scatter(rows.index, rows.tumour_ml, s=14, color=colour, label=f"{name} ({len(rows)})")
    axes.set(xlabel="cases, in their order", ylabel="tumour (ml)")
    plain_log(axes.yaxis, 0.8 * found.tumour_ml.min(), 1.25 * found.tumour_ml.max())
    figure.legend(loc="outside right center")
    return figure


def clipping(
    imaging: np.ndarray, at: int, window: tuple[float, float], spacing: Sequence[float], simulated: bool
) -> Figure:
    """Draw the seed paper's Figure 1: slice ``at`` of a CT [D, H, W] before and after HU are clipped to ``window``."""
    figure, panels = canvas("Clipping", (PAGE, 2.9), 1, 2, simulated=simulated)
    ranges = {"before": (imaging[at].min(), imaging[at].max()), f"clipped to {window[0]:g} to {window[1]:g} HU": window}
    for axes, (title, (low, high)) in zip(panels, ranges.items(), strict=True):
        image = section(axes, imaging.clip(low, high), spacing, at, cmap="gray", vmin=low, vmax=high)
        axes.set_title(title)
        figure.colorbar(image, ax=axes, label="HU", shrink=0.9, pad=0.02).outline.set_visible(False)
    return figure

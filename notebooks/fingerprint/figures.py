"""Figures of the data; ``table`` is that of ``measure_cases``. Of simulated data, headings say so."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from numpy import ndarray

from kitsnb.drawing import COLOURS, GREY, PAGE, canvas, section
from kitsnb.study.figures import plain_log

from fingerprint.measure import CLASSES, HU, VOXELS

WIDE = (PAGE, 2.4)


def log_scale(axis: Axis, values: pd.Series) -> None:
    """Make ``axis`` logarithmic, for positive ``values``."""
    plain_log(axis, 0.9 * values.min(), 1.1 * values.max())


def geometry(table: pd.DataFrame, simulated: bool) -> Figure:
    """Draw the number of slices against their spacing."""
    figure, axes = canvas("Sizes and spacings", WIDE, simulated=simulated)
    axes.scatter(table.slice_mm, table.slices, s=9, color=GREY)
    axes.set(xlabel="slice spacing (mm)", ylabel="slices")
    log_scale(axes.xaxis, table.slice_mm)
    log_scale(axes.yaxis, table.slices)
    return figure


def imbalance(table: pd.DataFrame, simulated: bool) -> Figure:
    """Draw the share of each class in the voxels, on a log scale: case by case, and below of all cases together."""
    voxels = table[VOXELS].set_axis(CLASSES, axis=1)
    shares = 100 * voxels.div(voxels.sum(axis=1), axis=0)
    shares = shares[shares > 0]
    pooled = 100 * voxels.sum() / voxels.to_numpy().sum()
    figure, axes = canvas("Class imbalance", WIDE, simulated=simulated)
    sns.boxenplot(shares, palette=COLOURS, width=0.4, ax=axes)
    names = [f"{name}\n{share:.3f} % of all voxels" for name, share in pooled.items()]
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("share of a case's voxels (%)")
    log_scale(axes.yaxis, shares.stack())
    return figure


def volumes(table: pd.DataFrame, simulated: bool) -> Figure:
    """Draw the volume in ml of the two labels, where there are any."""
    figure, axes = canvas("Volumes", WIDE, simulated=simulated)
    ml = table[["kidney_ml", "tumour_ml"]].set_axis(["kidney", "tumour"], axis=1)
    ml = ml[ml > 0]
    sns.histplot(ml, bins=36, log_scale=True, palette=COLOURS, ax=axes)
    axes.set(xlabel="volume (ml)", ylabel="cases")
    log_scale(axes.xaxis, ml.stack())
    axes.yaxis.get_major_locator().set_params(integer=True)
    return figure


def intensities(hu: ndarray, window: tuple[float, float], simulated: bool) -> Figure:
    """Draw ``hu_histogram`` as densities in steps of 8 HU; ``window`` (HU) is what clipping keeps."""
    figure, axes = canvas("HU within each label", WIDE, simulated=simulated)
    axes.axvspan(*window, color="#e4e4e4", zorder=0, label=f"window {window[0]:g} to {window[1]:g} HU")
    bins = np.arange(-200, 408, 8)
    for name, counts in zip(CLASSES, hu, strict=True):
        percent = 100 * counts / max(1, counts.sum())
        heights, _ = np.histogram(HU, bins, weights=percent / 8)
        filled = name != "background"
        axes.stairs(heights, bins, color=COLOURS[name], fill=filled, alpha=0.7, label=name)
    axes.set(xlabel="CT number (HU)", ylabel="voxels of the label (% per HU)", xlim=(-200, 400))
    figure.legend(loc="outside right center")
    return figure


def clipping(
    imaging: ndarray, at: int, window: tuple[float, float], spacing: Sequence[float], simulated: bool
) -> Figure:
    """Draw the seed paper's Figure 1: slice ``at`` of a CT [D, H, W] before and after HU are clipped to ``window``."""
    figure, panels = canvas("Clipping", (PAGE, 2.9), 1, 2, simulated=simulated)
    low, high = window
    volumes = {"before": imaging, f"clipped to {low:g} to {high:g} HU": imaging.clip(low, high)}
    for axes, (title, volume) in zip(panels, volumes.items()):
        image = section(axes, volume, spacing, at, cmap="gray")
        axes.set_title(title)
        bar = figure.colorbar(image, ax=axes, label="HU", shrink=0.9)
        bar.outline.set_visible(False)
    return figure

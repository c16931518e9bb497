"""Figures of the losses: their errors on slices, value and gradient along error paths, who gets the gradient, slopes.

Losses keep their colour: one a base loss, dashed for its log-cosh form.
"""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kitsnb.losses.registry import LOG_COSH
from kitsnb.study.error_paths import PATHS, Geometry
from kitsnb.study.figures import COLOURS, NAMES, PAGE
from kitsnb.study.probes import STAGES


def named(geometry: Geometry) -> str:
    return f"{geometry.name}, simulated anatomy" if geometry.simulated else f"{geometry.name}, KiTS19 label"


def line_styles(rows: Sequence[Mapping]) -> dict[str, dict]:
    """Colour and dashes of each row of Table 1 (``name``, ``loss``, ``parameters``), by its name.

    The base of a row is its loss without log-cosh, with the parameters that shape it.
    """
    bases, styles = [], {}
    for row in rows:
        parameters = {key: value for key, value in (row.get("parameters") or {}).items() if key != "batch"}
        base = (row["loss"].removeprefix(LOG_COSH), str(sorted(parameters.items())))
        if base not in bases:
            bases.append(base)
        styles[row["name"]] = {"base": bases.index(base), "linestyle": "--" if row["loss"].startswith(LOG_COSH) else "-"}
    palette = sns.color_palette("colorblind", 10) + sns.color_palette("dark", 10)
    return {name: {"color": palette[style["base"] % 20], "linestyle": style["linestyle"]} for name, style in styles.items()}


def error_slices(geometry: Geometry) -> Figure:
    """The label and, for each error path, the prediction at half its way, on the slice with most tumour (contours)."""
    index = int((geometry.segmentation == 2).sum((1, 2)).argmax())
    panels = {"label": geometry.segmentation}
    panels |= {name: path.make(geometry, path.most(geometry) / 2) for name, path in PATHS.items()}
    figure = Figure(figsize=(PAGE, 1.75), layout="constrained")
    height, width = (size * step for size, step in zip(geometry.segmentation.shape[1:], geometry.spacing[1:]))
    for axes, (title, labels) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        # The invented tumour lies elsewhere: each panel shows the slice where it differs most from the label.
        differs = ((labels == 2) != (geometry.segmentation == 2)).sum((1, 2))
        shown = int(differs.argmax()) if title.endswith("tumour") else index
        axes.imshow(colour(labels[shown]), extent=(0, width, height, 0), interpolation="nearest")
        axes.contour(geometry.segmentation[shown] > 0, [0.5], colors="black", linewidths=0.6, extent=(0, width, 0, height))
        axes.set(xticks=[], yticks=[], frame_on=False, xlim=(0, width), ylim=(height, 0))
        axes.set_title(title, fontsize="small")
    figure.suptitle(f"Errors at half their way ({named(geometry)}): kidney blue, tumour orange, outline of the label black")
    return figure


def colour(labels: np.ndarray) -> np.ndarray:
    """RGB image of a slice of labels."""
    picture = np.full((*labels.shape, 3), 0.93)
    for label, name in ((1, "kidney"), (2, "tumour")):
        picture[labels == label] = [int(COLOURS[name][at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return picture


def error_paths(table: pd.DataFrame, rows: Sequence[Mapping], geometry: Geometry) -> Figure:
    """Value (top, over that of finding nothing) and size of the gradient (bottom, logarithmic) along each error path.

    ``table`` is that of ``anatomy.along_paths``; a line a loss of ``rows``.
    """
    styles, titles = line_styles(rows), {row["name"]: row.get("title", row["name"]) for row in rows}
    figure = Figure(figsize=(PAGE, 4.1), layout="constrained")
    grid = figure.subplots(2, len(PATHS), sharey="row", sharex="col")
    for (top, bottom), (name, path) in zip(grid.T, PATHS.items(), strict=True):
        part = table[table.path == name]
        for loss, style in styles.items():
            line = part[part.loss == loss]
            top.plot(line.amount, line.relative, linewidth=1.1, **style)
            bottom.plot(line.amount, line.gradient, linewidth=1.1, **style)
        top.set_title(name, fontsize="medium")
        bottom.set_xlabel(path.unit)
        bottom.set_yscale("log")
    grid[0, 0].set_ylabel("loss / loss of finding nothing")
    grid[1, 0].set_ylabel("size of the gradient")
    _legend(figure, styles, titles)
    figure.suptitle(f"Losses along controlled errors ({named(geometry)})")
    return figure


def _legend(figure: Figure, styles: Mapping[str, Mapping], titles: Mapping[str, str]) -> None:
    handles = [Line2D([], [], label=titles[name], linewidth=1.3, **style) for name, style in styles.items()]
    longest = max(len(title) for title in titles.values())
    figure.legend(handles=handles, loc="outside lower center", ncols=4 if longest < 32 else 3, frameon=False, fontsize="small")


def gradient_shares(table: pd.DataFrame, rows: Sequence[Mapping], shares: Sequence[float]) -> Figure:
    """The part of the gradient that falls on kidney and tumour voxels, by loss and stage of training (logarithmic).

    ``table`` is that of ``anatomy.gradient_shares``; dotted lines are the classes' own ``shares`` of the voxels.
    """
    titles = [row.get("title", row["name"]) for row in rows]
    figure = Figure(figsize=(PAGE, 0.95 + 0.21 * len(rows)), layout="constrained")
    lowest = table[["share_1", "share_2"]].to_numpy()
    for axes, stage in zip(figure.subplots(1, len(STAGES), sharey=True, sharex=True), STAGES, strict=True):
        part = table[table.stage == stage].set_index("loss").loc[[row["name"] for row in rows]]
        places = np.arange(len(rows))
        axes.hlines(places, part[["share_1", "share_2"]].min(axis=1), part[["share_1", "share_2"]].max(axis=1), color="#d9d9d9")
        for label, name, marker in ((1, "kidney", "o"), (2, "tumour", "D")):
            axes.plot(part[f"share_{label}"], places, marker, color=COLOURS[name], markersize=4)
            axes.axvline(shares[label], color=COLOURS[name], linestyle=":", linewidth=0.9)
        axes.set_title(stage, fontsize="medium")
        axes.set(xscale="log", xlabel="share of the gradient", xlim=(min(lowest[lowest > 0].min(), shares[2]) / 2, 1))
    figure.axes[0].set_yticks(np.arange(len(rows)), [textwrap.shorten(title, 40) for title in titles])
    figure.axes[0].set_ylim(len(rows) - 0.5, -0.5)
    handles = [Line2D([], [], color=COLOURS[name], marker=marker, linestyle="", markersize=4, label=f"on {NAMES[name]} voxels")
               for name, marker in (("kidney", "o"), ("tumour", "D"))]
    handles.append(Line2D([], [], color="black", linestyle=":", label="share of the voxels"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle("Who gets the gradient at KiTS19's imbalance (random logits)")
    return figure


def slopes(exponents: Sequence[float]) -> Figure:
    """Left: slope of log-cosh, tanh of the loss. Right: slope of (1 - TI)^exponent against the index TI."""
    figure = Figure(figsize=(PAGE, 2.3), layout="constrained")
    left, right = figure.subplots(1, 2)
    loss = np.linspace(0, 3, 200)
    left.plot(loss, np.tanh(loss), color=COLOURS["composite"])
    left.axhline(1, color="#9a9a9a", linestyle=":", linewidth=0.9)
    left.set(xlabel="loss", ylabel="factor on its gradient", ylim=(0, 1.05), title="log-cosh: tanh of the loss")
    index = np.linspace(0, 0.999, 400)
    for exponent, colours in zip(exponents, sns.color_palette("colorblind", len(exponents)), strict=True):
        right.plot(index, exponent * (1 - index) ** (exponent - 1), label=f"exponent {exponent:g}", color=colours)
    right.set(xlabel="Tversky index of a class", ylabel="slope", yscale="log", ylim=(1e-4, 20))
    right.set_title("focal Tversky: slope of (1 − TI)^exponent")
    right.legend(frameon=False)
    return figure

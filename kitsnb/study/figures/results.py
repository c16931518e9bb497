"""Figures of the results: training curves, scores per case, comparisons, slices and Table 1 as a picture.

A score is a Dice coefficient in [0, 1]; the columns of a score table are those of ``scores.csv``. An undefined score (NaN)
is never drawn as a number: the figure says how many there are. Figures of simulated data say so in their heading.
"""

import textwrap
from collections.abc import Mapping, Sequence

import nibabel as nib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from kitsnb.study.figures import COLOURS, COLUMN, NAMES, PAGE

CLASSES = ("background", "kidney", "tumour")
#: The columns of the seed paper's Table 1.
TABLE_COLUMNS = ("kidney_and_tumour", "kidney", "tumour")
GREY = "#9a9a9a"
LINES = {"training": "--", "validation": "-"}
#: Names of cases are written below the axis up to this many cases.
NAMED_CASES = 16


def heading(title: str, simulated: bool) -> str:
    return f"{title} (simulated CT)" if simulated else title


def training_curves(history: pd.DataFrame, title: str, simulated: bool, best_epoch: int | None = None) -> Figure:
    """Loss (left) and soft Dice per class (right) against the epoch, for training (dashed) and validation (solid).

    ``history`` is a run's ``history.csv``; epochs without validation are bridged. ``best_epoch`` is the epoch of the
    checkpoint that is evaluated; None takes the one with the lowest validation loss.
    """
    figure = Figure(figsize=(PAGE, 2.35), layout="constrained")
    loss, dice = figure.subplots(1, 2)
    for split, style in LINES.items():
        _curve(loss, history, f"{split}_loss", COLOURS["composite"], style)
        for name in CLASSES:
            _curve(dice, history, f"{split}_{name}", COLOURS[name], style)
    if best_epoch is None and history.validation_loss.notna().any():
        best_epoch = int(history.epoch[history.validation_loss.idxmin()])
    if best_epoch is not None:
        for axes in (loss, dice):
            axes.axvline(best_epoch, color=GREY, linewidth=0.9, linestyle=":", zorder=0)
    loss.set(xlabel="epoch", ylabel="loss")
    dice.set(xlabel="epoch", ylabel="soft Dice", ylim=(-0.02, 1.02))
    for axes in (loss, dice):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles = [Line2D([], [], color=COLOURS[name], label=NAMES[name]) for name in CLASSES]
    handles += [Line2D([], [], color="black", linestyle=style, label=label) for label, style in LINES.items()]
    if best_epoch is not None:
        handles.append(Line2D([], [], color=GREY, linestyle=":", label=f"checkpoint, epoch {best_epoch}"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, columnspacing=1.4)
    figure.suptitle(heading(title, simulated))
    return figure


def _curve(axes: Axes, history: pd.DataFrame, column: str, colour: str, style: str) -> None:
    points = history[["epoch", column]].dropna()
    marker = "." if len(points) < 8 else ""
    axes.plot(points.epoch, points[column], color=colour, linestyle=style, linewidth=1.2, marker=marker)


def case_scores(scores: pd.DataFrame, title: str, simulated: bool) -> Figure:
    """Kidney and tumour Dice of every case, sorted by tumour Dice, with the means as lines. Column width.

    ``scores`` is indexed by case. Cases without a defined tumour score stand at the right, without a tumour dot.
    """
    ordered = scores.sort_values(["tumour", "kidney"], na_position="last")
    figure = Figure(figsize=(COLUMN, 2.5), layout="constrained")
    axes = figure.subplots()
    positions = np.arange(len(ordered))
    axes.vlines(positions, ordered[["kidney", "tumour"]].min(axis=1), ordered[["kidney", "tumour"]].max(axis=1),
                color="#d9d9d9", linewidth=0.8, zorder=0)
    handles = []
    for name in ("kidney", "tumour"):
        mean, undefined = ordered[name].mean(), int(ordered[name].isna().sum())
        axes.plot(positions, ordered[name], "o", color=COLOURS[name], markersize=3.6, clip_on=False)
        if np.isfinite(mean):
            axes.axhline(mean, color=COLOURS[name], linewidth=0.9, linestyle="--", zorder=0)
        label = NAMES[name] + (f", mean {mean:.3f}" if np.isfinite(mean) else "")
        label += f", {undefined} undefined" if undefined else ""
        handles.append(Line2D([], [], color=COLOURS[name], marker="o", markersize=3.6, linestyle="--", label=label))
    axes.set(ylabel="Dice", ylim=(-0.02, 1.02), xlim=(-0.7, len(ordered) - 0.3))
    _case_axis(axes, ordered.index, "tumour Dice")
    _legend_below(figure, handles)
    figure.suptitle(heading(title, simulated))
    return figure


def best_against_baseline(
    best: pd.DataFrame, baseline: pd.DataFrame, columns: Sequence[str], names: tuple[str, str], simulated: bool
) -> Figure:
    """Both experiments' Dice of every case, joined by a line: one panel for each of ``columns``.

    ``best`` and ``baseline`` are indexed by case, ``names`` are their titles in this order. Cases are sorted by the
    baseline's score. Coloured lines rise from baseline to best, grey ones fall. Cases undefined in either are left out,
    and counted.
    """
    figure = Figure(figsize=(COLUMN if len(columns) == 1 else PAGE, 2.6), layout="constrained")
    for axes, column in zip(np.atleast_1d(figure.subplots(1, len(columns), sharey=True)), columns, strict=True):
        pairs = pd.DataFrame({"best": best[column], "baseline": baseline[column]})
        paired = pairs.dropna().sort_values("baseline")
        positions, colours = np.arange(len(paired)), np.where(paired.best >= paired.baseline, COLOURS[column], GREY)
        axes.vlines(positions, paired.baseline, paired.best, color=colours, linewidth=1.1)
        dots = {"s": 13, "edgecolors": colours, "linewidths": 0.9, "clip_on": False}
        axes.scatter(positions, paired.baseline, color="white", zorder=2, **dots)
        axes.scatter(positions, paired.best, color=colours, zorder=3, **dots)
        rises, left_out = int((paired.best > paired.baseline).sum()), len(pairs) - len(paired)
        undefined = f", {left_out} undefined" if left_out else ""
        axes.set_title(f"{NAMES[column]}: higher in {rises} of {len(paired)} cases{undefined}", fontsize="medium")
        axes.set(ylim=(-0.02, 1.02), xlim=(-0.7, max(len(paired), 1) - 0.3))
        _case_axis(axes, paired.index, f"{names[1]}")
    figure.axes[0].set_ylabel("Dice")
    dot = {"linestyle": "", "marker": "o", "markersize": 4, "markeredgecolor": "black"}
    handles = [Line2D([], [], markerfacecolor="white", label=names[1], **dot),
               Line2D([], [], markerfacecolor="black", label=names[0], **dot)]
    _legend_below(figure, handles)
    title = heading(f"{names[0]} against {names[1]}", simulated)
    figure.suptitle(textwrap.fill(title, 44, break_on_hyphens=False) if len(columns) == 1 else title)
    return figure


def _case_axis(axes: Axes, cases: Sequence[str], order: str) -> None:
    """Name the cases below ``axes`` where there is room, else count them."""
    if len(cases) <= NAMED_CASES:
        numbers = [str(case).removeprefix("case_").lstrip("0") or "0" for case in cases]
        axes.set_xticks(range(len(cases)), numbers, fontsize="small")
    else:
        axes.set_xticks([])
    axes.set_xlabel(f"case number, by {order}" if len(cases) <= NAMED_CASES else f"{len(cases)} cases, by {order}")


def _legend_below(figure: Figure, handles: Sequence[Line2D]) -> None:
    wide = figure.get_size_inches()[0] > COLUMN or sum(len(handle.get_label()) for handle in handles) < 46
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles) if wide else 1, frameon=False)


def slices(
    imaging: np.ndarray,
    reference: np.ndarray,
    prediction: np.ndarray,
    affine: np.ndarray,
    title: str,
    simulated: bool,
    window: tuple[float, float] = (-160.0, 240.0),
    margin: float = 25.0,
) -> Figure:
    """Three axial slices through the tumour: CT with the reference's contours (top) and the prediction's (bottom).

    The three arrays share shape and ``affine`` and may lie in any orientation; they are shown as a radiologist sees them,
    patient's left on the right and anterior up, with the aspect of the spacing. ``window`` is in HU. The view is cropped
    to what either segmentation marks on the slices shown, and ``margin`` mm around it. Above each: mm from the middle one.
    """
    (imaging, reference, prediction), spacing = to_radiological((imaging, reference, prediction), affine)
    shown = tumour_slices(reference)
    rows, columns = _crop((reference > 0) | (prediction > 0), shown, margin / spacing[:2])
    width, height = (columns.stop - columns.start) * spacing[0], (rows.stop - rows.start) * spacing[1]
    tall = min((PAGE - 0.6) / 3 * height / width, 2.6)
    figure = Figure(figsize=(PAGE, 2 * tall + 0.85), layout="constrained")
    axes = figure.subplots(2, 3, squeeze=False)
    extent = (0, width, height, 0)
    for row, (name, labels) in enumerate({"reference": reference, "prediction": prediction}.items()):
        for column, index in enumerate(shown):
            panel = axes[row, column]
            view = (columns, rows, index)
            panel.imshow(imaging[view].T, cmap="gray", vmin=window[0], vmax=window[1], extent=extent, aspect="equal")
            for label, colour in ((1, COLOURS["kidney"]), (2, COLOURS["tumour"])):
                _outline(panel, labels[view].T == label, colour, extent)
            # The contour of a mask padded by a voxel would widen the axes, and only where there is one.
            panel.set(xticks=[], yticks=[], frame_on=False, xlim=extent[:2], ylim=extent[2:])
            if row == 0:
                panel.set_title(f"{(index - shown[len(shown) // 2]) * spacing[2]:+.0f} mm", fontsize="medium")
        axes[row, 0].set_ylabel(name)
    axes[0, 0].text(0.02, 0.5, "R", transform=axes[0, 0].transAxes, color="white", va="center")
    axes[0, 0].text(0.98, 0.5, "L", transform=axes[0, 0].transAxes, color="white", va="center", ha="right")
    handles = [Line2D([], [], color=COLOURS[name], label=name) for name in ("kidney", "tumour")]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(heading(title, simulated))
    return figure


def to_radiological(arrays: Sequence[np.ndarray], affine: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """``arrays`` (three axes each) with axes pointing left, posterior, superior, and the spacing of these in mm.

    Only permutes and flips, so an oblique volume is shown in the nearest such orientation.
    """
    turn = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt("LPS"))
    turned = [nib.orientations.apply_orientation(array, turn) for array in arrays]
    back = nib.orientations.inv_ornt_aff(turn, arrays[0].shape)
    return turned, np.asarray(nib.affines.voxel_sizes(affine @ back))


def tumour_slices(reference: np.ndarray) -> list[int]:
    """Three slices (last axis) at the quartiles of the tumour's voxels, from top to bottom.

    Of the kidney where there is no tumour. A small tumour repeats none: neighbours are taken instead. Raises ValueError for a reference without any label.
    """
    volume = reference == 2 if (reference == 2).any() else reference == 1
    if not volume.any():
        raise ValueError("the reference holds neither kidney nor tumour, so there is no slice to show")
    cumulative = np.cumsum(volume.sum(axis=(0, 1))) / volume.sum()
    low, middle, high = (int(np.searchsorted(cumulative, quantile)) for quantile in (0.25, 0.5, 0.75))
    last = reference.shape[2] - 1
    chosen = {max(0, min(low, middle - 1)), middle, min(last, max(high, middle + 1))}
    return sorted(chosen | set(range(min(3, last + 1))) if len(chosen) < 3 else chosen, reverse=True)[:3]


def _crop(marked: np.ndarray, shown: Sequence[int], margin: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns (axes 1 and 0) around what is ``marked`` on the slices ``shown``; ``margin`` in voxels."""
    flat = marked[:, :, list(shown)].any(axis=2)
    bounds = []
    for axis in (0, 1):
        found = np.flatnonzero(flat.any(axis=1 - axis))
        pad = int(np.ceil(margin[axis]))
        bounds.append(slice(max(0, found[0] - pad), min(flat.shape[axis], found[-1] + pad + 1)))
    return bounds[1], bounds[0]


def _outline(axes: Axes, mask: np.ndarray, colour: str, extent: tuple[float, float, float, float]) -> None:
    """Contour between the voxels of ``mask`` (rows, columns) and the others."""
    if not mask.any():
        return
    mask = np.pad(mask, 1).astype(np.float32)
    rows, columns = (np.arange(size) - 0.5 for size in mask.shape)
    across, down = extent[1] / (mask.shape[1] - 2), extent[2] / (mask.shape[0] - 2)
    axes.contour(columns * across, rows * down, mask, levels=[0.5], colors=[colour], linewidths=1.1)


def table1(table: Sequence[Mapping], simulated: bool) -> Figure:
    """Table 1 as a picture: mean (dot), standard deviation over cases (bar, cut to [0, 1]), seed paper's value (hollow).

    ``table`` is that of ``results.json``.
    """
    figure = Figure(figsize=(PAGE, 0.95 + 0.27 * len(table)), layout="constrained")
    rows = np.arange(len(table))
    for axes, column in zip(figure.subplots(1, len(TABLE_COLUMNS), sharey=True), TABLE_COLUMNS, strict=True):
        # None becomes NaN, which is not drawn.
        mean, sd = (np.array([row["scores"][column][key] for row in table], dtype=float) for key in ("mean", "sd"))
        paper = np.array([row["paper"][column] if row["paper"] else None for row in table], dtype=float)
        low, high = np.clip(mean - np.nan_to_num(sd), 0, 1), np.clip(mean + np.nan_to_num(sd), 0, 1)
        axes.hlines(rows, low, high, color=COLOURS[column], linewidth=1.6, alpha=0.45)
        axes.plot(mean, rows, "o", color=COLOURS[column], markersize=4.5)
        axes.plot(paper, rows, "D", color="black", markerfacecolor="none", markersize=4.5, markeredgewidth=0.8)
        axes.set_title(NAMES[column], fontsize="medium")
        axes.set(xlim=(-0.03, 1.03), ylim=(len(table) - 0.5, -0.5), xlabel="Dice")
        axes.grid(axis="y", linewidth=0.4)
    figure.axes[0].set_yticks(rows, [row["title"] for row in table])
    handles = [Line2D([], [], color=GREY, marker="o", markersize=4.5, label="here: mean ± sd over cases"),
               Line2D([], [], color="black", marker="D", markerfacecolor="none", markersize=4.5, linestyle="",
                      label="seed paper")]
    _legend_below(figure, handles)
    figure.suptitle(heading("Mean Dice of each loss", simulated))
    return figure


def tumour_volume(scores: Mapping[str, pd.DataFrame], simulated: bool) -> Figure:
    """Tumour Dice of every case against the tumour's volume (ml, logarithmic): mean and range over the experiments.

    ``scores`` maps experiments to tables indexed by case, with ``tumour`` and ``tumour_ml``. Cases without tumour are
    left out.
    """
    volume = next(iter(scores.values())).tumour_ml
    dice = pd.DataFrame({name: table.tumour for name, table in scores.items()})
    drawn = (volume > 0) & dice.notna().any(axis=1)
    volume, dice = volume[drawn], dice[drawn]
    figure = Figure(figsize=(COLUMN, 2.5), layout="constrained")
    axes = figure.subplots()
    axes.vlines(volume, dice.min(axis=1), dice.max(axis=1), color=COLOURS["tumour"], linewidth=1.4, alpha=0.35)
    axes.plot(volume, dice.mean(axis=1), "o", color=COLOURS["tumour"], markersize=3.6, clip_on=False)
    axes.set(xscale="log", xlabel="tumour volume (ml)", ylabel="tumour Dice", ylim=(-0.02, 1.02))
    axes.xaxis.set_major_formatter("{x:g}")
    handles = [Line2D([], [], color=COLOURS["tumour"], marker="o", markersize=3.6,
                      label=f"mean and range over {len(scores)} losses")]
    _legend_below(figure, handles)
    figure.suptitle(heading("Tumour Dice by size", simulated))
    return figure

"""Figure of the benchmarks: time and memory as ratios to the peers."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kitsnb.study.figures import COLOURS, PAGE


def ratios(rows: Sequence[Mapping]) -> Figure:
    """Time (dot) and memory (diamond) of each job over its peer's, logarithmic; the line at one is the peer.

    ``rows`` are those of ``peers``; what was not measured (None) is not drawn.
    """
    figure = Figure(figsize=(PAGE, 0.9 + 0.22 * len(rows)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(rows))
    for key, name, marker in (("time_ratio", "kidney", "o"), ("memory_ratio", "tumour", "D")):
        values = np.array([row[key] for row in rows], dtype=float)
        axes.plot(values, places, marker, color=COLOURS[name], markersize=4)
    axes.axvline(1, color="#9a9a9a", linestyle=":", linewidth=0.9)
    axes.set(xscale="log", xlabel="ratio to the peer", ylim=(len(rows) - 0.5, -0.5))
    axes.set_yticks(places, [f"{row['job']} ({row['peer']})" for row in rows], fontsize="x-small")
    axes.xaxis.set_major_formatter("{x:g}")
    handles = [Line2D([], [], color=COLOURS[name], marker=marker, linestyle="", markersize=4, label=label)
               for name, marker, label in (("kidney", "o", "time"), ("tumour", "D", "memory"))]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle("Cost over that of the peers")
    return figure

# ---
# jupyter:
#   jupytext:
#     notebook_metadata_filter: -jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 6. What it costs, beside its peers
#
# Each job is done here and by a well-known package, in one process, on one thread, in random turns; times are medians of the
# thread's CPU time. Only ratios are worth quoting: below one, kitsnb needs less. Inputs are simulated, except that the metric
# uses real KiTS19 labels where there are some. The functions lie in `notebooks/peers/`, not in the package.

# %% tags=["parameters"]
build = "build/benchmarks"  # folder of all output, from the repository's root
by_runner = False  # True: executed by make, which writes results and the README's tables; by hand a notebook only looks
parts = ["losses"]  # what is measured: reading, preprocessing, sampling, inference, metric, losses, steps (make bench: all)
repeats = 3  # rounds of each comparison
folder: str | None = None  # KiTS19 data (labels suffice) for the metric; None: phantoms
validation = [166, 209]  # the cases whose labels the metric is timed on
loss_sizes = [[1, 3, 80, 80, 80]]  # logits of the losses
readme = False  # rewrite the tables in README.md

# %%
import sys
from importlib.metadata import version

import pandas as pd
import seaborn
from IPython.display import Markdown, display
from matplotlib import pyplot

from kitsnb.drawing import PAGE
from kitsnb.files import ROOT, Build, resolve, write_between, write_json
from kitsnb.study import figures
from kitsnb.training.precision import machine

sys.path.append(str(ROOT / "notebooks"))
from peers import jobs, steps
from peers.readme import BEGIN, END, table, table_of_steps

# %matplotlib inline
figures.use_style()
build = Build(build)
rows, timed = [], []
UNITS = {"milliseconds": "time (ms)", "time_ratio": "time, ratio to the peer", "megabytes": "memory (MB)",
         "memory_ratio": "memory, ratio to the peer"}


def show(part, *arguments, rounds=repeats):
    """Measure and show one of `parts`, if it is asked for."""
    if part in parts:
        rows.extend(found := getattr(jobs, part)(rounds, *arguments))
        table_of_part = pd.DataFrame(found).dropna(axis=1, how="all").rename(columns=UNITS)
        display(table_of_part.style.hide().format(precision=3))
    else:
        display(Markdown(f"Not measured: `parts` does not name “{part}”."))


# %% [markdown]
# ## Reading
#
# The whole gzip stream, so that its checksum is verified; nibabel's plain read does not verify it.

# %%
show("reading")

# %% [markdown]
# ## From volume to working grid

# %%
show("preprocessing")

# %% [markdown]
# ## Patches
#
# All eight augmentations at once. torchio gets its patch already cut.

# %%
show("sampling", rounds=5 * repeats)

# %% [markdown]
# ## Sliding window

# %%
show("inference", rounds=5 * repeats)

# %% [markdown]
# ## The score
#
# Against the plain computation with full-size boolean arrays; the two must be exactly equal.

# %%
show("metric", jobs.labels_for(folder and resolve(folder), validation), rounds=1 if folder else repeats)

# %% [markdown]
# ## Losses
#
# Forward and backward; memory is what torch held.

# %%
show("losses", loss_sizes, rounds=5 * repeats)

# %% [markdown]
# ## A step of training
#
# Network, loss and optimizer in each precision and layout, on random patches, and what the arithmetic alone would take in
# matrix products of that precision on this machine. Which one is fastest hangs on the CPU or GPU: `precision: auto` tries it
# before a run.

# %%
if "steps" in parts:
    timed = steps.compare_steps(repeats)
    taken = pd.DataFrame(timed).assign(share=lambda found: found.floor / found.seconds)
    units = {"seconds": "a step (s)", "floor": "its arithmetic alone (s)", "share": "share of arithmetic"}
    display(taken.rename(columns=units).style.hide().format(precision=3))
else:
    display(Markdown("Not measured: `parts` does not name “steps”."))

# %% [markdown]
# ## All together

# %%
if rows:
    found = pd.DataFrame(rows).rename(columns={"time_ratio": "time", "memory_ratio": "memory"})
    found = found.assign(name=found.job + " (" + found.peer + ")").melt("name", ["time", "memory"], "cost", "ratio").dropna()
    figure, axes = pyplot.subplots(figsize=(PAGE, 0.9 + 0.25 * found.name.nunique()), layout="constrained")
    seaborn.scatterplot(found, x="ratio", y="name", hue="cost", style="cost", ax=axes)
    axes.axvline(1, color="#9a9a9a", linestyle=":", linewidth=0.9)
    axes.set(xscale="log", xlabel="ratio to the peer (below one: kitsnb needs less)", ylabel="")
    if by_runner:
        figures.save(figure, build.figures / "benchmarks.svg")

# %%
packages = ", ".join(f"{name} {version(name)}" for name in ("torchio", "monai", "nibabel"))
note = f"Medians of one thread's CPU time, {repeats} rounds, on {machine()}; {packages}."
if by_runner:
    write_json(build.benchmarks, {"rows": rows, "steps": timed, "note": note})
if by_runner and readme:
    parts = [table(rows), note, *([table_of_steps(timed)] if timed else [])]
    write_between(ROOT / "README.md", BEGIN, END, parts)

# %% [markdown]
# ## What we saw
#
# Ratios hold for these sizes, on one thread; the README has them as measured by `make bench`, with the machine's name.

# %%
lines = []
for ratio, what in (("time_ratio", "time"), ("memory_ratio", "memory")):
    ratios = [row[ratio] for row in rows if row.get(ratio)]
    if ratios:
        less = sum(value < 1 for value in ratios)
        lines.append(f"- kitsnb needs less {what} than the peer in {less} of {len(ratios)} comparisons "
                     f"(ratios from {min(ratios):.2f} to {max(ratios):.2f}).")
Markdown("\n".join(lines) or "Nothing was measured.")

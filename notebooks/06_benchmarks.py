# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
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
# uses real KiTS19 labels where there are some.

# %% tags=["parameters"]
build = "build/benchmarks"  # folder of all output, from the repository's root
parts = ["reading", "preprocessing", "sampling", "inference", "metric", "losses"]  # what is measured; "training": minutes
repeats = 5  # rounds of each comparison
folder: str | None = None  # KiTS19 data (labels suffice) for the metric; None: phantoms
validation = [166, 209]  # the cases whose labels the metric is timed on
loss_sizes = [[1, 3, 80, 80, 80], [2, 3, 128, 128, 128]]  # logits of the losses
step: dict = {}  # of "training": settings of peers.training.measure, {"workers": 4} for one
readme = False  # rewrite the table in README.md

# %%
import platform
import sys
from importlib import import_module
from importlib.metadata import version

import pandas as pd
from IPython.display import display

from kitsnb.files import ROOT, Build, resolve, write_json
from kitsnb.study import figures

sys.path.append(str(ROOT / "notebooks"))
from peers.figure import ratios
from peers.readme import write_table

# %matplotlib inline
figures.use_style()
build = Build(build)
compare = {part: import_module(f"peers.{part}").compare for part in parts}
rows = []


def show(found):
    rows.extend(found)
    display(pd.DataFrame(found).round(3))


# %% [markdown]
# ## Reading
#
# The whole gzip stream, so that its checksum is verified; nibabel's plain read does not verify it.

# %%
if "reading" in parts:
    show(compare["reading"](repeats))

# %% [markdown]
# ## From volume to working grid

# %%
if "preprocessing" in parts:
    show(compare["preprocessing"](repeats))

# %% [markdown]
# ## Patches

# %%
if "sampling" in parts:
    show(compare["sampling"](5 * repeats))

# %% [markdown]
# ## Sliding window

# %%
if "inference" in parts:
    show(compare["inference"](5 * repeats))

# %% [markdown]
# ## The score
#
# Against the plain computation with full-size boolean arrays; the two must be exactly equal.

# %%
if "metric" in parts:
    from peers.metric import labels_for

    show(compare["metric"](labels_for(folder and resolve(folder), validation), 1 if folder else repeats))

# %% [markdown]
# ## Losses
#
# Forward and backward; memory is what torch held.

# %%
if "losses" in parts:
    show(compare["losses"](5 * repeats, loss_sizes))

# %% [markdown]
# ## A step of training
#
# The paper's network on one patch, all eight augmentations, with data from here and from the peers. Only where `parts` has
# "training": on a CPU this takes some minutes.

# %%
if "training" in parts:
    show(compare["training"](2 * repeats, **step))

# %% [markdown]
# ## All together

# %%
figure = ratios(rows)
figures.save(figure, build.figures / "benchmarks.svg")
figure

# %%
packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchio", "monai", "nibabel"))
note = f"Medians on one thread of one {platform.machine()} machine, {repeats} rounds, CPU time; {packages}."
write_json(build.benchmarks, {"rows": rows, "note": note})
if readme:
    write_table(rows, note, ROOT / "README.md")
print(f"wrote {build.benchmarks}" + (" and the table in README.md" if readme else ""))

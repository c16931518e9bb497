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
# # Start here
#
# kitsnb is a paper that you can run: seven losses, one 3D U-Net, CT of kidneys with tumours. Nothing built yet? Open
# a terminal (**File > New > Terminal**) and type `make`. It needs no data: it simulates CT, trains seven small
# networks in some ten minutes on two CPU cores, and writes the paper. **Run > Run All Cells**, in the menu above,
# shows what is built here.
#
# - [01_data_analysis.py](01_data_analysis.py): the cases: sizes, HU, imbalance; any case in three planes
# - [02_preprocessing.py](02_preprocessing.py): the way to the network's grid, and what it costs
# - [03_losses.py](03_losses.py): what a loss rewards, without training; a playground
# - [04_training.py](04_training.py): one training: curves, predictions, scores
# - [05_results.py](05_results.py): Table 1, statistics, all runs side by side
#
# Each shows what is built, and trains nothing. [README.md](../README.md) says how to bring a loss or data of your own.

# %% tags=["parameters"] jupyter={"source_hidden": true}
builds = "build"  # the folder of all builds

# %% jupyter={"source_hidden": true}
import base64
import os

from IPython.display import HTML, Markdown, display

from kitsnb.files import NOTEBOOKS, ROOT, Build, read_json, resolve
from kitsnb.workflow.jobs import build_jobs
from kitsnb.workflow.profile import recorded
from kitsnb.workflow.profile_files import ProfileError


def link(path, text):
    """Link to a file, seen from the notebooks."""
    return f"[{text}]({os.path.relpath(path, NOTEBOOKS)})"


picture = ROOT / "docs" / "first-look.svg"
origin = "what a build on simulated CT looks like"
lines = []
for file in sorted(resolve(builds).glob("*/profile.json")):
    build = Build(file.parent)
    try:
        jobs = build_jobs(recorded(build))
    except ProfileError:
        lines.append(f"| **{file.parent.name}** | made by another version of kitsnb: `make` it again | | |")
        continue
    done = [job for job in jobs if job.stamp.exists()]
    opened = {}
    for job in done:
        name = "paper" if job.stage == "paper" else job.output.name[:2]
        if job.output.exists() and name not in opened:
            opened[name] = link(job.output, name)
    title = jobs[0].profile.title
    lines.append(f"| **{file.parent.name}** | {title} | {len(done)} of {len(jobs)} | {' · '.join(opened.values())} |")
    drawn = build.figures / f"slices_{read_json(build.results).get('reference')}.svg"
    if drawn.is_file() and len(done) == len(jobs):
        picture = drawn
        origin = f"made by {file.parent.name}"

# %% [markdown]
# ## One picture

# %% jupyter={"source_hidden": true}
text = "Slices of a held-out case with kidney and tumour outlined: reference above, prediction below"
content = base64.b64encode(picture.read_bytes()).decode()
display(HTML(f'<img style="max-width: 40em; width: 100%" alt="{text}" src="data:image/svg+xml;base64,{content}">'))
display(Markdown(f"{text}: {origin}."))

# %% [markdown]
# ## What is built
#
# A profile is an experiment: data, grid, training, rows of the table. `make PROFILE=quick`, in a terminal, makes the
# one of that name, and goes on where it stopped; `make why` says what is out of date.

# %% jupyter={"source_hidden": true}
table = ["| profile | title | done | open |", "|:--|:--|:--|:--|", *lines]
display(Markdown("\n".join(table) if lines else "Nothing yet: type `make` in a terminal, then run this page again."))

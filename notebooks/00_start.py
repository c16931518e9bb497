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
# kitsnb is a paper that you can run: seven losses, one 3D U-Net, CT of kidneys with tumours. **Run > Run All Cells**,
# in the menu above, shows in seconds what is built on this machine, and changes nothing.
#
# Nothing built yet? Open a terminal (**File > New > Terminal**) and type `make`. It needs no data: it simulates CT,
# trains seven small networks in some ten minutes on two CPU cores, and writes the paper. Then run this page again.
#
# | to see | open |
# |---|---|
# | the cases: sizes, HU, imbalance; any case in 3D | [01_data_analysis.py](01_data_analysis.py) |
# | the way to the network's grid, and what it costs | [02_preprocessing.py](02_preprocessing.py) |
# | what a loss rewards, without training: a playground | [03_losses.py](03_losses.py) |
# | one training: curves, predictions, scores | [04_training.py](04_training.py) |
# | Table 1, statistics, all runs side by side | [05_results.py](05_results.py) |
# | time and memory beside other libraries | [06_benchmarks.py](06_benchmarks.py) |
#
# Opened like this, each shows what is built, and trains nothing. [README.md](../README.md) says how to bring a loss or
# data of your own.

# %% tags=["parameters"] jupyter={"source_hidden": true}
build = "build/quick"  # folder of all outputs of the profile whose picture is shown; those beside it are listed
by_runner = False  # make never runs this notebook: it belongs to no build

# %% jupyter={"source_hidden": true}
import base64
import os
from pathlib import Path

import pandas as pd
from IPython.display import HTML, Markdown, display

from kitsnb.files import NOTEBOOKS, ROOT, Build, read_json
from kitsnb.workflow.profile import DEFAULT_STAGES, STAGES
from kitsnb.workflow.profile_files import read

build = Build(build)
files = {path.stem: path for path in (NOTEBOOKS / "profiles").glob("*.yml")}
shipped = {name: {"stages": DEFAULT_STAGES} | read(path) for name, path in files.items()}
made = {path.parent.name: read_json(path) for path in sorted(build.folder.parent.glob("*/profile.json"))}
first = ("quick", "hybrid", "kits19", "labels", "benchmarks")
names = sorted({*shipped, *made}, key=lambda name: (first.index(name) if name in first else len(first), name))


def finished(name: str, stage: str) -> str:
    """How much of a stage is done, by its stamps: "2 of 7", "–" for nothing, "" where the profile lacks it."""
    profile = made.get(name) or shipped[name]
    if stage not in profile["stages"]:
        return ""
    stamps, runs = Build(build.folder.parent / name).stamps, 1
    if stage == "training":
        runs = len(profile["experiments"]) * len(profile.get("seeds") or [0]) * (profile.get("folds") or 1)
    done, failed = (len([*stamps.glob(f"{stage}{'-*' * (stage == 'training')}.{end}")]) for end in ("json", "failed"))
    return f"{failed} failed" if failed else "done" if done >= runs else f"{done} of {runs}" if done else "–"


# %% [markdown]
# ## 1. What is built
#
# A profile is an experiment: data, grid, training, rows of the table. `make PROFILE=quick`, in a terminal, makes the
# one of that name; where it needs data, with `KITSNB_DATA=/folder/of/kits19` behind; [README.md](../README.md) says how
# to get them. What is done may be out of date by now: `make why` says so.

# %% jupyter={"source_hidden": true}
stages = {stage: stage.replace("_", " ") for stage in STAGES}
state = pd.DataFrame({name: {title: finished(name, stage) for stage, title in stages.items()} for name in names}).T
state.insert(0, "title", [(made.get(name) or shipped[name])["title"] for name in names])
data = {name: "$KITSNB_DATA" in str(shipped.get(name)) for name in names}
state.insert(1, "needs", ["KiTS19" if data[name] else "" if name not in shipped else "no data" for name in names])
colours = {"done": "color: #00704f; font-weight: bold", "–": "color: #6b6b6b"}
left = [{"selector": "th, td", "props": "text-align: left !important; vertical-align: top; padding-right: 0.8em"}]
state.rename_axis(columns="profile").style.map(lambda text: colours.get(text, "")).set_table_styles(left)

# %% [markdown]
# ## 2. What to open
#
# The paper, and the notebooks as `make` executed them, with all output.

# %% jupyter={"source_hidden": true}
def link(path: Path, text: str) -> str:
    return f"[{text}]({Path(os.path.relpath(path, NOTEBOOKS)).as_posix()})"


lines = []
for name in made:
    own = Build(build.folder.parent / name)
    found = [link(own.paper, "**paper**")] if own.paper.is_file() else []
    executed = sorted(own.notebooks.glob("*.ipynb"))
    found += [link(path, path.stem.removeprefix("04_training-").replace("_", " ")) for path in executed]
    lines += [f"- **{name}**: {' · '.join(found)}"] if found else []
display(Markdown("\n".join(lines) or "Nothing yet: type `make` in a terminal, then run this page again."))

# %% [markdown]
# ## 3. One picture

# %% jupyter={"source_hidden": true}
results = read_json(build.results)
drawn = build.figures / f"slices_{results.get('reference')}.svg"
still = not drawn.is_file()
if still:
    drawn = ROOT / "docs" / "first-look.svg"
text = "Slices of a held-out case, kidney and tumour outlined: reference above, prediction below"
content = base64.b64encode(drawn.read_bytes()).decode()
display(HTML(f'<img style="max-width: 100%" alt="{text}" src="data:image/svg+xml;base64,{content}">'))
origin = "what a build on simulated CT looks like; yours is not made yet" if still else f"made by {build.folder.name}"
display(Markdown(f"{text}: {origin}."))

# %% [markdown]
# ## What we saw

# %% jupyter={"source_hidden": true}
complete = [name for name in made if all(finished(name, stage) == "done" for stage in made[name]["stages"])]
part = [name for name in made if name not in complete]
lines = [f"Finished: {', '.join(complete) or 'none'}. Begun: {', '.join(part) or 'none'}."]
if "here" in results and len(results["here"]["table"]) > 1:
    best = next(row for row in results["here"]["table"] if row["experiment"] == results["here"]["best"])
    score = best["scores"]["composite"]
    lines.append(f"In {build.folder.name}, {best['title']} has the highest mean composite Dice, "
                 f"{score['mean']:.3f} ± {score['sd']:.3f} (n = {score['n']}); "
                 "whether that is settled says [05_results.py](05_results.py).")
if complete:
    lines.append(f"Next: [05_results.py](05_results.py), or the paper of {complete[0]} above.")
elif part:
    lines.append(f"Next: the `make` that began {part[0]} once more, in a terminal; it goes on where it stopped.")
else:
    lines.append("Next: `make`, in a terminal.")
display(Markdown("\n".join(f"- {line}" for line in lines)))

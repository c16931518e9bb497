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
# # 2. From the scanner's grid to the network's
#
# A convolution sees voxels, not millimetres. Cases come in many spacings, sizes and orientations, so each is brought to one
# *working grid* first. The order is the paper's (section 4.2):
#
# 1. axes to (slice, height, width), read from the affine, never from the position of an axis;
# 2. optionally a resize to 256 x 256 in-plane, as the paper did for want of memory;
# 3. clip to -79 .. 304 HU, the range of kidney and its surroundings;
# 4. resample to the wanted spacing: linear (or cubic) for the image, nearest for the label;
# 5. z-score, $x' = (x - \mu) / \sigma$, over the case, or with one mean and SD for all.
#
# Executed by make, this notebook writes the volumes that training reads. By hand it shows them and writes nothing; another
# spacing, window or interpolation below is then tried on a few cases only.

# %% tags=["parameters"]
build = "build/quick"  # folder of all outputs of the profile
by_runner = False  # True: executed by make, which writes; by hand a notebook only looks
spacing: list | None = None  # working grid, mm (slice, height, width); None, here and below: as the build has it
clip: list | None = None  # HU; the paper: -79, 304
resize_in_plane: list | None = None  # pixels before resampling, the paper: [256, 256]
interpolation: str | None = None  # of the image: "linear", the paper's, or "cubic"
z_score_by: list | None = None  # mean and SD in HU; the paper's None: those of each case
source: str | None = None  # "phantom" and "hybrid" read build/data, "folder" reads `folder`
folder: str | None = None  # data in KiTS19's folder format, for source "folder"
simulated: bool | None = None  # is the CT simulated? said in every figure
label_map: dict | None = None  # labels to take as others, {3: 1} for the cysts of KiTS21 and KiTS23
accept_affine: bool | None = None  # take imaging's affine where the segmentation's differs, instead of refusing the case
workers: int | None = None  # cases at a time, about 0.5 GB each; None: one a core, at most four

# %%
import sys
import time

import numpy as np
import pandas as pd
import seaborn as sns
import torch
import torchio as tio
from IPython.display import Markdown

from kitsnb.data.cases import Case, discover
from kitsnb.data.checks import Accept
from kitsnb.data.nifti import spacing_of
from kitsnb.drawing import COLOURS, PAGE, canvas, outline, section
from kitsnb.files import NOTEBOOKS, Build
from kitsnb.metric.score import SCORES
from kitsnb.preprocessing.prepare import Preprocessing, grid_ceiling, preprocess, preprocess_cases, subject_of
from kitsnb.preprocessing.resampling import reorient
from kitsnb.study import figures
from kitsnb.study.runs import read_stage
from kitsnb.study.tables import number, plural
from kitsnb.training.volumes import load_volumes
from kitsnb.workflow.profile import recorded_parameters

sys.path.append(str(NOTEBOOKS))
from fingerprint.figures import clipping

# %matplotlib inline
figures.use_style()
torch.set_num_threads(1)


def sides(values) -> str:
    return " x ".join(map(str, values))


names = ("source", "folder", "simulated", "label_map", "accept_affine", *Preprocessing.model_fields)
given = {name: value for name, value in globals().items() if name in names}
if not by_runner:
    given = recorded_parameters(build, "preprocessing") | {name: value for name, value in given.items() if value is not None}
build, simulated = Build(build), given["simulated"]
settings = Preprocessing.among(given)
accept = Accept(given["label_map"], given["accept_affine"])
cases = discover(build.cases(given["source"], given["folder"]))
print(f"{len(cases)} cases" + (", simulated CT" if simulated else ""))

# %% [markdown]
# ## 2.1 Every case on the working grid
#
# A case that cannot be used is refused by name, and the others go on. One that is there already, from the same files and
# settings, is kept.

# %%
if by_runner:
    started = time.perf_counter()
    report = preprocess_cases(cases, build.preprocessed, settings, workers, accept)
    print(f"{report['cases']} cases in {time.perf_counter() - started:.1f} s, {len(report['kept'])} of them kept as they were")
else:
    report = read_stage(build.preprocessed / "report.json", "02_preprocessing")
for name, reason in report["refused"].items():
    print(f"refused {name}: {reason}")
rows = pd.DataFrame(report["rows"]).T.rename_axis("case")
pd.DataFrame({
    "axes point": rows.orientation, "native voxels": rows.native_shape.map(sides),
    "native spacing (mm)": rows.native_spacing.map(lambda three: sides([f"{step:.3g}" for step in three])),
    "voxels on the grid": rows["shape"].map(sides),
}).head(8)

# %% [markdown]
# ## 2.2 Before and after clipping
#
# The paper's Figure 1. Clipping throws away what tells nothing about kidneys: air on one side, bone on the other.

# %%
used = [case for case in cases if case.name in report["rows"]]
subject = subject_of(used[0], accept)
native, affine = reorient(subject["imaging"].numpy()[0], subject["imaging"].affine)
labels, _ = reorient(subject["segmentation"].numpy()[0], subject["segmentation"].affine)
middle = int((labels == 2).sum((1, 2)).argmax()) if (labels == 2).any() else native.shape[0] // 2
figure = clipping(native, middle, settings.clip, spacing_of(affine), simulated)
if by_runner:
    figures.save(figure, build.figures / "fig01_clipping.svg")
figure

# %% [markdown]
# ## 2.3 What the grid costs
#
# The working grid is coarser than the scanner's. Bring its labels back, compare with the untouched ones: no network, however
# good, scores more than this *grid ceiling* on average. Below, these settings and three others, on a few cases.

# %%
ways = {
    "these settings": lambda native: settings,
    "clip only (native grid)": lambda native: settings.changed(spacing=native.tolist(), resize_in_plane=None),
    "256 x 256 first": lambda native: settings.changed(resize_in_plane=(256, 256)),
    "paper's spacing, direct": lambda native: settings.changed(spacing=(3.22, 1.62, 1.62), resize_in_plane=None),
}
sample = used[:: max(1, len(used) // 6)][:6]
table = []
for case in sample:
    original = subject_of(case, accept)
    label = original["segmentation"]
    array = label.numpy()[0]
    own = spacing_of(reorient(array, label.affine)[1])  # (slice, height, width)
    for way, chosen in ways.items():
        score = grid_ceiling(array, label.affine, preprocess(original, chosen(own)))
        table += [{"way": way, "score": figures.NAMES[s], "ceiling (Dice)": score[s], "case": case.name} for s in SCORES]
ceilings = pd.DataFrame(table)
ceilings.pivot_table(index="way", columns="score", values="ceiling (Dice)").map(number)

# %%
figure, axes = canvas(f"Grid ceiling, {plural(len(sample), 'case')}", (PAGE, 2.6), simulated=simulated)
sns.stripplot(ceilings, y="way", x="ceiling (Dice)", hue="score", dodge=True, ax=axes)
sns.move_legend(axes, "center left", bbox_to_anchor=(1, 0.5), frameon=False)
axes.set(ylabel="")
figure

# %% [markdown]
# ## 2.4 After the z-score, and after any transform of torchio
#
# Mean 0 and standard deviation 1 by construction; what differs between cases is how much of the volume is air. A case is a
# `tio.Subject`, so any torchio transform can stand before or after: put yours in the place of this one.

# %%
transform = tio.RandomAffine(scales=0.1, degrees=20)
torch.manual_seed(0)
prepared = preprocess(subject, settings)
name = f"{used[0].name.replace('_', ' ')}: kidney blue, tumour orange"
figure, pair = canvas(name, (PAGE, 2.9), 1, 2, simulated=simulated)
for axes, (heading, shown) in zip(pair, {"before": prepared, transform.name: transform(prepared)}.items()):
    volume, mask = (shown[image].numpy()[0] for image in ("imaging", "segmentation"))
    at = int((mask > 0).sum((1, 2)).argmax())
    section(axes, volume, spacing_of(shown["imaging"].affine), at, cmap="gray", vmin=-2, vmax=2)
    for label, name in ((1, "kidney"), (2, "tumour")):
        outline(axes, mask == label, spacing_of(shown["imaging"].affine), at, COLOURS[name])
    axes.set_title(heading)
figure

# %% [markdown]
# ## 2.5 What we saw

# %%
imaging = prepared["imaging"].numpy()
voxels = np.array([np.prod(shape) for shape in rows["shape"]])
means = ceilings.groupby(["way", "score"])["ceiling (Dice)"].mean()
best = means.xs(figures.NAMES["tumour"], level="score").idxmax()
Markdown("\n".join([
    f"- {plural(len(rows), 'case is', 'cases are')} on a grid of {sides(report['spacing'])} mm; {len(report['refused'])} refused."
    f" A case has {voxels.mean() / 1e6:.2f} million voxels there (from {voxels.min() / 1e6:.2f} to {voxels.max() / 1e6:.2f}), "
    f"{3 * voxels.sum() / 1e6:.0f} MB in all.",
    f"- A perfect network would score {number(report['ceiling']['kidney_and_tumour'])} for kidney and tumour and "
    f"{number(report['ceiling']['tumour'])} for the tumour on this grid, all cases taken.",
    f"- Of the ways compared, {best} loses least of the tumour ({number(means[best, figures.NAMES['tumour']])}, "
    f"{plural(len(sample), 'case')}).",
    f"- {used[0].name.replace('_', ' ')} after the z-score: mean {number(float(imaging.mean()), 2)}, standard deviation "
    f"{number(float(imaging.std()), 2)}, from {number(float(imaging.min()), 2)} to {number(float(imaging.max()), 2)}.",
]))

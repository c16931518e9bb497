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
# # From the scanner's grid to the network's
#
# A convolution sees voxels, not millimetres. Cases come in many spacings, sizes and orientations, so each is brought to one
# *working grid* first. The order is the paper's (section 4.2):
#
# 1. axes to (slice, height, width), read from the affine, never from the position of an axis;
# 2. optionally a resize to 256 x 256 in-plane, as the paper did for want of memory;
# 3. clip to -79 .. 304 HU, the range of kidney and its surroundings;
# 4. resample to the wanted spacing: linear (or cubic) for the image, nearest for the label;
# 5. z-score, $x' = (x - \mu) / \sigma$, over the case.

# %% tags=["parameters"]
build = "build/quick"  # folder of all outputs of the profile
source = "phantom"  # "phantom" and "hybrid" read build/data, "folder" reads `folder`
folder: str | None = None  # data in KiTS19's folder format, for source "folder"
simulated = True  # is the CT simulated? said in every figure
spacing = [6.0, 5.0, 5.0]  # working grid, mm (slice, height, width); the paper: 3.22, 1.62, 1.62
clip = [-79.0, 304.0]  # HU
resize_in_plane: list | None = None  # the paper: [256, 256], before resampling; None goes there directly
interpolation = "linear"  # of the image, or "cubic"
label_map: dict = {}  # labels to take as others, {3: 1} for the cysts of KiTS21 and KiTS23
accept_affine = False  # take imaging's affine where the segmentation's differs, instead of refusing the case
workers: int | None = None  # cases at a time, about 0.5 GB each; None: one a core, at most four

# %%
import time

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import torch

from kitsnb.data.cases import discover
from kitsnb.data.checks import Accept, load_subject
from kitsnb.data.nifti import spacing_of
from kitsnb.files import Build
from kitsnb.metric.score import SCORES
from kitsnb.preprocessing.prepare import Preprocessing, grid_ceiling, preprocess, preprocess_cases
from kitsnb.preprocessing.resampling import reorient
from kitsnb.study import figures
from kitsnb.study.figures.data import clipping

# %matplotlib inline
figures.use_style()
torch.set_num_threads(1)
build = Build(build)
settings = Preprocessing(spacing=spacing, clip=clip, resize_in_plane=resize_in_plane, interpolation=interpolation)
accept = Accept(label_map, accept_affine)
cases = discover(build.cases(source, folder))
print(f"{len(cases)} cases in {cases[0].folder.parent}" + (", simulated CT" if simulated else ""))

# %% [markdown]
# ## Prepare every case
#
# A case that cannot be used is refused by name, and the others go on. One that is there already, from the same files and
# settings, is kept.

# %%
started = time.perf_counter()
report = preprocess_cases(cases, build.preprocessed, settings, workers, accept)
seconds = time.perf_counter() - started
print(f"{report['cases']} cases in {seconds:.1f} s, {len(report['kept'])} of them kept as they were")
for name, reason in report["refused"].items():
    print(f"refused {name}: {reason}")

# %%
rows = pd.DataFrame(report["rows"]).T
rows.drop(columns="ceiling").head(8)

# %% [markdown]
# ## Before and after clipping
#
# The paper's Figure 1. Clipping throws away what tells nothing about kidneys: air on one side, bone on the other.

# %%
first = next(case for case in cases if case.name in report["rows"])
subject = load_subject(first, accept)
native, affine = reorient(subject["imaging"].numpy()[0], subject["imaging"].affine)
labels, _ = reorient(subject["segmentation"].numpy()[0], subject["segmentation"].affine)
middle = int((labels == 2).sum((1, 2)).argmax()) if (labels == 2).any() else native.shape[0] // 2
figure = clipping(native, middle, clip, spacing_of(affine), simulated)
figures.save(figure, build.figures / "fig01_clipping.svg")
figure

# %% [markdown]
# ## What the grid costs
#
# The working grid is coarser than the scanner's. Bring its labels back, compare with the untouched ones: no network, however
# good, scores more than this *grid ceiling* on average. Below, this
# profile's way and three others, on a few cases.

# %%
ways = {
    "this profile": settings,
    "clip only (native grid)": None,
    "256 x 256 first": Preprocessing(spacing=spacing, clip=clip, resize_in_plane=[256, 256]),
    "paper's spacing, direct": Preprocessing(spacing=(3.22, 1.62, 1.62), clip=clip, resize_in_plane=None),
}
sample = [case for case in cases if case.name in report["rows"]][:: max(1, len(report["rows"]) // 6)][:6]
table = []
for case in sample:
    original = load_subject(case, accept)
    label = original["segmentation"]
    for way, chosen in ways.items():
        if chosen is None:
            chosen = Preprocessing(spacing=sorted(spacing_of(label.affine), reverse=True), clip=clip, resize_in_plane=None)
        score = grid_ceiling(label.numpy()[0], label.affine, preprocess(original, chosen))
        table += [{"way": way, "score": figures.NAMES[s], "ceiling (Dice)": score[s], "case": case.name} for s in SCORES]
ceilings = pd.DataFrame(table)
ceilings.pivot_table(index="way", columns="score", values="ceiling (Dice)").round(3)

# %%
figure, axis = plt.subplots(figsize=(figures.PAGE, 2.6))
sns.stripplot(ceilings, y="way", x="ceiling (Dice)", hue="score", dodge=True, ax=axis)
sns.move_legend(axis, "center left", bbox_to_anchor=(1, 0.5), frameon=False)
axis.set(ylabel="", title=f"Grid ceiling, {len(sample)} cases" + (", simulated CT" if simulated else ""))
plt.close(figure)  # shown once, below
figure

# %% [markdown]
# ## After the z-score
#
# Mean 0 and standard deviation 1 by construction; what differs between cases is how much of the volume is air.

# %%
prepared = preprocess(subject, settings)["imaging"].numpy()
print(f"{first.name}: shape {prepared.shape[1:]}, mean {prepared.mean():.3f}, SD {prepared.std():.3f}, "
      f"range {prepared.min():.2f} .. {prepared.max():.2f}")

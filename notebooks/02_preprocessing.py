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
# A convolution sees voxels, not millimetres. So each case is brought to one *working grid*, in the paper's order
# (section 4.2): axes to (slice, height, width), read from the affine; clip to a window of HU; resample to one spacing,
# linear for the image (optionally by way of 256 x 256 pixels in-plane) and nearest for the label; z-score,
# (x - mean) / SD. Opened by hand, the notebook shows what was made; another spacing or window among
# `changes` is tried on a few cases only.

# %% tags=["parameters"] jupyter={"source_hidden": true}
profile = "quick"  # a name in notebooks/profiles, a file, or a build's folder
changes = {}  # such as {"preprocessing.spacing": [5, 3, 3]}

# %% jupyter={"source_hidden": true}
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import Markdown, display

from kitsnb.data.checks import read_case
from kitsnb.data.nifti import spacing_of
from kitsnb.drawing import PAGE, canvas, labelled_section
from kitsnb.files import read_json
from kitsnb.metric import SCORES
from kitsnb.preprocessing import (
    Preprocessing, cases_below, grid_ceiling, preprocess_cases, reorient, to_grid, z_score,
)
from kitsnb.study import figures
from kitsnb.study.shown import shown, what_we_saw
from kitsnb.training.patches import PatchSampler
from kitsnb.training.volumes import load_volumes
from kitsnb.workflow.opened import open_study

study = open_study(profile, changes)
settings = study.profile.preprocessing
simulated = study.profile.simulated

from fingerprint.figures import clipping

figures.use_style()


def sides(values):
    """Write the three sides of something, "7 x 6 x 6"."""
    return " x ".join(f"{value:.3g}" for value in values)


# %% jupyter={"source_hidden": true}
if study.writes:
    cases = [*study.cases, *study.further]
    report = preprocess_cases(cases, study.build.preprocessed, settings, study.profile.workers, study.accept)
else:
    report = read_json(study.made(study.build.preprocessed / "report.json"))
made = Preprocessing(**report["settings"])
used = [case for case in study.cases if case.name in report["rows"]]
if made != settings:
    said = sides(settings.spacing)
    display(Markdown(f"**Tried by hand:** {said} mm, on a few cases. The build's grid is {sides(made.spacing)} mm."))

# %% [markdown]
# ## Before and after clipping
#
# The paper's Figure 1. Clipping throws away what tells nothing about kidneys: air on one side, bone on the other.

# %%
imaging, labels, affine = read_case(used[0], accept=study.accept)
upright, upright_affine = reorient(imaging, affine)
upright_labels, _ = reorient(labels, affine)
smallest = upright_labels == upright_labels.max()
middle = int(smallest.sum((1, 2)).argmax())
clipped = clipping(upright, middle, settings.clip, spacing_of(upright_affine), simulated)
if study.writes:
    figures.save(clipped, study.build.figures / "fig01_clipping.svg")
clipped

# %% [markdown]
# ## On the working grid
#
# A case that cannot be used is refused by name, and the others go on. Below, the first cases; then the same slice as
# above as the network gets it, kidney blue and tumour orange.

# %% jupyter={"source_hidden": true}
if report["refused"]:
    refused = pd.DataFrame(report["refused"].items(), columns=["refused case", "reason"])
    display(shown(refused))
rows = []
for name, row in list(report["rows"].items())[:5]:
    rows.append({
        "case": name, "axes point": row["orientation"], "native voxels": sides(row["native_shape"]),
        "native spacing (mm)": sides(row["native_spacing"]), "voxels on the grid": sides(row["shape"]),
    })
shown(pd.DataFrame(rows))

# %%
volume, grid_affine = to_grid(imaging, affine, settings)
volume, (mean, sd) = z_score(volume, settings)
mask, _ = to_grid(labels, affine, settings, labels=True)
spacing = spacing_of(grid_affine)
at = int((middle + 0.5) * len(mask) / len(upright))
figure, axes = canvas(f"{used[0].name.replace('_', ' ')} on the working grid", (PAGE / 2, 2.6), simulated=simulated)
image = labelled_section(axes, volume.numpy(), mask.numpy(), spacing, at, window=(None, None))
bar = figure.colorbar(image, ax=axes, label="after the z-score", shrink=0.9)
bar.outline.set_visible(False)
figure

# %% jupyter={"source_hidden": true}
BROUGHT_BACK = "labels brought back (Dice)"
ways = {"this grid": settings}
if made != settings:
    ways["the build's grid"] = made
if Preprocessing() not in ways.values():
    ways["the seed paper's grid"] = Preprocessing()
sample = used[:: max(1, len(used) // 6)][:6]
rows = []
for case in sample:
    _, native, native_affine = read_case(case, imaging=False, accept=study.accept)
    for way, chosen in ways.items():
        prepared, _ = to_grid(native, native_affine, chosen, labels=True)
        score = grid_ceiling(native, native_affine, prepared)
        for name in SCORES:
            rows.append({"way": way, "class": figures.NAMES[name], BROUGHT_BACK: score[name]})
ceilings = pd.DataFrame(rows)
lossless = ceilings.groupby("way")[BROUGHT_BACK].transform("min") > 0.9995  # a finer grid: 1 by construction
ceilings = ceilings[~lossless]
if len(ceilings):
    display(Markdown(f"""
## What the grid costs

A working grid is coarser than most scanners' grids. Bring its labels back, compare with the untouched ones: what a
network could score that knew each voxel of the grid. One that is unsure at borders, and so places them between voxels,
may score a little more. A dot per case, {len(sample)} cases.
"""))
    figure, axes = canvas("What the grid costs", (PAGE, 2.2), simulated=simulated)
    sns.stripplot(ceilings, y="way", x=BROUGHT_BACK, hue="class", dodge=True, ax=axes)
    sns.move_legend(axes, "center left", bbox_to_anchor=(1, 0.5), frameon=False, title=None)
    axes.set(ylabel="")
    display(figure)

# %% jupyter={"source_hidden": true}
training = study.profile.training.changed(batch_size=1, foreground=1.0)
if training.augmentation:
    strengths = training.augmentation
    display(Markdown(f"""
## Augmentation

Training composes crop, scaling, rotation, elastic deformation and mirror into one grid of coordinates, interpolates
each patch once (one `grid_sample`), then changes its intensities. Above six patches as they are, below the same as
this profile's augmentation leaves them: each kind but the mirror comes with a probability of
{strengths.probability:g}, so some patches stay as they were.
"""))
    volumes = load_volumes(cases_below(study.build.preprocessed, used[:1]))
    low, high = np.percentile(volumes[0].imaging.float(), [1, 99.5])
    figure, grid = canvas("Patches before and after augmentation", (PAGE, 2.7), 2, 6, simulated=simulated)
    for row, chosen in zip(grid, (training.changed(augmentation=None), training)):
        sampler = PatchSampler(volumes, chosen)
        for step, axes in enumerate(row):
            patch, classes = [part.reshape(training.patch_size).numpy() for part in sampler.batch(step)]
            at = int((classes > 0).sum((1, 2)).argmax())
            labelled_section(axes, patch, classes, made.spacing, at, window=(low, high))
    grid[0, 0].set_ylabel("before")
    grid[1, 0].set_ylabel("after")
    display(figure)

# %% [markdown]
# ## What we saw

# %% jupyter={"source_hidden": true}
shapes = [row["shape"] for row in report["rows"].values()]
voxels = np.prod(shapes, axis=1)
means = ceilings.groupby(["way", "class"])[BROUGHT_BACK].mean()
rows = [
    ("cases on the grid", report["cases"], f"{len(report['refused'])} refused"),
    ("voxels per case, mean", f"{voxels.mean() / 1e6:.2f}", "million"),
    ("all volumes", f"{3 * voxels.sum() / 1e6:.0f}", "MB"),
    ("z-score of the first case: mean and SD taken", f"{mean:.0f} and {sd:.0f}", "HU"),
]
for way in ceilings.way.unique():
    rows.append((f"grid ceiling, {way}", f"{means[way, 'tumour']:.3f}", "Dice, tumour alone"))
what_we_saw(rows)

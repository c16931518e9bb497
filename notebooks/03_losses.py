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
# # 3. The anatomy of the losses
#
# Nothing is trained here. Each loss gets the same predictions, wrong in a known way and by a known amount, and shows what it
# makes of them: its value, and its gradient with respect to the logits, which is all that a network ever learns from. The
# notebook ends in predictions about Table 1; notebook 05 checks them against the runs.

# %% tags=["parameters"]
build = "build/quick"  # folder of all output, from the repository's root
by_runner = False  # True: executed by make, which writes; by hand a notebook only looks
experiments: list | None = None  # rows of Table 1; None: as the build has it
others = [  # further losses of the library, shown beside them
    "generalized_dice", "tversky", "weighted_cross_entropy", "dice_cross_entropy", "focal", "quality_focal", "distribution_focal",
]
reference = "dice"  # the row that predictions compare with
weights = [1, 2, 3]  # of the weighted losses among `others`
folder: str | None = None  # KiTS19 data (labels suffice), for a real geometry beside the phantom's; None: as the build has it
case = 122  # the KiTS19 case whose label is used; its tumour is of median size (30 ml)
phantom_seed = 1
phantom_number = 0
spacing = [3.22, 1.62, 1.62]  # mm (slice, height, width) that the real label is brought to: the seed paper's grid
extent = [257.6, 129.6, 129.6]  # mm around the tumour: the seed paper's patch
shares = [0.9915, 0.0068, 0.0017]  # of background, kidney and tumour in the voxels of all 210 KiTS19 labels (notebook 01)
steps = 13  # on each error path

# %%
import time

import pandas as pd
import torch
from IPython.display import display

from kitsnb import losses as library
from kitsnb.data.cases import discover
from kitsnb.data.nifti import CaseError
from kitsnb.files import Build, resolve
from kitsnb.study import figures as style
from kitsnb.study import hypotheses as predictions
from kitsnb.study import probes as anatomy
from kitsnb.study.error_paths import phantom_geometry, real_geometry
from kitsnb.study.figures import losses as figures
from kitsnb.study.tables import write_results
from kitsnb.workflow.profile import recorded_parameters

# %matplotlib inline
style.use_style()
started = time.perf_counter()
if not by_runner:
    recorded = recorded_parameters(build, "losses")
    experiments, folder = experiments or recorded["experiments"], folder or recorded["folder"]
build = Build(build)
library_rows = [
    {"name": name, "title": name.replace("_", " "), "loss": name, "parameters": {"weights": weights} if "weighted" in name else {}}
    for name in others if name not in [row["name"] for row in experiments]
]
rows = experiments + library_rows
titles = {row["name"]: row["title"] for row in rows}
losses = anatomy.build_losses(rows)
for name, loss in losses.items():
    print(f"{titles[name]}: {loss}")

# %% [markdown]
# ## Where the errors are made
#
# A patch of the seed paper's size around a tumour. The errors need no CT, only labels, so a real label serves where there is
# one. A phantom's anatomy is simulated, and is called so.

# %%
geometries = [phantom_geometry(phantom_seed, phantom_number, extent)]
if folder is None:
    print("no folder of KiTS19 labels was given, so the phantom stands alone")
else:
    found = [one for one in discover(resolve(folder)) if one.number == case]
    if not found:
        raise CaseError(f"case_{case:05d}", "segmentation.nii.gz", f"is not in {resolve(folder)}", "name another case")
    geometries.insert(0, real_geometry(found[0], spacing, extent))
for geometry in geometries:
    display(figures.error_slices(geometry))
pd.DataFrame({
    figures.named(geometry): {"voxels": str(geometry.segmentation.shape), "tumour (ml)": round(geometry.tumour_ml, 1),
                              **dict(zip(("background %", "kidney %", "tumour %"), (round(x, 2) for x in geometry.shares_percent)))}
    for geometry in geometries
}).T

# %% [markdown]
# ## Value and gradient along the errors
#
# Erosion and dilation move the outer border, the shift moves all; a missed tumour is called kidney, and a false tumour lies
# in the background. Predictions are unsure at their borders (2 mm) and sure elsewhere. Values are relative to a prediction
# that finds nothing, because a sum over three classes and a mean have different scales. The size of the gradient is the sum
# of its magnitudes over the patch.
#
# What to look for: a curve that is flat where the error is small (exponent 5) stops teaching before the work is done; a
# steep start (exponent 0.75) keeps teaching; a log-cosh curve (dashed) bends near zero, where tanh of the loss shrinks it.

# %%
along = {geometry.name: anatomy.along_paths(losses, geometry, steps) for geometry in geometries}
for geometry in geometries:
    figure = figures.error_paths(along[geometry.name], experiments or rows, geometry)
    display(figure)
made = {"losses01_error_paths": figures.error_paths(along[geometries[0].name], experiments or rows, geometries[0])}

# %% [markdown]
# The rest of the library on the same errors:

# %%
if experiments and library_rows:
    display(figures.error_paths(along[geometries[0].name], library_rows, geometries[0]))

# %% [markdown]
# ### The price of missing
#
# How much more the first step of a missed tumour costs than the same volume of an invented one. To Dice both are nearly the
# same (what is missed is also added to the kidney); Tversky asks up to 0.7 / 0.3 times more. The higher the price, the larger
# the tumours that a network should draw when in doubt.

# %%
price = pd.DataFrame({figures.named(geometry): anatomy.price_of_missing(along[geometry.name]) for geometry in geometries})
price.loc[list(losses)].rename(titles).round(2)

# %% [markdown]
# ## Who gets the gradient
#
# Independent voxels at the real imbalance. Logits are random (standard normal), the true class is higher by a margin:
# 0 untrained, 4 half-trained, 8 trained. A loss that treats voxels alike gives tumour voxels their share of the voxels (dotted).
# (The quality focal loss looks at each class apart, through a sigmoid, so a margin between classes says less to it.)

# %%
gradient = anatomy.gradient_shares(losses, shares)
figure = figures.gradient_shares(gradient, rows, shares)
made["losses02_gradient_shares"] = figure
display(figure)
table = gradient.pivot(index="loss", columns="stage", values=["value", "gradient", "share_2"]).loc[list(losses)]
table.rename(titles).reindex(columns=list(anatomy.STAGES), level="stage").round(4)

# %% [markdown]
# ## What log-cosh does
#
# The slope of log(cosh(x)) is tanh(x): the gradient keeps its direction in every voxel and is multiplied by the tanh of the
# loss. So a log-cosh row has the shares of its base row above, to the last digit. Adam divides by the size of recent
# gradients, so most of the factor cancels; what stays is that batches with a low loss count less than those with a high one.
# A focal Tversky loss that sums over three classes starts near 3, where tanh is 1: there log-cosh does nothing at all.
#
# ## Exponent 0.75 against 5
#
# The exponent acts on 1 - TI of each class. With 5, the slope at TI = 0.8 is 5 x 0.2^4, less than one hundredth, and keeps
# falling; with 0.75 it grows without bound, and is cut where 1 - TI is below a millionth.

# %%
display(figures.slopes([0.75, 1.0, 5.0]))
factors = {
    titles[name]: {stage: float(torch.tanh(loss.loss(*anatomy.mixture(shares, margin)))) for stage, margin in anatomy.STAGES.items()}
    for name, loss in losses.items() if isinstance(loss, library.LogCosh)
}
pd.DataFrame(factors).T.rename_axis(columns="factor on the gradient").round(3)

# %% [markdown]
# ## Weights
#
# Class weights of the Dice loss at the three stages: what share of the gradient falls on tumour voxels. Dice already divides
# by the size of each class, so weights move little, and less as training goes on.

# %%
weighted = {str(trial): library.WeightedDiceLoss(weights=trial) for trial in ([1, 1, 1], [1, 2, 3], [0, 1, 1], [0, 1, 3], [1, 10, 100])}
shown = anatomy.gradient_shares(weighted, shares).pivot(index="loss", columns="stage", values="share_2")
shown.loc[list(weighted), list(anatomy.STAGES)].rename_axis(index="weights", columns="tumour's share of the gradient").round(4)

# %% [markdown]
# ## Patches without tumour
#
# Most patches hold none. `clean`: the loss when nothing is wrong; `false`: with 5 ml of invented tumour. `push`: the size of
# the gradient on the invented voxels, `pooled`: the same with a second patch in the batch, the one with its tumour.
#
# A Dice that is taken patch by patch is lost on such a patch: traces of probability make the absent class's Dice zero, one
# third of the loss is gone whatever the network does, and the push against the false tumour is tiny. Pooled over a batch
# (`batch=True`, as in the quick profile) the push is there. Cross-entropy and the focal losses do not know the problem.

# %%
bare = anatomy.without_tumour(losses, geometries[-1], false_ml=5.0)
bare.rename(titles).style.format("{:.2e}").set_caption(figures.named(geometries[-1]))

# %% [markdown]
# ## Predictions about Table 1
#
# Made from the tables above by three rules, the same for every row. A measure counts as different from the reference's by
# more than a quarter.
#
# 1. A larger share of the gradient on tumour voxels gives a higher tumour Dice.
# 2. A higher price of missing gives larger predicted tumours.
# 3. The row whose gradient falls most between half-trained and trained is the last of the table.

# %%
predicted = []
if experiments:
    names = [row["name"] for row in experiments]
    compared = reference if reference in names else names[0]
    predicted = predictions.predict(names, gradient, price.iloc[:, 0], compared)
pd.DataFrame(predicted).assign(experiment=lambda table: table.experiment.map(titles)).round(2) if predicted else "no rows, no predictions"

# %% [markdown]
# ## For the paper
#
# Written by make alone: what is tried here by hand changes no result.

# %%
summary = {
    "geometry": {"name": geometries[0].name, "simulated": geometries[0].simulated, "tumour_ml": geometries[0].tumour_ml},
    "shares_percent": [round(100 * share, 4) for share in shares],
    "losses": titles,
    "gradient": gradient.to_dict("records"),
    "price_of_missing": price.iloc[:, 0].to_dict(),
    "without_tumour": bare.to_dict("index"),
    "predictions": predicted,
    "figures": list(made),
}
if by_runner:
    for name, figure in made.items():
        style.save(figure, build.figures / f"{name}.svg")
    write_results(build.losses / "summary.json", summary)
print(f"{time.perf_counter() - started:.0f} s; " + (f"wrote {build.losses / 'summary.json'} and {len(made)} figures" if by_runner else "wrote nothing"))

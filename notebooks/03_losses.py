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
# # 3. Losses, probed
#
# Nothing is trained here. Each loss gets the same predictions, wrong in a known way and by a known amount, and shows
# what it makes of them: its value, and its gradient with respect to the logits, which is all that a network ever
# learns from. The notebook ends in hypotheses on Table 1; notebook 05 checks them against the runs.

# %% tags=["parameters"]
build = "build/quick"  # folder of all output, from the repository's root
by_runner = False  # True: executed by make, which writes; by hand a notebook only looks
experiments: list | None = None  # rows of Table 1; None: as the build has it
others = [  # further losses of the library, shown beside them
    "generalized_dice", "tversky", "weighted_cross_entropy", "dice_cross_entropy", "focal",
]
reference = "dice"  # the row that hypotheses compare with
weights = [1, 2, 3]  # of the weighted losses among `others`
folder: str | None = None  # KiTS19 data (labels suffice), for a real label beside the phantom's; None: as built
label_map: dict | None = None  # of that folder: labels to take as others
accept_affine: bool | None = None  # of that folder: take imaging's affine where the label's differs
case = 122  # the KiTS19 case whose label is used; its tumour is of median size (30 ml)
phantom_seed = 1
phantom_number = 0
spacing = [3.22, 1.62, 1.62]  # mm (slice, height, width) that the real label is brought to: the seed paper's grid
extent = [257.6, 129.6, 129.6]  # mm around the tumour: the seed paper's patch
shares = [0.9915, 0.0068, 0.0017]  # of background, kidney, tumour in all 210 KiTS19 labels (notebook 01)
steps = 13  # on each error path

# %%
import sys
from collections import Counter

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from IPython.display import Markdown, display
from matplotlib.colors import ListedColormap

from kitsnb import losses as library
from kitsnb.data.cases import discover
from kitsnb.data.checks import Accept
from kitsnb.data.nifti import CaseError
from kitsnb.drawing import COLOURS, GREY, PAGE, canvas, outline, section
from kitsnb.files import NOTEBOOKS, Build, resolve, write_json
from kitsnb.study import figures
from kitsnb.study.tables import number
from kitsnb.workflow.profile import recorded_parameters

sys.path.append(str(NOTEBOOKS))
from interactive.playground import Playground
from probing import figures as loss_figures
from probing import hypotheses, probes

# %matplotlib inline
figures.use_style()
if not by_runner:  # what is None above is as the build has it
    recorded = recorded_parameters(build, "losses")
    globals().update({name: value for name, value in recorded.items() if globals().get(name) is None})
build = Build(build)
library_rows = [
    {"name": name, "title": name.replace("_", " "), "loss": name}
    | ({"parameters": {"weights": weights}} if "weighted" in name else {})
    for name in others if name not in [row["name"] for row in experiments]
]
rows = experiments + library_rows
titles = {row["name"]: row["title"] for row in rows}
losses = probes.build_losses(rows)
pd.DataFrame([
    {"row": row["title"], "loss": row["loss"].replace("_", " "), "parameters": ", ".join(
        f"{key.replace('_', ' ')} {value}" for key, value in (row.get("parameters") or {}).items()) or "as by default"}
    for row in rows
]).style.hide()

# %% [markdown]
# ## 3.1 Where the errors are made
#
# A patch of the seed paper's size around a tumour. The errors need no CT, only labels, so a real label serves where
# there is one. A phantom's anatomy is simulated, and is called so. Each panel has the label's outline in black, and
# the prediction at half the way of one error in colour (kidney blue, tumour orange).

# %%
geometries = [probes.phantom_geometry(phantom_seed, phantom_number, extent)]
if folder is None:
    print("No folder of KiTS19 labels was given, so the phantom stands alone.")
else:
    found = [one for one in discover(resolve(folder)) if one.number == case]
    if not found:
        raise CaseError(f"case_{case:05d}", "segmentation.nii.gz", f"is not in {resolve(folder)}", "name another case")
    geometries.insert(0, probes.real_geometry(found[0], spacing, extent, Accept(label_map or {}, bool(accept_affine))))


def error_slices(geometry):
    """The label and, for each error, the prediction at half its way, on the slice where the tumour differs most."""
    truth = geometry.segmentation == 2
    panels = {"label": geometry.segmentation}
    panels |= {name: path.make(geometry, path.most(geometry) / 2) for name, path in probes.PATHS.items()}
    colours = ListedColormap(["#ededed", *(COLOURS[name] for name in probes.CLASSES[1:])])
    figure, row = canvas(f"Errors at half their way ({geometry})", (PAGE, 1.75), 1, len(panels))
    for axes, (title, labels) in zip(row, panels.items()):
        seen = (labels == 2) != truth if title.endswith("tumour") else truth  # an invented tumour lies elsewhere
        at = int(seen.sum((1, 2)).argmax())
        section(axes, labels, geometry.spacing, at, cmap=colours, vmin=0, vmax=2)
        outline(axes, geometry.segmentation > 0, geometry.spacing, at, "black")
        axes.set_title(title, fontsize="small")
    return figure


for geometry in geometries:
    display(error_slices(geometry))
pd.DataFrame([
    {"patch": str(geometry), "voxels": " x ".join(map(str, geometry.segmentation.shape)),
     "tumour (ml)": number(geometry.tumour_ml, 1)}
    | {f"{name} (%)": number(share, 2) for name, share in geometry.shares_percent.items()}
    for geometry in geometries
]).style.hide()

# %% [markdown]
# ## 3.2 Value and gradient along the errors
#
# Erosion and dilation move the outer border, the shift moves all; a missed tumour is called kidney, and a false
# tumour lies in the background. Predictions are unsure at their borders (2 mm) and sure elsewhere. Values are
# relative to a prediction that finds nothing, because a sum over three classes and a mean have different scales. The
# size of the gradient is the sum of its magnitudes over the patch.
#
# What to look for: a curve that is flat where the error is small (exponent 5) stops teaching before the work is done;
# a steep start (exponent 0.75) keeps teaching; a log-cosh curve (dashed) bends near zero, where tanh of the loss
# shrinks it.

# %%
along = {geometry.name: probes.along_paths(losses, geometry, steps) for geometry in geometries}
drawn = [loss_figures.error_paths(along[geometry.name], experiments or rows, geometry) for geometry in geometries]
made = {"losses01_error_paths": drawn[0]}
for figure in drawn:
    display(figure)

# %% [markdown]
# The rest of the library on the same errors:

# %%
if experiments and library_rows:
    display(loss_figures.error_paths(along[geometries[0].name], library_rows, geometries[0]))

# %% [markdown]
# ### The price of missing
#
# How many times more the first step of a missed tumour costs than the same volume of an invented one. To Dice both
# are nearly the same (what is missed is also added to the kidney); Tversky asks up to 0.7 / 0.3 times more. The
# higher the price, the larger the tumours that a network should draw when in doubt.

# %%
prices = pd.DataFrame({str(geometry): probes.price_of_missing(along[geometry.name]) for geometry in geometries})
prices = prices.loc[list(losses)]
price = prices.iloc[:, 0]
prices.rename(titles).rename_axis("price of missing").map(lambda value: number(value, 2)).style

# %% [markdown]
# ## 3.3 Who gets the gradient
#
# Independent voxels at the real imbalance. Logits are random (standard normal), the true class is higher by a margin:
# 0 untrained, 4 half-trained, 8 trained. A loss that treats voxels alike gives tumour voxels their share of the
# voxels (dotted). (The quality focal loss looks at each class apart, through a sigmoid, so a margin between classes
# says less to it.)

# %%
gradient = probes.gradient_shares(losses, shares)
made["losses02_gradient_shares"] = loss_figures.gradient_shares(gradient, rows, shares)
display(made["losses02_gradient_shares"])
said = {"value": "value of the loss", "gradient": "size of the gradient", "tumour": "share on tumour voxels"}
table = gradient.pivot(index="loss", columns="stage", values=list(said)).loc[list(losses)]
table = table.reindex(columns=list(probes.STAGES), level="stage")
table.rename(titles).rename(columns=said).map(lambda value: f"{value:.3g}").style

# %% [markdown]
# ### What log-cosh does
#
# The slope of log(cosh(x)) is tanh(x): the gradient keeps its direction in every voxel and is multiplied by the tanh
# of the loss. So a log-cosh row has the shares of its base row above, to the last digit. Adam divides by the size of
# recent gradients, so most of the factor cancels; what stays is that batches with a low loss count less than those
# with a high one. A focal Tversky loss that sums over three classes starts near 3, where tanh is 1: there log-cosh
# does nothing at all.
#
# ### Exponent 0.75 against 5
#
# The exponent acts on 1 - TI of each class. With 5, the slope at TI = 0.8 is 5 x 0.2^4, less than one hundredth, and
# keeps falling; with 0.75 it grows without bound, and is cut where 1 - TI is below a millionth.

# %%
figure, (left, right) = canvas("What shapes a loss", (PAGE, 2.5), 1, 2)
loss, index = np.linspace(0, 3, 200), np.linspace(0, 0.999, 400)
sns.lineplot(x=loss, y=np.tanh(loss), color=COLOURS["composite"], ax=left)
left.axhline(1, color=GREY, linestyle=":", linewidth=0.9)
left.set(xlabel="loss", ylabel="factor on its gradient", ylim=(0, 1.05), title="log-cosh: tanh of the loss")
for exponent in (0.75, 1.0, 5.0):
    sns.lineplot(x=index, y=exponent * (1 - index) ** (exponent - 1), label=f"exponent {exponent:g}", ax=right)
right.set(xlabel="Tversky index of a class", ylabel="slope", yscale="log", ylim=(1e-4, 20))
right.set_title("focal Tversky: slope of (1 − TI)^exponent")
display(figure)
factors = {
    titles[name]: {stage: float(torch.tanh(loss.loss(*probes.mixture(shares, margin))))
                   for stage, margin in probes.STAGES.items()}
    for name, loss in losses.items() if isinstance(loss, library.LogCosh)
}
pd.DataFrame(factors).T.rename_axis("log-cosh's factor on the gradient").map(number).style

# %% [markdown]
# ### Weights
#
# Class weights of the Dice loss at the three stages: what share of the gradient falls on tumour voxels. Dice already
# divides by the size of each class, so weights move little, and less as training goes on.

# %%
trials = [1, 1, 1], [1, 2, 3], [0, 1, 1], [0, 1, 3], [1, 10, 100]
weighted = {str(trial): library.WeightedDiceLoss(weights=trial) for trial in trials}
shown = probes.gradient_shares(weighted, shares).pivot(index="loss", columns="stage", values="tumour")
shown = shown.loc[list(weighted), list(probes.STAGES)]
shown.rename_axis(index="weights", columns="share on tumour voxels").map(number).style

# %% [markdown]
# ## 3.4 Patches without tumour
#
# Most patches hold none. The loss when nothing is wrong; the loss with 5 ml of invented tumour; the size of the
# gradient on the invented voxels, which pushes against them; and this push with a second patch in the batch, one with
# its tumour.
#
# A Dice that is taken patch by patch is lost on such a patch: traces of probability make the absent class's Dice
# zero, one third of the loss is gone whatever the network does, and the push against the false tumour is tiny. Pooled
# over a batch (`batch=True`, as in the quick profile) the push is there. Cross-entropy and the focal losses do not
# know the problem.

# %%
bare = probes.without_tumour(losses, geometries[-1], false_ml=5.0)
names = {"clean": "nothing wrong", "false": "5 ml invented", "push": "push against it",
         "pooled": "push, second patch in batch"}
bare.rename(titles).rename(columns=names).style.format("{:.1e}").set_caption(str(geometries[-1]))

# %% [markdown]
# ## 3.5 Hypotheses on Table 1
#
# Made from the tables above by three rules, the same for every row. A measure counts as different from the
# reference's by more than a quarter.
#
# 1. A larger share of the gradient on tumour voxels gives a higher tumour Dice.
# 2. A higher price of missing gives larger predicted tumours.
# 3. The row whose gradient falls most between half-trained and trained is the last of the table.

# %%
expected = []
if len(experiments) > 1:
    names = [row["name"] for row in experiments]
    expected = hypotheses.expect(names, gradient, price, reference if reference in names else names[0])
    display(pd.DataFrame([
        {"loss": titles[one["experiment"]], "score": figures.NAMES[one["score"]], "expected": one["expected"],
         "against": titles[one["reference"]] if one["reference"] else "all rows", "because of": one["measure"],
         "ratio": number(one["ratio"], 2) if one["ratio"] >= 0.01 else "below 0.01"} for one in expected
    ]).style.hide())
else:
    print("Hypotheses compare rows of Table 1; this build has no two.")

# %% [markdown]
# ## 3.6 A playground
#
# By hand: choose a loss, and move its parameters; `show({"my_loss.py:my_loss": {"power": (1.0, 4.0)}})` takes your own.

# %%
play = Playground(geometries[0])
if by_runner:
    display(play.draw("focal_tversky"))
else:
    play.show()

# %% [markdown]
# ## What we saw

# %%
half = gradient[gradient.stage == "half-trained"].set_index("loss").tumour.rename(titles)
lines = [
    f"Half-trained, **{half.idxmax()}** gives most of its gradient to tumour voxels ({number(100 * half.max(), 1)} %), "
    f"**{half.idxmin()}** least ({number(100 * half.min(), 1)} %); "
    f"tumour has {number(100 * shares[2], 2)} % of the voxels.",
    f"Missing is dearest to **{titles[price.idxmax()]}** ({number(price.max(), 2)} times as much invention) "
    f"and cheapest to **{titles[price.idxmin()]}** ({number(price.min(), 2)} times).",
    f"On a patch without tumour, the push against 5 ml of false tumour goes from {bare.push.min():.1e} "
    f"(**{titles[bare.push.idxmin()]}**) to {bare.push.max():.1e} (**{titles[bare.push.idxmax()]}**).",
    "Hypotheses on Table 1: " + (", ".join(
        f"{n} expect “{kind}”" for kind, n in Counter(one["expected"] for one in expected).items()
    ) or "none, for there are no two rows to compare") + ".",
]
display(Markdown("\n".join(f"- {line}" for line in lines)))

# %%
summary = {
    "geometry": {name: getattr(geometries[0], name) for name in ("name", "simulated", "tumour_ml")},
    "shares_percent": [round(100 * share, 4) for share in shares],
    "losses": titles,
    "gradient": gradient.to_dict("records"),
    "price_of_missing": price.to_dict(),
    "without_tumour": bare.to_dict("index"),
    "hypotheses": expected,
    "figures": list(made),
}
if by_runner:  # what is tried by hand changes no result
    for name, figure in made.items():
        figures.save(figure, build.figures / f"{name}.svg")
    write_json(build.losses / "summary.json", summary)
print(f"wrote the summary and {len(made)} figures" if by_runner else "wrote nothing: only make writes")

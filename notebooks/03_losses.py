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

# %% tags=["parameters"] jupyter={"source_hidden": true}
profile = "quick"  # a name in notebooks/profiles, a file, or a build's folder
changes = {}  # such as {"losses.case": 122, "losses.steps": 5}

# %% jupyter={"source_hidden": true}
from collections import Counter

import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from matplotlib.colors import ListedColormap

from kitsnb.data.cases import discover
from kitsnb.data.checks import read_labels
from kitsnb.drawing import COLOURS, GREY, PAGE, canvas, outline, section
from kitsnb.files import resolve, write_atomic, write_json
from kitsnb.study import figures
from kitsnb.study.shown import shown, what_we_saw
from kitsnb.workflow.opened import open_study
from kitsnb.workflow.profile import Experiment

study = open_study(profile, changes)
settings = study.profile.losses
data = study.profile.data

from probing import figures as draw
from probing import probes
from probing.errors import CLASSES, PATHS, around_tumour, phantom_geometry, predict_errors

figures.use_style()

# %% [markdown]
# ## Where the errors are made
#
# A patch of the seed paper's size around a tumour. Errors need no CT, only labels: a real one where the study has real
# labels, of the case whose tumour is the median, and a phantom's. Outlined in black is the label; in colour stands the
# prediction at half the way of one error (kidney blue, tumour orange).

# %% jupyter={"source_hidden": true}
geometries = [phantom_geometry(study.profile.simulation.seed, 0, settings.extent)]
if data.source != "phantom":
    number = settings.case
    if number is None:
        table = pd.read_csv(study.made(study.build.data_analysis / "cases.csv"))
        by_size = table[table.tumour_ml > 0].sort_values("tumour_ml")
        median = by_size.case.iloc[(len(by_size) - 1) // 2]
        number = int(median.removeprefix("case_"))
    chosen = [case for case in discover(resolve(data.folder)) if case.number == number]
    if not chosen:
        raise ValueError(f"losses.case: there is no case_{number:05d} in {data.folder}; name another one")
    labels, affine = read_labels(chosen[0].segmentation, chosen[0].name, data.accept_labels)
    simulated = data.source == "folder" and data.simulated
    real = around_tumour(chosen[0].name, labels, affine, settings.extent, settings.spacing, simulated)
    geometries.insert(0, real)

# %% jupyter={"source_hidden": true}
for geometry in geometries:
    truth = geometry.segmentation
    panels = {"label": truth}
    for name, path in PATHS.items():
        panels[name] = path.make(geometry, path.amounts(geometry, 3)[1])
    colours = ListedColormap(["#ededed", *(COLOURS[name] for name in CLASSES[1:])])
    figure, row = canvas(f"Errors at half their way ({geometry})", (PAGE, 2), 1, len(panels))
    for axes, (title, labels) in zip(row, panels.items()):
        seen = (labels == 2) != (truth == 2) if title.endswith("tumour") else truth == 2
        at = int(seen.sum((1, 2)).argmax())
        section(axes, labels, geometry.spacing, at, cmap=colours, vmin=0, vmax=2)
        outline(axes, truth > 0, geometry.spacing, at, "black")
        axes.set_title(title, fontsize="small")
    display(figure)

# %% jupyter={"source_hidden": true}
rows = list(study.profile.experiments)
for name in settings.others:
    if name not in [row.name for row in rows]:
        parameters = {"weights": list(settings.weights)} if "weighted" in name else {}
        title = name.replace("_", " ")
        rows.append(Experiment(name=name, title=title, loss=name, parameters=parameters))
losses, refused = probes.build_losses(rows, study.profile.training.loss_defaults, geometries)
if refused:
    display(Markdown("### Not probed: these losses fail here. The others go on, and so do all trainings."))
    display(shown(pd.DataFrame(refused.items(), columns=["loss", "reason"])))
rows = [row for row in rows if row.name in losses]
ours = [row for row in study.profile.experiments if row.name in losses]
titles = {row.name: row.title for row in rows}

# %% [markdown]
# ## Value and gradient along the errors
#
# Erosion and dilation move the outer border; a missed tumour is called kidney, and a false tumour lies in the
# background. Predictions are unsure at their borders (2 mm) and sure elsewhere. Values are relative to a prediction
# that finds nothing, because a sum over three classes and a mean have different scales. The size of the gradient is
# the sum of its magnitudes.
#
# What to look for: a curve that is flat where the error is small (exponent 5) stops teaching before the work is done;
# a steep start (exponent 0.75) keeps teaching; a log-cosh curve (dashed) bends near zero, where tanh of the loss
# shrinks it.

# %%
predictions = [predict_errors(geometry, settings.steps) for geometry in geometries]
along = [probes.along_paths(losses, *pair) for pair in zip(geometries, predictions)]
made = {"losses01_error_paths": draw.error_paths(along[0], ours or rows, geometries[0])}
made["losses01_error_paths"]

# %% [markdown]
# ### The price of missing
#
# How many times more the first step of a missed tumour costs than the same volume of an invented one. What is missed is
# also added to the kidney. The higher the price, the larger the tumours that a network should draw when in doubt.

# %% jupyter={"source_hidden": true}
prices = pd.DataFrame(index=list(losses))
for geometry, table in zip(geometries, along):
    prices[str(geometry)] = probes.price_of_missing(table)
price = prices.iloc[:, 0]
shown(prices.rename(titles).rename_axis("loss").reset_index())

# %% [markdown]
# ## Who gets the gradient
#
# Independent voxels at KiTS19's imbalance. Logits are random (standard normal), the true class is higher by a margin:
# 0 untrained, 4 half-trained, 8 trained. A loss that treats voxels alike gives tumour voxels their share of the voxels
# (dotted).

# %%
gradient = probes.gradient_shares(losses, settings.shares)
made["losses02_gradient_shares"] = draw.gradient_shares(gradient, rows, settings.shares)
made["losses02_gradient_shares"]

# %% [markdown]
# ### What shapes a loss
#
# The slope of log(cosh(x)) is tanh(x): the gradient keeps its direction in every voxel and is multiplied by the tanh
# of the loss. Adam divides by the size of recent gradients, so most of the factor cancels; what stays is that batches
# with a low loss count less than those with a high one. The exponent of a focal Tversky loss acts on 1 - TI of each
# class. With 5, the slope at TI = 0.8 is 5 x 0.2^4, less than one hundredth, and keeps falling; with 0.75 it grows
# without bound, and is cut where 1 - TI is below a millionth.

# %%
figure, (left, right) = canvas("What shapes a loss", (PAGE, 2.5), 1, 2)
loss = np.linspace(0, 3, 200)
left.plot(loss, np.tanh(loss), color=COLOURS["composite"])
left.axhline(1, color=GREY, linestyle=":", linewidth=0.9)
left.set(xlabel="loss", ylabel="factor on its gradient", ylim=(0, 1.05), title="log-cosh: tanh of the loss")
index = np.linspace(0, 0.999, 400)
for exponent in (0.75, 1.0, 5.0):
    slope = exponent * (1 - index) ** (exponent - 1)
    right.plot(index, slope, label=f"exponent {exponent:g}")
right.legend()
right.set(xlabel="Tversky index of a class", ylabel="slope", yscale="log", ylim=(1e-4, 20))
right.set_title("focal Tversky: slope of (1 − TI)^exponent")
figure

# %% jupyter={"source_hidden": true}
expected = []
if len(ours) > 1:
    names = [row.name for row in ours]
    reference = settings.reference if settings.reference in names else names[0]
    expected = probes.expect(names, gradient, price, reference)
    display(Markdown("""
## Hypotheses on Table 1

By three rules, the same for every row; a measure counts as different from the reference's by more than a quarter. A
larger share of the gradient on tumour voxels gives a higher tumour Dice; a higher price of missing gives larger
predicted tumours; the row whose gradient falls most between half-trained and trained is the last of the table.
"""))
    table = pd.DataFrame(expected)
    table["loss"] = table.experiment.map(titles)
    table["against"] = table.reference.map(titles).fillna("all rows")
    table["score"] = table.score.replace(figures.NAMES)
    columns = ["loss", "score", "expected", "against", "measure", "ratio"]
    display(shown(table[columns], digits=3))

# %% jupyter={"source_hidden": true}
if not study.writes:
    from interactive.playground import playground

    display(Markdown("## Playground\n\nMove a loss's parameters: the curves are those of above."))
    display(playground(geometries[0], predictions[0]))

# %% [markdown]
# ## What we saw

# %% jupyter={"source_hidden": true}
half = gradient[gradient.stage == "half-trained"].set_index("loss").tumour
rows = [("losses probed", len(losses), ""), ("tumour in the patch", f"{geometries[0].tumour_ml:.1f}", "ml"),
        ("tumour voxels, all KiTS19 labels", f"{100 * settings.shares[2]:.2f}", "% of the voxels")]
measures = {"% of the gradient on tumour voxels, half-trained": 100 * half, "price of missing over inventing": price}
for name, values in measures.items():
    most = titles[values.idxmax()]
    least = titles[values.idxmin()]
    rows.append((f"most, {name}", f"{values.max():.2f}", most))
    rows.append((f"least, {name}", f"{values.min():.2f}", least))
counts = Counter(one["expected"] for one in expected)
for kind, count in counts.items():
    rows.append((f"hypotheses: {kind}", count, f"of {len(expected)}"))
what_we_saw(rows)

# %% jupyter={"source_hidden": true}
if study.writes:
    for name, figure in made.items():
        figures.save(figure, study.build.figures / f"{name}.svg")
    first = geometries[0]
    write_json(study.build.losses / "summary.json", {
        "geometry": {"name": first.name, "simulated": first.simulated, "tumour_ml": first.tumour_ml},
        "shares_percent": [round(100 * share, 4) for share in settings.shares],
        "losses": titles, "refused": refused, "gradient": gradient.to_dict("records"),
        "price_of_missing": price.to_dict(), "hypotheses": expected, "figures": list(made),
    })
    write_atomic(study.build.losses / "gradient.csv", gradient.to_csv(index=False))

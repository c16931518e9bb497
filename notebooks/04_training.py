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
# # 4. One run: one loss, one seed
#
# For each row of Table 1 and each seed, the 3D U-Net is trained on patches, predicts the held-out cases in their
# native geometry, and is scored. Network, patches (notebook 02 shows some) and seeds are the same for every row.
# Opened by hand, the notebook shows the finished run and trains nothing; with `changes`, it trains into a folder of
# its own.

# %% tags=["parameters"] jupyter={"source_hidden": true}
profile = "quick"  # a name in notebooks/profiles, a file, or a build's folder
experiment, seed = "dice", 0  # a row of Table 1, and what weights, patches and augmentation follow from
changes = {}  # such as {"training.epochs": 3}

# %% jupyter={"source_hidden": true}
import os

import pandas as pd
import torch
from IPython.display import Markdown, clear_output, display

from kitsnb.data.checks import read_case
from kitsnb.data.nifti import read_nifti
from kitsnb.files import read_json, write_atomic
from kitsnb.inference import predict_and_score, write_run
from kitsnb.messages import duration, threads_of_environment
from kitsnb.study import figures
from kitsnb.study.shown import shown, what_we_saw
from kitsnb.study.tables import extremes
from kitsnb.training import load_network, train
from kitsnb.workflow.opened import open_study

study = open_study(profile, changes)
run = study.run(experiment, seed)
training = run.training
simulated = study.profile.simulated
if not run.trains:
    study.made(run.folder / "run.json")

from results.figures import slices, training_panels

figures.use_style()
torch.set_num_threads(threads_of_environment() or os.cpu_count())
display(Markdown(f"**{run.title}**, seed {seed}: {len(run.training_cases)} training and {len(run.validation_cases)} "
                 "held-out cases."))

# %% [markdown]
# ## Training
#
# Interrupted, a run goes on from its last checkpoint: patches are drawn from the seed and the number of the step, so it
# sees what it would have seen.

# %% jupyter={"source_hidden": true}
if run.trains:
    facts = train(training, run.training_cases, run.validation_cases, run.folder)
    clear_output()  # of a line per epoch: the curves below say it
else:
    facts = read_json(run.folder / "run.json")

# %%
history = pd.read_csv(run.folder / "history.csv")
training_panels({run.title: history}, run.title, simulated)

# %% [markdown]
# ## Held-out cases, in native geometry
#
# Overlapping patches, blended; class probabilities are brought back to the scanner's grid and only then become labels.
# Worst tumours first.

# %% jupyter={"source_hidden": true}
if run.trains:
    pairs = [(case, run.native[case.name]) for case in run.validation_cases]
    overlap = study.profile.prediction.overlap
    network = load_network(run.folder, training)
    scores = predict_and_score(network, pairs, run.folder / "predictions", training.patch_size, overlap, study.accept)
    write_atomic(run.folder / "scores.csv", scores.to_csv(index=False))
    about = {"experiment": experiment, "title": run.title, "seed": seed, "simulated": simulated}
    write_run(run.folder, about | facts, run.sections)
scores = pd.read_csv(run.folder / "scores.csv")
columns = ["case", "tumour_ml", "kidney_and_tumour", "kidney", "tumour", "composite"]
ranked = scores.sort_values("tumour")[columns].rename(columns=figures.NAMES | {"tumour_ml": "tumour (ml)"})
display(shown(ranked.head(12), digits=3))
if len(ranked) > 12:
    display(Markdown(f"and {len(ranked) - 12} more in `scores.csv`."))

# %% [markdown]
# ## The worst, the median and the best tumour
#
# Reference above, prediction below.

# %%
by_case = scores.set_index("case")
for place, name in extremes(by_case).items():
    imaging, reference, affine = read_case(run.native[name], accept=study.accept)
    prediction, _ = read_nifti(run.folder / "predictions" / f"{name}.nii.gz")
    case = name.replace("_", " ")
    heading = f"{place.capitalize()} of {len(scores)}: {case}, tumour Dice {by_case.tumour[name]:.2f}"
    display(slices(imaging, reference, prediction, affine, heading, simulated))

# %% [markdown]
# ## What we saw

# %% jupyter={"source_hidden": true}
scored = facts["best_epoch"] if training.weights == "best" else facts["epochs"]
rows = []
for name in ("kidney_and_tumour", "tumour"):
    found = scores[name].dropna()
    spread = f"{found.mean():.3f} ± {found.std():.3f}"
    rows.append((f"{figures.NAMES[name]}, mean ± SD", spread, f"Dice, {len(found)} cases"))
tumours = scores[scores.tumour_ml > 0].tumour
missed = int((tumours == 0).sum())
rows += [
    ("tumours missed entirely", missed, f"of {len(tumours)}"),
    ("epochs", facts["epochs"], f"{facts['steps']} steps"), ("epoch of the weights that are scored", scored, ""),
    ("time", duration(facts["seconds"]), f"{facts['precision']} on {facts['device']}"),
    ("speed", f"{facts['patches_per_second']:.1f}", "patches per second"),
    ("peak memory", f"{facts['peak_memory_mb'] / 1000:.1f}", "GB"),
    ("parameters", f"{facts['trainable_parameters']:,}", ""),
]
what_we_saw(rows)

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
# The runner executes this notebook once for each row of Table 1 and each seed (and fold, where the profile has folds). It trains
# the 3D U-Net on patches, keeps the weights of the epoch with the lowest validation loss, predicts the held-out cases in their
# native geometry, and scores them. The network, the patches and the seeds are the same for every row; the loss alone differs.
#
# Opened by hand it shows the finished run of this name and trains nothing. With `train_now = True` it trains what the cell below
# says, into a folder of its own below `by_hand`; the paper's runs stay as they are.

# %% tags=["parameters"]
build = "build/quick"  # folder of all outputs of the profile
by_runner = False  # True: executed by make, which trains and writes; by hand a notebook only looks
experiment = "dice"  # name of the row of Table 1
seed = 0  # weights, patches and augmentation follow from it
fold: int | None = None  # number of the group that is held out, from 0, where the build has folds
train_now = False  # True: train by hand, with the settings below; None there: as the build has it
title: str | None = None  # how the table calls the row
loss: str | None = None  # name in kitsnb.losses.LOSSES, or "file.py:function"
loss_parameters: dict | None = None  # arguments of that loss
network: dict | None = None  # of UNet3D, such as {"base_filters": 8, "depth": 3}
patch_size: list | None = None  # voxels; the paper: 80, 80, 80
overlap: list | None = None  # of patches in prediction; the paper: 40, 40, 40
located: bool | None = None  # score what lies around the kidneys that a coarse pass finds, too
batch_size: int | None = None  # patches a step; the paper: 1
steps_per_epoch: int | None = None  # an epoch is so many batches
epochs: int | None = None  # at most
learning_rate: float | None = None  # of Adam; the paper: 1e-4
schedule: str | None = None  # "plateau", the paper's, or "poly"
warm_up: int | None = None  # steps, with "poly"
plateau_patience: int | None = None  # epochs, with "plateau"
minimum_learning_rate: float | None = None  # with "plateau"
stop_patience: int | None = None  # epochs without improvement before training stops
weights: str | None = None  # "best" (validation) or "last" predict
selection: float | None = None  # share of the training cases that choose the weights; 0: the held-out cases do
foreground: float | None = None  # share of patches centred on foreground
tumour: float | None = None  # share of these that is centred on tumour
body: float | None = None  # share of the others that is centred in the body, where the scan shows much air around it
augmentation: dict | None = None  # of Augmentation, such as {"rotation": 5.0}
precision: str | None = None  # "auto" is 16 bits on a GPU, "32-true" the paper's, or "bf16-mixed", "16-mixed"
source: str | None = None  # "phantom" and "hybrid" read build/data, "folder" reads `folder`
folder: str | None = None  # data in KiTS19's folder format, for source "folder"
simulated: bool | None = None  # is the CT simulated? said in every figure
label_map: dict | None = None  # labels to take as others, {3: 1} for the cysts of KiTS21 and KiTS23
accept_affine: bool | None = None  # take imaging's affine where the segmentation's differs
training: list | None = None  # first and last number of the training cases
validation: list | None = None  # first and last number of the held-out cases
excluded: list | None = None  # numbers left out
folds: int | None = None  # the cases of both ranges are cut into so many groups

# %%
import hashlib
import json
import sys

import pandas as pd
import torch
from IPython.display import Markdown, display

from kitsnb.data.cases import discover, hold_out
from kitsnb.data.checks import Accept, read_case
from kitsnb.data.nifti import read_nifti
from kitsnb.data.settings import DataSettings
from kitsnb.drawing import COLOURS, PAGE, canvas, outline, section
from kitsnb.files import NOTEBOOKS, Build
from kitsnb.inference.held_out import predict_and_score
from kitsnb.inference.trained import write_run
from kitsnb.inference.window import Window
from kitsnb.messages import duration
from kitsnb.preprocessing.arrays import cases_below
from kitsnb.receipts import flat
from kitsnb.study import figures
from kitsnb.study.runs import read_stage
from kitsnb.study.tables import extremes, number, plural
from kitsnb.training.checkpoints import load_network
from kitsnb.training.patches import PatchSampler
from kitsnb.training.precision import threads
from kitsnb.training.run import train
from kitsnb.training.settings import Training
from kitsnb.training.volumes import load_volumes
from kitsnb.workflow.profile import recorded_parameters

sys.path.append(str(NOTEBOOKS))
from results.figures import slices, training_panels

# %matplotlib inline
figures.use_style()
torch.set_num_threads(threads())

# %% [markdown]
# ## 4.1 The run and its settings
#
# Three models check types, ranges and what must fit together, before anything starts.

# %%
names = {"title", "overlap", "located", *Training.model_fields, *DataSettings.model_fields}
given = {name: value for name, value in globals().items() if name in names}
run = Build(build).run(experiment, seed, fold)
if not by_runner:  # what the build has, and of that run, or what the reader wants
    wanted = {name: value for name, value in given.items() if value is not None}
    recorded = recorded_parameters(build, "training", experiment)
    given = recorded | (wanted if train_now else read_stage(run / "run.json", "04_training")["settings"])
build = Build(build)
settings = Training.among(given)
data = DataSettings.among(given)
window = Window.checked({"patch_size": given["patch_size"], "overlap": given["overlap"]})
if train_now and not by_runner:  # a folder to each choice of settings, so that none is in another's way
    chosen = json.dumps([settings.as_json(), data.as_json()]).encode()
    run = build.folder / "by_hand" / f"{run.name}-{hashlib.sha256(chosen).hexdigest()[:6]}"
title, simulated = given["title"], data.simulated


def in_words(value):
    """A setting as a reader says it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)


said = flat(settings.as_json() | {"overlap": list(window.overlap)})
pd.DataFrame([{"setting": name.replace("_", " ").replace(".", ": "), "value": in_words(value)}
              for name, value in said.items()]).style.hide()

# %% [markdown]
# ## 4.2 The cases, and what the network sees
#
# Preprocessed volumes are files of three bytes a voxel, mapped into memory; a GPU with room for all of them keeps them. Below are
# the first patches of the run, as the loss gets them: crop, scaling, rotation, elastic deformation and mirror in one resampling,
# then brightness, contrast, gamma and noise.

# %%
grid = read_stage(build.preprocessed / "report.json", "02_preprocessing")
split = hold_out(discover(build.cases(data.source, data.folder)), data, fold or 0)
training_cases, held_out = (cases_below(build.preprocessed, part) for part in (split.training, split.validation))
print(f"{len(training_cases)} training and {plural(len(held_out), 'held-out case')}")
sampler = PatchSampler(load_volumes(training_cases, body=settings.body > 0), settings.changed(batch_size=1))
figure, row = canvas("Training patches: kidney blue, tumour orange", (PAGE, 1.6), 1, 6, simulated=simulated)
for step, axes in enumerate(row):
    imaging, labels = (part.reshape(settings.patch_size).numpy() for part in sampler.batch(step))
    middle = int((labels > 0).sum((1, 2)).argmax())
    section(axes, imaging, grid["spacing"], middle, cmap="gray")
    for label, name in ((1, "kidney"), (2, "tumour")):
        outline(axes, labels == label, grid["spacing"], middle, COLOURS[name])
figure

# %% [markdown]
# ## 4.3 Training
#
# One line an epoch. Interrupted, the run goes on from its last checkpoint: patches are drawn from the seed and the number of
# the step, so it sees what it would have seen. A finished run is found done.

# %%
if by_runner or train_now:
    facts = train(settings, training_cases, held_out, run)
else:
    facts = read_stage(run / "run.json", "04_training")
pd.Series({
    "epochs, best": f"{facts['epochs']}, {facts['best_epoch']}", "steps": f"{facts['steps']}",
    "time": duration(facts["seconds"]), "patches a second": number(facts["patches_per_second"], 1),
    "peak memory": f"{facts['peak_memory_mb'] / 1000:.1f} GB",
    "trainable parameters": f"{facts['trainable_parameters']:,}", "arithmetic": facts["precision"], "device": facts["device"],
}, name="this run").to_frame()

# %%
history = pd.read_csv(run / "history.csv")
training_panels({title: (history, facts["best_epoch"])}, title, simulated)

# %% [markdown]
# ## 4.4 Held-out cases, in native geometry
#
# Overlapping patches, blended; class probabilities are brought back to the scanner's grid and only then become labels.

# %%
accept, native = Accept(dict(data.label_map), data.accept_affine), {case.name: case for case in split.validation}
if by_runner or train_now:
    scores = predict_and_score(load_network(run, settings), [(case, native[case.name]) for case in held_out], run / "predictions",
                               window, accept, run / "checkpoints" / "best.ckpt", bool(given["located"]))
    scores.to_csv(run / "scores.csv", index=False)
    write_run(run, {"experiment": experiment, "title": title, **facts, "simulated": simulated,
                    "training_cases": len(training_cases)}, grid["settings"], settings.as_json(),
              {"overlap": list(window.overlap), "located": given["located"], "fold": fold}, data.as_json())
scores = pd.read_csv(run / "scores.csv")
shown = [name for name in figures.NAMES if name in scores]
scores.set_index("case")[shown].rename(columns=figures.NAMES).sort_values(figures.NAMES["tumour"]).map(number)

# %% [markdown]
# ## 4.5 The worst, the median and the best tumour
#
# Reference above, prediction below: kidney blue, tumour orange.

# %%
by_case = scores.set_index("case")
for place, name in extremes(by_case).items():
    imaging, reference, affine = read_case(native[name], accept=accept)
    prediction, _ = read_nifti(run / "predictions" / f"{name}.nii.gz")
    dice = number(by_case.tumour[name], 2)
    heading = f"{place.capitalize()} of {len(scores)}: {name.replace('_', ' ')}, tumour Dice {dice}"
    display(slices(imaging, reference, prediction, affine, heading, simulated))

# %% [markdown]
# ## 4.6 What we saw

# %%
found = {name: scores[name].dropna() for name in ("kidney_and_tumour", "tumour")}
means = "; ".join(f"{figures.NAMES[name]} {number(values.mean())} ± {number(values.std())} (n = {len(values)})"
                  for name, values in found.items())
best = history.set_index("epoch").loc[facts["best_epoch"]]
gap = best.validation_loss - best.training_loss
missed = int((found["tumour"] == 0).sum())
Markdown("\n".join([
    f"- **{title}**, seed {settings.seed}: {means}. Mean Dice over held-out cases, in native geometry, ± standard deviation.",
    f"- The lowest validation loss came in epoch {facts['best_epoch']} of {facts['epochs']}"
    + (": training had not yet levelled off." if facts["best_epoch"] >= 0.9 * facts["epochs"] else ", well before the end."),
    f"- In that epoch the validation loss was {number(abs(gap))} {'above' if gap > 0 else 'below'} the training loss.",
    f"- {plural(missed, 'tumour was', 'tumours were')} missed entirely, of {len(found['tumour'])}." if missed else
    f"- No tumour of {len(found['tumour'])} was missed entirely.",
]))

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
# # One run: one loss, one seed
#
# The runner executes this notebook once for each row of Table 1 and each seed (and fold, where the profile has folds). It trains
# the 3D U-Net on patches, keeps the weights of the epoch with the lowest validation loss, predicts the held-out cases in their
# native geometry, and scores them.
#
# The network, the patches and the seeds are the same for every row; the loss alone differs.

# %% tags=["parameters"]
build = "build/quick"  # folder of all outputs of the profile
experiment = "dice"  # name of the row of Table 1
title = "Dice loss"  # how the table calls it
loss = "dice"  # name in kitsnb.losses.LOSSES, or "file.py:function"
loss_parameters = {"batch": True}  # arguments of that loss
seed = 0  # weights, patches and augmentation follow from it
source = "phantom"  # "phantom" and "hybrid" read build/data, "folder" reads `folder`
folder: str | None = None  # data in KiTS19's folder format, for source "folder"
simulated = True  # is the CT simulated? said in every figure
label_map: dict = {}  # labels to take as others, {3: 1} for the cysts of KiTS21 and KiTS23
accept_affine = False  # take imaging's affine where the segmentation's differs
training = [0, 99]  # first and last number of the training cases
validation = [100, 119]  # first and last number of the held-out cases
excluded: list | None = []  # numbers left out; None: the paper's six
folds: int | None = None  # the cases of both ranges are cut into so many groups; None: the split by ranges
fold: int | None = None  # number of the group that is held out, from 0
network = {"base_filters": 8, "depth": 3, "normalization": "instance", "order": "norm_relu", "negative_slope": 0.01}  # of UNet3D
patch_size = [32, 48, 48]  # voxels; the paper: 80, 80, 80
overlap = [16, 24, 24]  # of patches in prediction; the paper: 40, 40, 40
batch_size = 2  # patches a step; the paper: 1
steps_per_epoch = 50  # an epoch is so many batches
epochs = 18  # at most
learning_rate = 1e-2  # of Adam; the paper: 1e-4
schedule = "poly"  # "plateau" is the paper's
warm_up = 20  # steps, with "poly"
plateau_patience = 5  # epochs, with "plateau"
minimum_learning_rate = 1e-5  # with "plateau"
stop_patience = 20  # epochs without improvement before training stops
foreground = 0.67  # share of patches centred on foreground
tumour = 0.6  # share of these that is centred on tumour
augmentation: dict | None = {"scaling": [0.9, 1.1], "rotation": 5.0, "elastic": 0.5, "brightness": [0.9, 1.1]}  # of Augmentation
precision = "bf16-mixed"  # "32-true" is the paper's
compile_network = False  # by torch.compile: a minute before the first step, faster steps on a GPU
devices = 1  # of one run; with more, an epoch keeps its number of patches, and each device takes its share

# %%
import json
import logging
import os
import warnings

import matplotlib.pyplot as plt
import pandas as pd
import torch

from kitsnb.data.cases import discover, select
from kitsnb.data.checks import Accept
from kitsnb.files import Build
from kitsnb.inference.sliding_window import Window, predict_and_score
from kitsnb.preprocessing.arrays import cases_below
from kitsnb.study import figures
from kitsnb.study.figures.results import training_curves
from kitsnb.training.checkpoints import load_network
from kitsnb.training.patches import PatchSampler
from kitsnb.training.run import train
from kitsnb.training.settings import Training
from kitsnb.training.volumes import load_volumes

# %matplotlib inline
figures.use_style()
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 0)) or os.cpu_count())
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
build = Build(build)
run = build.run(experiment, seed, fold)
settings = Training(
    loss=loss, loss_parameters=loss_parameters, seed=seed, network=network, patch_size=patch_size, batch_size=batch_size,
    steps_per_epoch=steps_per_epoch, epochs=epochs, learning_rate=learning_rate, schedule=schedule, warm_up=warm_up,
    plateau_patience=plateau_patience, minimum_learning_rate=minimum_learning_rate, stop_patience=stop_patience,
    foreground=foreground, tumour=tumour, augmentation=augmentation, precision=precision,
    compile_network=compile_network, devices=devices,
)
settings

# %% [markdown]
# ## The cases
#
# Preprocessed volumes are files of three bytes a voxel, mapped into memory; a GPU with room for all of them keeps them.

# %%
if not (build.preprocessed / "report.json").exists():
    raise FileNotFoundError(f"{build.preprocessed} holds no report.json; run notebook 02_preprocessing first")
split = select(discover(build.cases(source, folder)), training, validation, excluded, fold, folds)
training_cases, validation_cases = (cases_below(build.preprocessed, part) for part in (split.training, split.validation))
print(f"{len(training_cases)} training and {len(validation_cases)} held-out cases")

# %% [markdown]
# ## What the network sees
#
# The first batches of the run, as the loss gets them: crop, scaling, rotation, elastic deformation and mirror in one
# resampling, then brightness, contrast, gamma and noise.

# %%
sampler = PatchSampler(load_volumes(training_cases), patch_size, 1, foreground=foreground, tumour=tumour, seed=seed,
                       augmentation=settings.augmentation)
figure, axes = plt.subplots(1, 6, figsize=(figures.PAGE, 1.5))
for step, axis in enumerate(axes):
    imaging, segmentation = sampler.batch(step)
    middle = int((segmentation[0] > 0).sum((1, 2)).argmax())
    axis.imshow(imaging[0, 0, middle].cpu(), cmap="gray")
    for label, name in ((1, "kidney"), (2, "tumour")):
        if (segmentation[0, middle] == label).any():
            axis.contour(segmentation[0, middle].cpu() == label, [0.5], colors=figures.COLOURS[name], linewidths=0.8)
    axis.set_axis_off()
figure.suptitle("Training patches" + (", simulated CT" if simulated else "") + ": kidney blue, tumour orange")
plt.close(figure)  # shown once, below
figure

# %% [markdown]
# ## Training
#
# One line an epoch. Interrupted, the run goes on from its last checkpoint: patches are drawn from the seed and the number of
# the step, so it sees what it would have seen. On several devices, each has a process of its own.

# %%
summary = train(settings, training_cases, validation_cases, run)
summary

# %%
history = pd.read_csv(run / "history.csv")
figure = training_curves(history, title, simulated)
figure

# %% [markdown]
# ## Held-out cases, in native geometry
#
# Overlapping patches, blended; class probabilities are brought back to the scanner's grid and only then become labels.

# %%
best = load_network(run, settings)
prepared = cases_below(build.preprocessed, split.validation)
native = {case.name: case for case in split.validation}
scores = predict_and_score(best, [(case, native[case.name]) for case in prepared], run / "predictions",
                           Window(patch_size=patch_size, overlap=overlap), Accept(label_map, accept_affine))
scores.to_csv(run / "scores.csv", index=False)
scores.round(3)

# %%
record = {
    "experiment": experiment, "title": title, **summary, "simulated": simulated,
    "preprocessing": json.loads((build.preprocessed / "report.json").read_text())["settings"],
    "training_cases": len(training_cases),
    "settings": {**settings.as_json(), "overlap": overlap, "training": training, "validation": validation, "excluded": excluded,
                 "fold": fold, "folds": folds},
}
(run / "run.json").write_text(json.dumps(record, indent=1))
scores[["kidney_and_tumour", "kidney", "tumour", "composite"]].agg(["mean", "std", "count"]).round(3)

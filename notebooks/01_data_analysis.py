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
# # 1. What the data look like
#
# A **case** is a folder `case_XXXXX` with a CT volume (`imaging.nii.gz`) and its **segmentation**
# (`segmentation.nii.gz`): 0 background, 1 kidney, 2 tumour. Before any network is trained, each file is read once,
# checked and measured. Phantoms have procedural anatomy; hybrids have real labels, and simulated CT around and inside
# them. Opened by hand, the notebook shows what was measured, and at its end any case.

# %% tags=["parameters"] jupyter={"source_hidden": true}
profile = "quick"  # a name in notebooks/profiles, a file, or a build's folder
changes = {}  # such as {"simulation.seed": 3}

# %% jupyter={"source_hidden": true}
import os

import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from kitsnb.data.settings import EXCLUDED
from kitsnb.files import read_json, replaced, resolve, write_atomic, write_json
from kitsnb.study import figures
from kitsnb.study.shown import shown, what_we_saw
from kitsnb.workflow.opened import open_study

study = open_study(profile, changes)
data = study.profile.data

from fingerprint import figures as draw
from fingerprint import measure

figures.use_style()

# %% jupyter={"source_hidden": true}
folder = study.build.data_analysis
if study.writes:
    simulation = study.profile.simulation
    unpainted = {}
    if data.source == "phantom":
        from kitsnb.simulation import write_phantoms

        write_phantoms(study.build.data, simulation.cases, simulation.seed)
    elif data.source == "hybrid":
        from kitsnb.simulation import write_hybrid

        labels = resolve(data.folder)
        accept = data.accept_labels
        _, unpainted = write_hybrid(labels, study.build.data, simulation.spacing, simulation.seed, accept,
                                    study.profile.workers)
    imaging = any(case.imaging.is_file() for case in study.cases)
    table, hu, summary = measure.measure_cases(study.cases, imaging, study.profile.workers, study.accept)
    split = study.split()
    roles = {f"case_{number:05d}": "excluded" for number in data.excluded}
    roles |= {case.name: "training" for case in split.training}
    roles |= {case.name: "validation" for case in split.validation}
    table["role"] = table.case.map(roles).fillna("not used")
    if data.folds:
        table["role"] = table.role.replace(["training", "validation"], "cross-validation")
    summary["simulated"] = data.simulated
    summary["missing"] = split.missing
    summary["refused"] |= unpainted
    write_atomic(folder / "cases.csv", table.to_csv(index=False))
    if imaging:
        with replaced(folder / "hu.npy") as partial:
            np.save(partial, hu)
    write_json(folder / "summary.json", summary)
else:
    summary = read_json(study.made(folder / "summary.json"))
    table = pd.read_csv(folder / "cases.csv")
    hu = np.load(folder / "hu.npy") if "foreground_hu" in summary else None

# %% [markdown]
# ## How little of a scan is tumour
#
# This is what the paper is about: a loss that treats all voxels alike is nearly perfect for a network that predicts
# background everywhere. Mind the logarithmic scale.

# %%
imbalance = draw.imbalance(table, data.simulated)
if study.writes:
    figures.save(imbalance, study.build.figures / "data01_imbalance.svg")
imbalance

# %% jupyter={"source_hidden": true}
def list_reasons(title, reasons):
    """Show a heading, and the reason for each case; nothing where there is none."""
    if reasons:
        rows = pd.DataFrame(reasons.items(), columns=["case", "reason"])
        display(Markdown(f"### {title}"), shown(rows))


list_reasons("Refused: these cases cannot be used, and the others go on without them", summary["refused"])
list_reasons("Usable, but odd", summary["noted"])

# %% [markdown]
# ## Sizes and spacings
#
# The voxels of a CT are boxes, not cubes, and their height is the radiographer's choice: the same abdomen comes as many
# thin slices or few thick ones; scans of equal length would lie on one falling line. A network that sees voxels, not
# millimetres, would meet the same kidney at very different sizes; this is why all cases are resampled to one spacing
# later. Sizes follow the patient: "slice" means head to foot in every file, whichever axis holds it.

# %%
draw.geometry(table, data.simulated)

# %% jupyter={"source_hidden": true}
if hu is not None:
    display(Markdown("""
## HU within each label

CT numbers are absolute: −1000 HU is air and 0 HU is water, on every scanner. So one window can serve all cases.
nnU-Net takes it from the data, as the 0.5 and 99.5 percentile of all kidney and tumour voxels; on the real KiTS19
imaging that gave −79 to 304 HU, the seed paper's. Grey is the window of this profile. Where the curves of kidney
and tumour overlap, intensity alone cannot tell them apart, and the network needs shape and context.
"""))
    display(draw.intensities(hu, study.profile.preprocessing.clip, data.simulated))

# %% [markdown]
# ## Volumes
#
# The size of a kidney has its anatomical limits, that of a tumour hardly any, and a Dice score averaged over cases
# gives the smallest tumour the weight of the largest. "Kidney" is label 1 alone: tissue that the tumour has replaced
# is not in it.

# %%
draw.volumes(table, data.simulated)

# %% jupyter={"source_hidden": true}
ranges = {
    "slices": "slices", "slice spacing (mm)": "slice_spacing_mm", "in-plane spacing (mm)": "in_plane_spacing_mm",
    "kidney (ml)": "kidney_ml", "tumour (ml)": "tumour_ml",
}
rows = [{"measure": text, **summary[name]} for text, name in ranges.items()]
shown(pd.DataFrame(rows)[["measure", "min", "median", "max"]], digits=1)

# %% [markdown]
# ## The split
#
# Held-out ("validation") cases give the scores; no training case is among them. Tumours of each part, in ml:

# %% jupyter={"source_hidden": true}
tumours = table[table.tumour_voxels > 0].groupby("role").tumour_ml
ranges = tumours.agg(tumours="count", smallest="min", median="median", largest="max")
display(shown(ranges.reset_index(), digits=1))
list_reasons("Asked for, but not at hand", dict.fromkeys(summary["missing"], "there is no such case"))
reasons = {f"case_{number:05d}": EXCLUDED.get(number, "left out by the profile") for number in data.excluded}
list_reasons("Excluded", reasons)

# %% jupyter={"source_hidden": true}
slabs = os.environ.get("KITSNB_SLABS")  # by make's default the labels' own folder, which holds none
pairs = []
if study.writes and data.source == "hybrid" and slabs and resolve(slabs) != resolve(data.folder):
    from fingerprint import calibration

    numbers = [case.number for case in split.validation]
    pairs = list(calibration.read_pairs(resolve(slabs), resolve(data.folder), numbers, simulation.seed))
if pairs:
    display(Markdown("""
## Beside real CT

The same slabs of held-out patients, real and simulated. The simulation's numbers were set on the others.
"""))
    measured = calibration.measure_pairs(pairs)
    display(calibration.calibration_figure(measured), shown(calibration.calibration_table(measured)))
    display(calibration.picture_pairs(pairs[::8]))

# %% [markdown]
# ## What we saw

# %% jupyter={"source_hidden": true}
shares = summary["shares_percent"]
counts = table.role.value_counts()
rows = [("usable cases", len(table), f"of {len(table) + len(summary['refused'])}")]
rows += [(f"of these {role}", int(count), "cases") for role, count in counts.items()]
for name, share in shares.items():
    rows.append((f"share of {name}", f"{share:.2f}", "% of all voxels"))
if shares["tumour"]:
    rows.append(("background voxels per tumour voxel", f"{shares['background'] / shares['tumour']:.0f}", ""))
rows.append(("cases without tumour", summary["without_tumour"], "cases"))
if "foreground_hu" in summary:
    hu = summary["foreground_hu"]
    rows.append(("kidney and tumour, 0.5 to 99.5 percentile", f"{hu['low']:.0f} to {hu['high']:.0f}", "HU"))
    rows.append(("kidney and tumour, mean and SD", f"{hu['mean']:.0f} and {hu['sd']:.0f}", "HU"))
what_we_saw(rows)

# %% jupyter={"source_hidden": true}
if not study.writes and hu is not None:
    from interactive.browse import browse

    display(Markdown("## Any case, to look at"))
    facts = table.set_index("case").apply("· {0.role} · tumour {0.tumour_ml:.1f} ml".format, axis=1).to_dict()
    display(browse(study.source, facts, accept=study.accept))

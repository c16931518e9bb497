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
# # 1. What the data look like
#
# Before any network is trained, this notebook takes the fingerprint of the data set: how large the cases are, how far
# apart their voxels lie, how the scanner's numbers differ between kidney and tumour, and how little of a scan is
# tumour. That last point is what the paper is about: a loss that treats all voxels alike is nearly perfect for a
# network that predicts background everywhere.
#
# A **case** is a folder `case_XXXXX` with a CT volume (`imaging.nii.gz`) and its **segmentation**
# (`segmentation.nii.gz`): 0 background, 1 kidney, 2 tumour. Each file is read once, checked, measured and let go.

# %% tags=["parameters"]
build = "build/quick"  # folder of all output, from the repository's root
source = "phantom"  # "phantom" or "hybrid": simulate cases into the build folder; "folder": use what lies in `folder`
folder: str | None = None  # of case_00000, case_00001, ...: with "folder" the cases, with "hybrid" the real labels
phantom_cases = 120  # how many cases to simulate
phantom_seed = 1  # equal seeds give equal cases
hybrid_spacing = [3.22, 1.62, 1.62]  # mm (slice, height, width) of the CT that "hybrid" paints around the labels
hybrid_seed = 0  # equal seeds give equal cases
training = [0, 99]  # first and last number of the training cases
validation = [100, 119]  # first and last number of the validation cases
simulated = True  # is the CT simulated? said in every figure
label_map: dict = {}  # labels to take as others, {3: 1} for the cysts of KiTS21 and KiTS23
accept_affine = False  # take imaging's affine where the segmentation's differs, instead of refusing the case
excluded: list | None = []  # numbers of cases to leave out of both; None: the six that the seed paper leaves out
folds: int | None = None  # cross-validation over the cases of both ranges; None: the split by ranges

# %%
import json
import time

import pandas as pd
from IPython.display import Markdown, display

from kitsnb.data import fingerprint
from kitsnb.data.cases import EXCLUDED, discover, select
from kitsnb.data.checks import Accept, read_case
from kitsnb.data.nifti import spacing_of
from kitsnb.files import SIMULATED_SOURCES, SOURCES, Build, resolve
from kitsnb.messages import nearest
from kitsnb.preprocessing.prepare import reorient
from kitsnb.simulation import hybrid, phantom
from kitsnb.study.figures import data as figures
from kitsnb.study.figures import save, use_style

# %matplotlib inline
use_style()
started = time.perf_counter()
output = Build(build)

# %% [markdown]
# ## The cases
#
# They are phantoms, whose anatomy is procedural; or hybrids, real label maps with a simulated CT painted around and inside
# them, cropped to the kidneys' surroundings; or a folder of cases as it is.

# %%
if source not in SOURCES:
    raise ValueError(f"source: unknown value {source!r}; {nearest(source, SOURCES)}")
if source != "phantom" and not folder:
    raise ValueError(f'source is "{source}", but folder is None; give the folder that holds case_00000, case_00001, ...')
if source in SIMULATED_SOURCES and not simulated:
    raise ValueError(f"{source}: the CT is simulated and must be called so; set simulated to True")

data, unpainted = output.cases(source, folder), {}
if source == "phantom":
    cases = phantom.write_dataset(data, phantom_cases, phantom_seed)
elif source == "hybrid":
    cases, unpainted = hybrid.write_hybrid(resolve(folder), data, hybrid_spacing, hybrid_seed, accept=Accept(label_map))
else:
    cases = discover(data)

imaging = any(case.imaging.is_file() for case in cases)
if source == "hybrid":
    origin = "**These are simulated CT.** The shapes of kidneys and tumours are real; no HU below describes patients."
elif simulated:
    origin = "**These are simulated CT.** The anatomy is procedural; no number below describes patients."
elif imaging:
    origin = "The cases come from a folder of CT and segmentations."
else:
    origin = (
        "**Imaging is missing for every case.** What follows is what the segmentations alone can show: geometry, "
        "volumes and imbalance. Nothing can be said about HU."
    )
display(Markdown(f"{len(cases)} cases. {origin}"))

# %%
found = fingerprint.measure_cases(cases, imaging, accept=Accept(label_map, accept_affine))
found.refused.update(unpainted)
table, summary = found.table, fingerprint.summarise(found.table)
table.head()

# %% [markdown]
# ### Refused cases
#
# A case is refused, by name and with the reason, when a file is missing, cut or corrupt, when imaging and segmentation
# do not share one geometry, or when a label is not 0, 1 or 2. The others go on. (When some cases have imaging and some
# do not, those without are refused.)

# %%
def reasons_table(title, reasons):
    rows = pd.DataFrame({"reason": reasons}).rename_axis(title)
    return rows.style.set_properties(**{"text-align": "left"})


if found.refused:
    display(reasons_table("refused case", found.refused))
else:
    display(Markdown(f"None: all {len(table)} cases are usable."))
if found.noted:
    display(reasons_table("usable, but odd", found.noted))

# %% [markdown]
# ## Sizes and spacings
#
# The voxels of a CT are boxes, not cubes, and their height is the radiographer's choice: the same abdomen comes as many
# thin slices or few thick ones. In the last panel, scans of equal length lie on one falling line. A network that sees
# voxels, not millimetres, would meet the same kidney at very different sizes; this is why all cases are resampled to
# one spacing later.

# %%
figures.geometry(table, simulated)

# %%
slices, thickness, in_plane = (summary[key] for key in ("slices", "slice_spacing_mm", "in_plane_spacing_mm"))
shapes = ", ".join(f"{count} of {shape}" for shape, count in summary["in_plane_shapes"].items())
orientations = ", ".join(f"{count} of {name}" for name, count in summary["orientations"].items())
display(Markdown(f"""
| | |
|---|---|
| slices | mean {slices["mean"]:.1f}, median {slices["median"]:g}, from {slices["min"]} to {slices["max"]} |
| slice spacing | median {thickness["median"]:g} mm, from {thickness["min"]:g} to {thickness["max"]:g} mm |
| in-plane spacing | median {in_plane["median"]:.3g} mm, from {in_plane["min"]:.3g} to {in_plane["max"]:.3g} mm |
| in-plane shapes (height x width) | {shapes} |
| cases that are not 512 x 512 | {len(summary["not_512"])} |
| orientations | {orientations} |
"""))

# %% [markdown]
# ### Orientation
#
# An orientation such as IPL names where each array axis points: the first from head to foot (**i**nferior), the second
# from front to back (**p**osterior), the third to the patient's **l**eft. The numbers above follow the patient, so that
# "slice" means head to foot in every file, whichever axis holds it. One case, the one with the median tumour, turned to
# IPL and drawn to scale:

# %%
middle = table.tumour_ml.sort_values().index[len(table) // 2]
case = next(case for case in cases if case.name == table.case[middle])
volume, segmentation, affine = read_case(case, imaging, Accept(label_map, accept_affine))
volume = reorient(volume, affine)[0] if imaging else None
segmentation, affine = reorient(segmentation, affine)
figures.three_views(volume, segmentation, spacing_of(affine), case.name, simulated)

# %% [markdown]
# ## HU within each label
#
# CT numbers are absolute: $-1000$ HU is air and $0$ HU is water, on every scanner. So one window can serve all cases.
# nnU-Net takes it from the data, as the 0.5 and 99.5 percentile of all kidney and tumour voxels; on the real KiTS19
# imaging that gave $-79$ to $304$ HU, the window that the seed paper clips to (grey below). Where the curves of kidney
# and tumour overlap, intensity alone cannot tell them apart, and the network needs shape and context.

# %%
window = (-79, 304)
if imaging:
    summary["foreground_hu"] = fingerprint.summarise_hu(found.hu)
    display(figures.intensities(found.hu, fingerprint.HU, window, simulated))
    text = "Kidney and tumour together: 0.5 to 99.5 percentile {low:g} to {high:g} HU, mean {mean:.1f}, SD {sd:.1f}"
    display(Markdown(text.format(**summary["foreground_hu"]) + (" (simulated CT)." if simulated else ".")))
else:
    display(Markdown("**Not shown: imaging is missing.**"))

# %% [markdown]
# ## Volumes
#
# The volume of a label is its number of voxels times the volume of one, $V = n \, s_1 s_2 s_3$. The size of a kidney
# has its anatomical limits, that of a tumour hardly any, and a Dice score averaged over cases gives the smallest tumour
# the weight of the largest. Here "kidney" is label 1 alone: tissue that the tumour has replaced is not in it.

# %%
figures.volumes(table, simulated)

# %%
rows = {name: summary[f"{name}_ml"] for name in ("kidney", "tumour")}
pd.DataFrame(rows).T.rename_axis("volume (ml)").style.format("{:.1f}", na_rep="none")

# %% [markdown]
# ## Class imbalance
#
# Pooled over all voxels of all cases, class $c$ has the share
#
# $$ s_c = \frac{\sum_i n_{i,c}}{\sum_i \sum_k n_{i,k}} , $$
#
# with $n_{i,c}$ voxels of class $c$ in case $i$. Mind the logarithmic scale.

# %%
imbalance = figures.imbalance(table, simulated)
save(imbalance, output.figures / "data01_imbalance.svg")
imbalance

# %%
shares = summary["shares_percent"]
text = f"Predicting background everywhere is right for {shares['background']:.3f} % of the voxels, with a Dice of 0 "
text += f"for kidney and for tumour. Cases without a tumour: {summary['without_tumour']}."
if shares["tumour"]:
    text = f"For each tumour voxel there are {shares['background'] / shares['tumour']:.0f} of background. " + text
display(Markdown(text))

# %% [markdown]
# ## Does the label agree with the clinic?
#
# KiTS19 comes with a clinical table, `kits.json`, in which a radiologist gives the tumour's largest diameter on CT. The
# label offers an independent estimate, the diameter of the ball of equal volume,
#
# $$ d = \left( \frac{6 V}{\pi} \right)^{1/3} . $$
#
# A ball is the most compact shape, so for an elongated tumour $d$ falls short of the largest diameter; a second tumour
# in the same patient adds to $d$ alone. Large disagreement points at a case worth opening.

# %%
if (data / "kits.json").is_file():
    clinical = table.merge(fingerprint.read_clinical(data / "kits.json"), on="case", suffixes=("", "_clinical"))
    compared = fingerprint.compare_clinical(clinical)
    summary["clinical"] = compared
else:
    clinical = compared = None

if compared is None:
    display(Markdown("Not shown: there is no `kits.json` beside the cases."))
elif compared["rank_correlation"] is None:
    display(Markdown(f"Not shown: `kits.json` gives the tumour size of {compared['cases']} cases only."))
else:
    display(figures.clinical_sizes(clinical, simulated))
    display(Markdown(
        f"{compared['cases']} cases. Rank correlation {compared['rank_correlation']:.3f}; the label's diameter is "
        f"{compared['median_ratio']:.2f} times the clinical one in the median case. Cases whose spacing differs "
        f"between the table and the file: {compared['other_spacing']}. Furthest apart:"
    ))
    clinical["ratio"] = clinical.tumour_mm / clinical.radiographic_mm
    ordered = clinical.sort_values("ratio")
    furthest = pd.concat([ordered.head(3), ordered.tail(3)])
    display(furthest[["case", "radiographic_mm", "tumour_mm", "ratio"]].style.hide().format(precision=2))

# %% [markdown]
# ## The split
#
# Validation cases choose the checkpoint and give the scores; no training case is among them. Under cross-validation the cases
# of both ranges are one set, and each is held out once. The seed paper leaves out
# six cases whose labels were wrong or doubtful in the first release of KiTS19.

# %%
left_out = sorted(EXCLUDED if excluded is None else excluded)
split = select([case for case in cases if case.name not in found.refused], training, validation, left_out)
roles = dict.fromkeys(table.case, "not used")
roles |= {name: "excluded" for name in table.case if int(name.removeprefix("case_")) in left_out}
roles |= {case.name: "training" for case in split.training} | {case.name: "validation" for case in split.validation}
if folds:
    roles |= {case.name: "cross-validation" for case in (*split.training, *split.validation)}
table["role"] = table.case.map(roles)
summary["split"] = {
    "training": len(split.training),
    "validation": len(split.validation),
    "excluded": left_out,
    "missing": split.missing,
    "folds": folds,
}
missing = f"Asked for, but not at hand: {', '.join(split.missing)}." if split.missing else "None of them is missing."
together = len(split.training) + len(split.validation)
counted = f"{len(split.training)} cases for training, {len(split.validation)} for validation"
counted = f"{together} cases in {folds} folds" if folds else counted
display(Markdown(f"{counted}. {missing}"))
if summary["without_tumour"] < len(table):
    display(figures.split(table, roles, simulated))

# %%
if left_out:
    reasons = {f"case_{number:05d}": EXCLUDED.get(number, "left out by the profile") for number in left_out}
    display(reasons_table("excluded case", reasons))
else:
    display(Markdown("No case is excluded."))

# %% [markdown]
# ## What goes on from here
#
# `summary.json` holds the numbers that the paper quotes, `cases.csv` one row a case.

# %%
summary = {
    "simulated": simulated,
    "imaging": imaging,
    "folder_cases": len(cases),
    **summary,
    "refused": found.refused,
    "noted": found.noted,
}
output.data_analysis.mkdir(parents=True, exist_ok=True)
table.to_csv(output.data_analysis / "cases.csv", index=False)
(output.data_analysis / "summary.json").write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n")
print(json.dumps(summary, indent=1))
print(f"{time.perf_counter() - started:.0f} s")

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
# Before any network is trained, this notebook takes the fingerprint of the data set: how large the cases are, how far
# apart their voxels lie, how the scanner's numbers differ between kidney and tumour, and how little of a scan is
# tumour. That last point is what the paper is about: a loss that treats all voxels alike is nearly perfect for a
# network that predicts background everywhere.
#
# A **case** is a folder `case_XXXXX` with a CT volume (`imaging.nii.gz`) and its **segmentation**
# (`segmentation.nii.gz`): 0 background, 1 kidney, 2 tumour. When `make` executes this notebook, cases are simulated
# where the profile says so, and each file is read once, checked, measured and let go. Opened by hand, it shows what
# was measured.

# %% tags=["parameters"]
build = "build/quick"  # folder of all outputs of the profile
by_runner = False  # True: executed by make, which simulates, measures and writes; by hand a notebook only looks
case: int | None = None  # number of the case that is drawn; None: the one with the median tumour
source: str | None = None  # "phantom", "hybrid" (simulated) or "folder"; None, here and below: as the build has it
folder: str | None = None  # of case_00000, case_00001, ...: with "folder" the cases, with "hybrid" the real labels
phantom_cases = 120  # how many cases make simulates
phantom_seed = 1  # equal seeds give equal cases
hybrid_spacing = [3.22, 1.62, 1.62]  # mm (slice, height, width) of the CT that "hybrid" paints around the labels
hybrid_seed = 0  # equal seeds give equal cases
training: list | None = None  # first and last number of the training cases
validation: list | None = None  # first and last number of the validation cases
simulated: bool | None = None  # is the CT simulated? said in every figure
label_map: dict | None = None  # labels to take as others, {3: 1} for the cysts of KiTS21 and KiTS23
accept_affine: bool | None = None  # take imaging's affine where the segmentation's differs
excluded: list | None = None  # numbers of cases to leave out of both
folds: int | None = None  # cross-validation over the cases of both ranges; None: the split by ranges

# %%
import sys

import pandas as pd
from IPython.display import Markdown, display

from kitsnb.data.cases import EXCLUDED, discover, hold_out
from kitsnb.data.checks import Accept, read_case
from kitsnb.data.nifti import spacing_of
from kitsnb.data.settings import DataSettings
from kitsnb.drawing import three_views
from kitsnb.files import NOTEBOOKS, Build, resolve, write_json
from kitsnb.preprocessing.resampling import reorient
from kitsnb.simulation import phantom
from kitsnb.study import figures
from kitsnb.viewing.scan import Given, read_scan
from kitsnb.workflow.profile import recorded_parameters

sys.path.append(str(NOTEBOOKS))
from fingerprint import figures as data_figures
from fingerprint import measure as fingerprint
from fingerprint.surroundings import REAL, surroundings
from interactive.browse import browse

# %matplotlib inline
figures.use_style()
if not by_runner:  # what is None above is as the build has it
    recorded = recorded_parameters(build, "data_analysis")
    globals().update({name: value for name, value in recorded.items() if globals().get(name) is None})
output, accept = Build(build), Accept(label_map or {}, bool(accept_affine))

# %% [markdown]
# ## 1.1 The cases
#
# They are phantoms, whose anatomy is procedural; or hybrids, real label maps with a simulated CT painted around and
# inside them, in the whole field of view of their file; or a folder of cases as it is.

# %%
data, unpainted = output.cases(source, folder), {}
if by_runner and source == "phantom":
    phantom.write_dataset(data, phantom_cases, phantom_seed)
elif by_runner and source == "hybrid":
    from kitsnb.simulation import hybrid

    _, unpainted = hybrid.write_hybrid(resolve(folder), data, hybrid_spacing, hybrid_seed, accept=accept)
cases = discover(data)
imaging = any(case.imaging.is_file() for case in cases)
if by_runner:
    found = fingerprint.measure_cases(cases, imaging, accept=accept)
    found.refused.update(unpainted)
else:
    found, _ = fingerprint.read_fingerprint(output.data_analysis)
table, summary = found.table, fingerprint.summarise(found.table)

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
display(Markdown(f"{len(cases)} cases. {origin} The first of them:"))
columns = {"case": "case", "slices": "slices", "slice_mm": "slice spacing (mm)", "width_mm": "in-plane spacing (mm)",
           "kidney_ml": "kidney (ml)", "tumour_ml": "tumour (ml)"}
table[list(columns)].head().rename(columns=columns).style.hide().format(precision=2)

# %% [markdown]
# ### Refused cases
#
# A case is refused, by name and with the reason, when a file is missing, cut or corrupt, when imaging and
# segmentation do not share one geometry, when the values cannot be HU, or when a label is not 0, 1 or 2. The others
# go on. (When some cases have imaging and some do not, those without are refused.)

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
# ## 1.2 Sizes and spacings
#
# The voxels of a CT are boxes, not cubes, and their height is the radiographer's choice: the same abdomen comes as many
# thin slices or few thick ones. In the last panel, scans of equal length lie on one falling line. A network that sees
# voxels, not millimetres, would meet the same kidney at very different sizes; this is why all cases are resampled to
# one spacing later.

# %%
data_figures.geometry(table, simulated)

# %%
slices, thickness, in_plane = (summary[key] for key in ("slices", "slice_spacing_mm", "in_plane_spacing_mm"))
shapes, orientations = summary["in_plane_shapes"], summary["orientations"]
commonest, most = next((shape.replace("x", " x "), count) for shape, count in shapes.items())
areas = (table.height * table.width).sort_values().index
smallest, largest = (f"{table.height[at]} x {table.width[at]}" for at in (areas[0], areas[-1]))
display(Markdown(f"""
| | |
|---|---|
| slices | mean {slices["mean"]:.1f}, median {slices["median"]:g}, from {slices["min"]} to {slices["max"]} |
| slice spacing | median {thickness["median"]:.2f} mm, from {thickness["min"]:.2f} to {thickness["max"]:.2f} mm |
| in-plane spacing | median {in_plane["median"]:.2f} mm, from {in_plane["min"]:.2f} to {in_plane["max"]:.2f} mm |
| in-plane pixels (height x width) | from {smallest} to {largest}; most often {commonest} ({most} cases) |
| orientations | {", ".join(f"{count} cases {name}" for name, count in orientations.items())} |
"""))

# %% [markdown]
# ### Orientation
#
# An orientation such as IPL names where each array axis points: the first from head to foot (**i**nferior), the second
# from front to back (**p**osterior), the third to the patient's **l**eft. The numbers above follow the patient, so that
# "slice" means head to foot in every file, whichever axis holds it. One case, turned to IPL and drawn to scale:

# %%
median = table.case[table.tumour_ml.sort_values().index[len(table) // 2]]
shown = median if case is None else f"case_{case:05d}"
one = next(other for other in cases if other.name == shown)
if imaging:
    scan = read_scan(Given(one.name, one.imaging, one.segmentation), accept)
    volumes = scan.imaging, scan.layers, scan.spacing
else:
    _, segmentation, affine = read_case(one, False, accept)
    segmentation, affine = reorient(segmentation, affine)
    volumes = None, {"label": segmentation}, spacing_of(affine)
three_views(*volumes, shown, simulated)

# %% [markdown]
# ### All of them, to look at
#
# Opened by hand, the notebook shows any case here, in three planes, with its label. `browse` takes a CT of your own,
# too: `browse("ct.nii.gz")`, or in a terminal `python -m kitsnb show ct.nii.gz --label labels.nii.gz`.

# %%
if imaging and not by_runner:
    display(browse(one.folder.parent, accept=accept))

# %% [markdown]
# ## 1.3 HU within each label
#
# CT numbers are absolute: $-1000$ HU is air and $0$ HU is water, on every scanner. So one window can serve all cases.
# nnU-Net takes it from the data, as the 0.5 and 99.5 percentile of all kidney and tumour voxels; on the real KiTS19
# imaging that gave $-79$ to $304$ HU, the window that the seed paper clips to (grey below). Where the curves of kidney
# and tumour overlap, intensity alone cannot tell them apart, and the network needs shape and context.

# %%
window = (-79, 304)
if imaging:
    summary["foreground_hu"] = fingerprint.summarise_hu(found.hu)
    display(data_figures.intensities(found.hu, fingerprint.HU, window, simulated))
else:
    display(Markdown("**Not shown: imaging is missing.**"))

# %% [markdown]
# A simulation is worth what surrounds the kidneys in it: soft tissue's share 3 to 20 mm from them, fat's share of the body,
# noise (SD in flat tissue, HU) and fine structure (median SD in cubes of 7 voxels, HU), beside three real CTs.

# %%
if source == "hybrid":
    first = [read_case(case, accept=accept) for case in cases[:6]]
    around = pd.DataFrame([surroundings(*of_case, spacing_of(affine)) for *of_case, affine in first])
    ends = pd.DataFrame(REAL, index=["real, least", "real, most"])
    median = around.median().rename("simulated, median of six").to_frame().T
    display(pd.concat([median, ends]).style.format("{:.2f}"))
else:
    display(Markdown("**Not shown: only for CT that is painted around real labels.**"))

# %% [markdown]
# ## 1.4 Volumes
#
# The volume of a label is its number of voxels times the volume of one. The size of a kidney has its anatomical
# limits, that of a tumour hardly any, and a Dice score averaged over cases gives the smallest tumour the weight of
# the largest. Here "kidney" is label 1 alone: tissue that the tumour has replaced is not in it.

# %%
data_figures.volumes(table, simulated)

# %%
names = {"min": "smallest", "q25": "lower quartile", "median": "median", "q75": "upper quartile", "max": "largest"}
rows = {name: summary[f"{name}_ml"] for name in ("kidney", "tumour")}
pd.DataFrame(rows).T.rename(columns=names).rename_axis("volume (ml)").style.format("{:.1f}", na_rep="none")

# %% [markdown]
# ## 1.5 Class imbalance
#
# Pooled over all voxels of all cases, class $c$ has the share
#
# $$ s_c = \frac{\sum_i n_{i,c}}{\sum_i \sum_k n_{i,k}} , $$
#
# with $n_{i,c}$ voxels of class $c$ in case $i$. Mind the logarithmic scale.

# %%
imbalance = data_figures.imbalance(table, simulated)
imbalance

# %% [markdown]
# ## 1.6 Does the label agree with the clinic?
#
# KiTS19 comes with a clinical table, `kits.json`, in which a radiologist gives the tumour's largest diameter on CT. The
# label offers an independent estimate, the diameter of the ball of equal volume,
#
# $$ d = \left( \frac{6 V}{\pi} \right)^{1/3} . $$
#
# A ball is the most compact shape, so for an elongated tumour $d$ falls short of the largest diameter; a second tumour
# in the same patient adds to $d$ alone. Large disagreement points at a case worth opening.

# %%
compared = None
if (data / "kits.json").is_file():
    clinical = table.merge(fingerprint.read_clinical(data / "kits.json"), on="case", suffixes=("", "_clinical"))
    summary["clinical"] = compared = fingerprint.compare_clinical(clinical)
if compared is None:
    display(Markdown("Not shown: there is no `kits.json` beside the cases."))
elif compared["rank_correlation"] is None:
    display(Markdown(f"Not shown: `kits.json` gives the tumour size of {compared['cases']} cases only."))
else:
    display(data_figures.clinical_sizes(clinical, simulated))
    ordered = clinical.assign(ratio=clinical.tumour_mm / clinical.radiographic_mm).sort_values("ratio")
    columns = {"case": "furthest apart", "radiographic_mm": "clinic (mm)", "tumour_mm": "label (mm)",
               "ratio": "label / clinic"}
    furthest = pd.concat([ordered.head(3), ordered.tail(3)])[list(columns)].rename(columns=columns)
    display(furthest.style.hide().format(precision=2))

# %% [markdown]
# ## 1.7 The split
#
# Validation cases choose the checkpoint and give the scores; no training case is among them. Under cross-validation
# the cases of both ranges are one set, and each is held out once. The seed paper leaves out six cases whose labels
# were wrong or doubtful in the first release of KiTS19.

# %%
left_out = sorted(EXCLUDED if excluded is None else excluded)
split = hold_out([one for one in cases if one.name not in found.refused], DataSettings.among(globals()))
roles = dict.fromkeys(table.case, "not used")
roles |= {name: "excluded" for name in table.case if int(name.removeprefix("case_")) in left_out}
roles |= {one.name: "training" for one in split.training} | {one.name: "validation" for one in split.validation}
if folds:
    roles |= {one.name: "cross-validation" for one in (*split.training, *split.validation)}
table["role"] = table.case.map(roles)
counted = f"training {len(split.training)}, validation {len(split.validation)}"
if folds:
    counted = f"{len(split.training) + len(split.validation)} in {folds} folds"
missing = f"Asked for, but not at hand: {', '.join(split.missing)}." if split.missing else "None of them is missing."
display(Markdown(f"Cases: {counted}. {missing}"))
if summary["without_tumour"] < len(table):
    display(data_figures.split(table, roles, simulated))
if left_out:
    reasons = {f"case_{number:05d}": EXCLUDED.get(number, "left out by the profile") for number in left_out}
    display(reasons_table("excluded case", reasons))

# %% [markdown]
# ## What we saw

# %%
shares, tumour = summary["shares_percent"], summary["tumour_ml"]
voxels = table.slice_mm * table.height_mm * table.width_mm
lines = [
    f"{len(table)} of {len(table) + len(found.refused)} cases are usable: {counted}.",
    f"Slices lie {thickness['min']:.1f} to {thickness['max']:.1f} mm apart, pixels {in_plane['min']:.2f} to "
    f"{in_plane['max']:.2f} mm: the largest voxel has {voxels.max() / voxels.min():.0f} times the volume of the "
    "smallest.",
    f"Predicting background everywhere is right for **{shares['background']:.2f} %** of the voxels, with a Dice of 0 "
    f"for kidney and for tumour; kidney has {shares['kidney']:.2f} %, tumour {shares['tumour']:.2f} %.",
]
if shares["tumour"]:
    lines[-1] += f" For each tumour voxel there are {shares['background'] / shares['tumour']:.0f} of background."
    lines.append(f"Tumours go from {tumour['min']:.1f} to {tumour['max']:.0f} ml (median {tumour['median']:.0f} ml)"
                 f"; {summary['without_tumour'] or 'no'} cases have none.")
if imaging:
    hu = summary["foreground_hu"]
    lines.append(f"Kidney and tumour together lie between {hu['low']:.0f} and {hu['high']:.0f} HU (0.5 to 99.5 "
                 f"percentile), mean {hu['mean']:.0f}, SD {hu['sd']:.0f} HU; the window of the paper is {window[0]} to "
                 f"{window[1]} HU.")
if compared and compared["rank_correlation"] is not None:
    lines.append(f"The label's diameter is {compared['median_ratio']:.2f} times the clinical one in the median of "
                 f"{compared['cases']} cases (rank correlation {compared['rank_correlation']:.2f}); "
                 f"{compared['other_spacing']} cases have another spacing there.")
display(Markdown("\n".join(f"- {line}" for line in lines)))

# %%
summary = {
    "simulated": simulated,
    "imaging": imaging,
    "folder_cases": len(cases),
    **summary,
    "split": {"training": len(split.training), "validation": len(split.validation), "excluded": left_out,
              "missing": split.missing, "folds": folds},
    "refused": found.refused,
    "noted": found.noted,
}
if by_runner:  # what is tried by hand changes no result
    figures.save(imbalance, output.figures / "data01_imbalance.svg")
    found.save(output.data_analysis)
    write_json(output.data_analysis / "summary.json", summary)
print("wrote the summary, a row a case, and a figure" if by_runner else "wrote nothing: only make writes")

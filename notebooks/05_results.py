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
# # Table 1, and what it says
#
# Every run was scored on the held-out cases in native geometry, with the challenge's metric: Dice of kidney and tumour
# together (label > 0), of the kidney alone (label 1) and of the tumour alone (label 2). The *composite* is eq. 14,
#
# $$ s = \frac{1}{n} \sum_{i=1}^{n} \tfrac{1}{2} \left( \mathrm{DSC}_{tumour}^i + \mathrm{DSC}_{kidney\ and\ tumour}^i \right). $$
#
# Under cross-validation every case is held out by one fold, and the folds' scores are put together. Seeds are averaged per
# case first, so that a mean and its standard deviation speak of cases. Scores that are undefined are
# left out and counted. This notebook writes every number and figure that the paper uses.

# %% tags=["parameters"]
build = "build/quick"  # folder of all outputs of the profile
by_runner = False  # True: executed by make, which writes; by hand a notebook only looks
experiments: list | None = None  # rows of Table 1; None, here and below: as the build has it
seeds: list | None = None  # of every row
folds: int | None = None  # of every row and seed, where the profile has folds
profile: dict | None = None  # said in the paper's title block
baseline = "log_cosh_dice"  # the seed paper's baseline
labels_summary: str | None = "build/labels/data_analysis/summary.json"  # of the real labels, where it was made
source: str | None = None  # "phantom" and "hybrid" read build/data, "folder" reads `folder`
folder: str | None = None  # data in KiTS19's folder format, for source "folder"
label_map: dict | None = None  # labels to take as others, {3: 1} for the cysts of KiTS21 and KiTS23
accept_affine: bool | None = None  # take imaging's affine where the segmentation's differs

# %%
import pandas as pd
from IPython.display import Markdown, display

from kitsnb.data.cases import Case
from kitsnb.data.checks import Accept, read_case
from kitsnb.data.nifti import read_nifti
from kitsnb.files import Build
from kitsnb.study import audit, figures
from kitsnb.study import hypotheses as predictions
from kitsnb.study import tables as results
from kitsnb.study.figures.results import best_against_baseline, case_scores, slices, table1, training_curves, tumour_volume
from kitsnb.study.runs import SURFACES, costs, load_runs, shared_settings
from kitsnb.unet import UNet3D, count_parameters
from kitsnb.workflow.profile import recorded_parameters

# %matplotlib inline
figures.use_style()
if not by_runner:
    recorded = recorded_parameters(build, "results")
    experiments, seeds, folds = experiments or recorded["experiments"], seeds or recorded["seeds"], folds or recorded["folds"]
    profile, source, folder = profile or recorded["profile"], source or recorded["source"], folder or recorded["folder"]
    label_map, accept_affine = label_map or recorded["label_map"], accept_affine or recorded["accept_affine"]
build = Build(build)
simulated = profile["simulated"]
seed_paper = audit.load_seed_paper()
runs = load_runs(build, experiments, seeds, folds)
settings = shared_settings(runs)
titles = {experiment["name"]: experiment["title"] for experiment in experiments}
scores = {name: results.scores_of(runs, name) for name in titles}
cases = len(next(iter(scores.values())))
trained = [one for run in runs for one in run.trained]
print(f"{len(trained)} runs, {cases} held-out cases" + (", simulated CT" if simulated else ""))

# %% [markdown]
# ## Table 1

# %%
table = results.make_table(runs, experiments, seed_paper)
shown = pd.DataFrame(
    {
        figures.NAMES[score]: {
            row["title"]: "{mean:.3f} ± {sd:.3f} (n = {n})".format(**row["scores"][score]) for row in table
        }
        for score in results.SCORES
    }
)
shown

# %%
table1(table, simulated)

# %% [markdown]
# The hollow markers are the seed paper's own values, on its own data. They are shown for comparison of the order only.

# %%
order = results.ranked(table)
best, worst = order[0], order[-1]
reference = results.find_baseline(baseline, table, seed_paper)
if reference is None:
    reference = worst
    print(f"this profile has no experiment {baseline}; the lowest row, {titles[worst]}, stands in as the baseline")
rival = next((name for name in order if name != reference), best)  # the best of the others
difference = results.compare(runs, rival, reference)
agreement = results.order_agreement(table)
tumour = difference["tumour"]
settled = "leaves out zero" if tumour["low"] > 0 or tumour["high"] < 0 else "does not leave out zero"
display(Markdown(
    f"Highest composite: **{titles[best]}**, lowest: **{titles[worst]}**. Against {titles[reference]}, the tumour Dice "
    f"of {titles[rival]}, the best of the other rows, differs by {tumour['mean']:+.3f} (95 % bootstrap interval over cases {tumour['low']:+.3f} to {tumour['high']:+.3f}, "
    f"n = {tumour['n']}), which {settled}. Kendall's tau between this order of the rows and the seed paper's: "
    f"{agreement['kidney_and_tumour']:.2f} (kidney and tumour), {agreement['tumour']:.2f} (tumour)."
))

# %% [markdown]
# ## What the seed paper concludes, looked at again
#
# Each of its comparisons, as a paired difference over the same cases. "undecided": the interval holds zero.

# %%
claims = results.check_claims(runs, seed_paper)
pd.DataFrame([
    {"higher": titles[c["higher"]], "lower": titles[c["lower"]], "score": c["score"], "seed paper": c["paper"],
     "here": c["difference"]["mean"], "from": c["difference"]["low"], "to": c["difference"]["high"], "verdict": c["verdict"]}
    for c in claims
]).round(3)

# %% [markdown]
# ## Predictions, checked
#
# Notebook 03 made them from the losses alone. "held" and "refuted" need an interval without zero; sameness cannot be shown,
# only refuted; the last row is judged by means.

# %%
anatomy = results.read_stage(build.losses / "summary.json", "03_losses")
checked = predictions.check(anatomy["predictions"], runs, table)
pd.DataFrame([
    {"experiment": titles.get(one["experiment"], one["experiment"]), "score": one["score"], "expected": one["expected"],
     **{key: (one["difference"] or {}).get(key) for key in ("mean", "low", "high")}, "verdict": one["verdict"]}
    for one in checked
]).round(3)

# %% [markdown]
# ## Training curves (the paper's figures 2-5)

# %%
clipping = build.figures / "fig01_clipping.svg"
if not clipping.exists():
    raise FileNotFoundError(f"{clipping}: missing; 02_preprocessing writes it, so run that first")
made = [clipping.stem, *anatomy["figures"]]
part = f", first of {folds} folds" if folds else ""
first = {run.experiment: run for run in reversed(runs)}


def keep(figure, name):
    """Show a figure of the paper, and save it when make asks."""
    if by_runner:
        figures.save(figure, build.figures / f"{name}.svg")
    made.append(name)
    display(figure)


for number, name in enumerate(("log_cosh_dice", "focal_tversky", "log_cosh_focal_tversky", "weighted_dice"), 2):
    if name in first:
        keep(training_curves(first[name].history, titles[name] + part, simulated), f"fig{number:02d}_training_{name}")
    else:
        print(f"this profile has no experiment {name}, so there is no figure {number}")

# %% [markdown]
# ## Every case (figures 6-10)

# %%
for number, name in enumerate(
    ("log_cosh_dice", "dice", "focal_tversky", "log_cosh_focal_tversky", "weighted_dice"), 6
):
    if name in scores:
        keep(case_scores(scores[name], titles[name], simulated), f"fig{number:02d}_scores_{name}")
    else:
        print(f"this profile has no experiment {name}, so there is no figure {number}")

# %% [markdown]
# ## Best against baseline (figures 11 and 12)
#
# Where the baseline itself is the best, the next one stands against it.

# %%
pair = (titles[rival], titles[reference])
keep(best_against_baseline(scores[rival], scores[reference], ["kidney", "tumour"], pair, simulated), "fig11_best_against_baseline")
keep(best_against_baseline(scores[rival], scores[reference], ["tumour"], pair, simulated), "fig12_best_against_baseline_tumour")

# %% [markdown]
# ## One case, on slices (figures 13 and 14)
#
# Not a hand-picked case: the one whose tumour Dice under the baseline is the median.

# %%
chosen = results.choose_case(scores[reference])
case = Case(build.cases(source, folder) / chosen)
imaging, truth, affine = read_case(case, accept=Accept(label_map or {}, bool(accept_affine)))
for name, figure_name in ((reference, "fig13_slices_baseline"), (rival, "fig14_slices_best")):
    prediction, _ = read_nifti(first[name].holding_out(chosen).folder / "predictions" / f"{chosen}.nii.gz")
    keep(slices(imaging, truth, prediction, affine, f"{titles[name]}, {chosen}", simulated), figure_name)

# %% [markdown]
# ## Which cases are hard
#
# Is it the small tumours? The rank correlation says how far size explains the score.

# %%
hard = results.describe_cases(runs)
print(f"Spearman's rho between tumour volume and tumour Dice: {results.volume_correlation(hard):.2f} (n = {len(hard)})")
hard.head(5).round(3)

# %%
tumour_volume(scores, simulated)

# %% [markdown]
# The same by the size of the lesion (equivalent diameter, cut-offs of the T stages): mean tumour Dice and number of cases.

# %%
sizes = results.by_size(runs, experiments)
pd.DataFrame({
    row["title"]: {size: f"{found['mean']:.3f} (n = {found['n']})" for size, found in row["sizes"].items()} for row in sizes
}).T

# %% [markdown]
# ## Distances
#
# HD95 in mm (lower is better) and normalized surface Dice at KiTS21's tolerances (higher is better), by surface elements
# (Nikolov et al. 2021). Means over cases; undefined ones, where a tumour was missed altogether, are left out and counted.

# %%
distances = results.distances(runs, experiments)
pd.DataFrame({
    row["title"]: {name: f"{row[name]['mean']:.3g} ({row[name]['undefined']} undefined)" for name in SURFACES}
    for row in distances
}).T

# %% [markdown]
# ## What the runs cost
#
# As each run recorded it. `data_share` is the part of the time that the device waited for patches.

# %%
cost = costs(runs)
print(f"{len(cost)} runs, {cost.seconds.sum() / 3600:.2f} hours of training in sum")
cost.round(3)

# %% [markdown]
# ## Written for the paper

# %%
trainable, _ = count_parameters(UNet3D(**settings["network"]))
found = {
    "profile": profile,
    "data": results.describe_data(build, runs),
    "settings": settings,
    "network": {"trainable": trainable, **audit.count_network()},
    "table": table,
    "baseline": reference,
    "best": best,
    "rival": rival,
    "worst": worst,
    "difference": difference,
    "order_agreement": agreement,
    "claims": claims,
    "distances": distances,
    "by_size": sizes,
    "losses": anatomy | {"predictions": checked},
    "audit": audit.audit(seed_paper, audit.load_labels(labels_summary)),
    "runs": [{key: value for key, value in run.info.items() if key != "settings"} for run in trained],
    "figures": made,
    "software": results.software(),
    "seconds": sum(run.info["seconds"] for run in trained),
}
if by_runner:
    results.write_results(build.results, found)
print(f"wrote {build.results} and {len(made)} figures" if by_runner else "wrote nothing: only make writes what the paper uses")

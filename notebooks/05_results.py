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
# # 5. Table 1, and what it says
#
# Every run was scored on the held-out cases in native geometry, with the challenge's metric: Dice of kidney and tumour
# together (label > 0), of the kidney alone (label 1) and of the tumour alone (label 2). The *composite* is eq. 14,
#
# $$ s = \frac{1}{n} \sum_{i=1}^{n} \tfrac{1}{2}
# \left( \mathrm{DSC}_{tumour}^i + \mathrm{DSC}_{kidney\ and\ tumour}^i \right). $$
#
# Under cross-validation every case is held out by one fold, and the folds' scores are put together. Seeds are
# averaged per case first, so that a mean and its standard deviation speak of cases. Scores that are undefined are
# left out and counted. Executed by make, this notebook writes every number and figure that the paper uses.

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
from collections import Counter

import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import Markdown, display
from matplotlib.lines import Line2D

from kitsnb.data.cases import EXCLUDED, Case
from kitsnb.data.checks import Accept, read_case
from kitsnb.data.nifti import read_nifti
from kitsnb.files import Build, write_json
from kitsnb.study import audit, figures, hypotheses, tables
from kitsnb.study.figures.results import best_against_baseline, case_scores, slices, training_curves
from kitsnb.study.runs import SURFACES, costs, load_runs, read_stage, shared_settings, trainings, unlike
from kitsnb.study.statistics import rank_correlation, settled
from kitsnb.study.tables import interval, number, plural
from kitsnb.unet import UNet3D, count_parameters
from kitsnb.viewing.runs import RunBrowser, curves, follow
from kitsnb.workflow.profile import recorded_parameters

# %matplotlib inline
figures.use_style()
if not by_runner:
    recorded = recorded_parameters(build, "results")
    experiments, seeds = experiments or recorded["experiments"], seeds or recorded["seeds"]
    folds, profile = folds or recorded["folds"], profile or recorded["profile"]
    source, folder = source or recorded["source"], folder or recorded["folder"]
    label_map, accept_affine = label_map or recorded["label_map"], accept_affine or recorded["accept_affine"]
build = Build(build)
simulated = profile["simulated"]
seed_paper = audit.load_seed_paper()

# %% [markdown]
# ## 5.0 Every run, side by side
#
# By hand: choose runs (Ctrl or Shift for several) and look at curves, scores and pairs of losses; on the last tab a table of
# cases, the worst first, of which a row opens the case. Refresh reads what runs that are still in training have written since.
# As made by `make`, the curves stand still.

# %%
if by_runner:
    display(curves(follow(build, experiments, seeds, folds), "validation_soft_dice", simulated))
else:
    display(RunBrowser(build, experiments, seeds, build.cases(source, folder), folds=folds, simulated=simulated,
                       accept=Accept(label_map or {}, bool(accept_affine))))

# %%
runs = load_runs(build, experiments, seeds, folds)
settings = shared_settings(runs)
if settings.get("excluded", ()) is None:
    settings["excluded"] = list(EXCLUDED)
titles = {experiment["name"]: experiment["title"] for experiment in experiments}
scores = {name: tables.scores_of(runs, name) for name in titles}
cases = len(next(iter(scores.values())))
trained = trainings(runs)
print(f"{plural(len(trained), 'run')}, {plural(cases, 'held-out case')}" + (", simulated CT" if simulated else ""))
if differing := unlike(runs):
    said = "; ".join(f"{name} {' and '.join(values)}" for name, values in differing.items())
    print(f"The rows were not made alike: {said}")

# %% [markdown]
# ## 5.1 Table 1

# %%
table = tables.make_table(runs, experiments, seed_paper)
pd.DataFrame({
    figures.NAMES[score]: {row["title"]: tables.summary(row["scores"][score]) for row in table}
    for score in tables.SCORES
}).rename_axis("Dice: mean ± sd over cases").style

# %%
figure, panels = figures.canvas("Mean Dice of each loss", (figures.PAGE, 0.95 + 0.27 * len(table)), 1, 3,
                                simulated=simulated, sharey=True)
each = pd.concat({titles[name]: found for name, found in scores.items()}, names=["title"]).reset_index()
for axes, column in zip(panels, tables.PAPER_COLUMNS):
    sns.pointplot(each, x=column, y="title", errorbar="sd", linestyle="none", color=figures.COLOURS[column],
                  markersize=4, err_kws={"linewidth": 1.4, "alpha": 0.45}, ax=axes)
    paper = [row["paper"][column] if row["paper"] else np.nan for row in table]
    axes.plot(paper, range(len(table)), "D", color="black", markerfacecolor="none", markersize=4.5, markeredgewidth=0.8)
    axes.set(xlim=(-0.03, 1.03), xlabel="Dice", ylabel="", title=figures.NAMES[column])
dot = {"markersize": 4.5, "color": "black"}
figures.legend_below(figure, [
    Line2D([], [], marker="o", label="here: mean ± sd over cases", **dot),
    Line2D([], [], marker="D", markerfacecolor="none", linestyle="", label="seed paper", **dot),
])
figure

# %% [markdown]
# The hollow markers are the seed paper's own values, on its own data. They are shown for comparison of the order only.
#
# ## 5.2 Best and baseline
#
# Means have an order whatever they are; what the cases settle is said by the interval of the paired difference (95 %
# bootstrap over cases). An interval that holds zero leaves open which of two losses is higher.

# %%
order = tables.ranked(table)
best, worst = order[0], order[-1]
own_baseline = tables.find_baseline(baseline, table, seed_paper)
reference = own_baseline or worst
rival = next((name for name in order if name != reference), None)  # the best of the others
if own_baseline is None and rival:
    print(f"This profile does not run the seed paper's baseline; the lowest row, {titles[worst]}, stands in for it.")
difference = tables.compare(runs, rival, reference) if rival else None
extremes = tables.compare(runs, best, worst, ["composite"])["composite"] if rival else None
agreement = tables.agreement(table)


def decided(found):
    """What the interval of a paired difference allows to say."""
    way = settled(found)
    said = f"{way}, by an interval without zero" if way else "not settled, the interval holds zero"
    return f"{interval(found)}, n = {found['n']}: {said}"


lines = ["This profile has one row, so there is nothing to compare."]
if rival:
    lines = [
        f"Highest mean composite: **{titles[best]}**, lowest: **{titles[worst]}**; difference {decided(extremes)}.",
        f"Tumour Dice of **{titles[rival]}**, the best of the other rows, less that of **{titles[reference]}**: "
        f"{decided(difference['tumour'])}.",
        "Kendall's tau between this order of the rows and the seed paper's (–: not defined): "
        f"{number(agreement['kidney_and_tumour'], 2)} (kidney and tumour), {number(agreement['tumour'], 2)} (tumour).",
    ]
Markdown("\n".join(f"- {line}" for line in lines))

# %% [markdown]
# ## 5.3 What the seed paper concludes, looked at again
#
# Each of its comparisons whose two losses were run, as a paired difference over the same cases. "undecided": the
# interval holds zero.

# %%
compared = tables.check_comparisons(runs, seed_paper)
pd.DataFrame([
    {"higher in the seed paper": titles[one["higher"]], "lower": titles[one["lower"]],
     "Dice of": figures.NAMES[one["score"]], "seed paper": number(one["paper"], signed=True),
     "here (95 % interval)": interval(one["difference"]), "verdict": one["verdict"]}
    for one in compared
]).style.hide() if compared else print("The profile runs none of the pairs of losses that the seed paper compares.")

# %% [markdown]
# ## 5.4 Hypotheses, checked
#
# Notebook 03 made them from the losses alone. "held" and "refuted" need an interval without zero; sameness cannot be
# shown, only refuted; the lowest row must be below each other one.

# %%
probed = read_stage(build.losses / "summary.json", "03_losses")
checked = hypotheses.check(probed["hypotheses"], runs)
pd.DataFrame([
    {"loss": titles.get(one["experiment"], one["experiment"]), "score": figures.NAMES[one["score"]],
     "expected": one["expected"], "verdict": one["verdict"], "difference (95 % interval)":
         interval(one["difference"], 1 if one["kind"] == "volume" else 3) if one["difference"] else "–"}
    for one in checked
]).style.hide() if checked else print("Hypotheses compare rows of Table 1; this build has no two.")

# %% [markdown]
# ## 5.5 Training curves (the paper's figures 2-5, and those of all other rows)

# %%
clipping = build.figures / "fig01_clipping.svg"
if not clipping.exists():
    raise FileNotFoundError(f"{clipping}: missing; 02_preprocessing writes it, so run that first")
made = [clipping.stem, *probed["figures"]]
part = f", first of {folds} folds" if folds else ""
first = {run.experiment: run for run in reversed(runs)}
numbers = {(kind, name): n for kind, start in (("training", 2), ("scores", 6))
           for n, name in enumerate(seed_paper["figures"][kind], start)}


def keep(figure, kind, name):
    """Show a figure of a row; make also saves it. The seed paper's own figures keep their numbers."""
    n = numbers.get((kind, name))
    file = f"{kind}_{name}" if n is None else f"fig{n:02d}_{kind}_{name}"
    if by_runner:
        figures.save(figure, build.figures / f"{file}.svg")
    made.append(file)
    display(figure)


for name, title in titles.items():
    run = first[name]
    keep(training_curves(run.history, title + part, simulated, run.info.get("best_epoch")), "training", name)

# %% [markdown]
# ## 5.6 Every case (figures 6-10, and those of all other rows)

# %%
for name, title in titles.items():
    keep(case_scores(scores[name], title, simulated), "scores", name)

# %% [markdown]
# ## 5.7 Best against baseline (figures 11 and 12)
#
# Where the baseline itself is the best, the next one stands against it.

# %%
if rival:
    numbers |= {("best_against", "baseline"): 11, ("best_against", "baseline_tumour"): 12}
    for name, columns in {"baseline": ["kidney", "tumour"], "baseline_tumour": ["tumour"]}.items():
        pair = (titles[rival], titles[reference])
        keep(best_against_baseline(scores[rival], scores[reference], columns, pair, simulated), "best_against", name)
else:
    print("One row has none to stand against.")

# %% [markdown]
# ## 5.8 One case, on slices (figures 13 and 14)
#
# Not a hand-picked case: the one whose tumour Dice under the baseline is the median. Rows that the seed paper does
# not have follow.

# %%
chosen = tables.choose_case(scores[reference])
case = Case(build.cases(source, folder) / chosen)
imaging, truth, affine = read_case(case, accept=Accept(label_map or {}, bool(accept_affine)))
shown = {"baseline": reference} | ({"best": rival} if rival else {})
numbers |= {("slices", "baseline"): 13, ("slices", "best"): 14}
own = [row["experiment"] for row in table if not row["paper"]]
shown |= {name: name for name in own if name not in (reference, rival)}
for role, name in shown.items():
    prediction, _ = read_nifti(first[name].holding_out(chosen).folder / "predictions" / f"{chosen}.nii.gz")
    heading = f"{titles[name]}, {chosen.replace('_', ' ')}"
    keep(slices(imaging, truth, prediction, affine, heading, simulated), "slices", role)

# %% [markdown]
# ## 5.9 Which cases are hard
#
# Is it the small tumours? The rank correlation says how far size explains the score.

# %%
hard = tables.describe_cases(runs)
with_tumour = hard[hard.tumour_ml > 0]
correlation = rank_correlation(with_tumour.tumour_ml, with_tumour.tumour)
print(f"Spearman's rho between tumour volume and tumour Dice: {number(correlation, 2)} (n = {len(with_tumour)})")
hardest = hard.head(5).rename(lambda name: name.replace("_", " ")).rename_axis("hardest cases: mean over the losses")
pd.DataFrame({
    "tumour (ml)": hardest.tumour_ml.map(lambda ml: number(ml, 1)),
    **{f"Dice, {figures.NAMES[score]}": hardest[score].map(number) for score in tables.SCORES},
    "tumour Dice, lowest to highest loss": hardest.tumour_low.map(number) + " to " + hardest.tumour_high.map(number),
}).style

# %%
figure, axes = figures.canvas("Tumour Dice by size", (figures.COLUMN, 2.5), simulated=simulated)
colour = figures.COLOURS["tumour"]
drawn = with_tumour.dropna(subset=["tumour"])
axes.vlines(drawn.tumour_ml, drawn.tumour_low, drawn.tumour_high, color=colour, linewidth=1.4, alpha=0.35)
sns.scatterplot(drawn, x="tumour_ml", y="tumour", color=colour, s=16, ax=axes, clip_on=False)
axes.set(xlabel="tumour volume (ml)", ylabel="tumour Dice", ylim=(-0.02, 1.02))
if len(drawn):
    figures.plain_log(axes.xaxis, 0.8 * drawn.tumour_ml.min(), 1.25 * drawn.tumour_ml.max())
figures.legend_below(figure, [Line2D([], [], color=colour, marker="o", markersize=4,
                                     label=f"mean and range over {plural(len(titles), 'loss', 'losses')}")])
figure

# %% [markdown]
# The same by the size of the lesion (equivalent diameter, cut-offs of the T stages): mean tumour Dice and number of
# cases.

# %%
sizes = tables.by_size(runs, experiments)
pd.DataFrame({
    row["title"]: {size: f"{number(found['mean'])} (n = {found['n']})" for size, found in row["sizes"].items()}
    for row in sizes
}).T.rename_axis("tumour Dice by size").style

# %% [markdown]
# ## 5.10 Distances
#
# HD95 in mm (lower is better) and normalized surface Dice at KiTS21's tolerances (higher is better), by surface
# elements (Nikolov et al. 2021). Means over cases; undefined ones, where a tumour was missed altogether, are left out
# and counted.

# %%
distances = tables.distances(runs, experiments)
far = max((row["hd95_tumour"]["mean"] for row in distances if row["hd95_tumour"]["n"]), default=0.0)
display(pd.DataFrame({
    row["title"]: {figures.NAMES[name]: tables.summary(row[name], 1 if "hd95" in name else 3) for name in SURFACES}
    for row in distances
}).T.style)
if far > 30:
    display(Markdown(
        f"A mean tumour HD95 of {number(far, 0)} mm does not mean borders that are so far off: the farthest 5 % of the "
        "surface set it, so one false piece of tumour far away, such as in the other kidney, is enough."
    ))

# %% [markdown]
# ## 5.11 What was called kidney, and is none
#
# Simulated cases come with a map of their organs. First: mean ml a case of false kidney and tumour in each, where they have
# one. Then, where the profile asks for it: mean Dice of all that was labelled, and of what lies around the kidneys that a
# coarse pass found (`predict --locate`).

# %%
false_ml = pd.DataFrame({titles[name]: found.filter(like="false_ml_").mean() for name, found in scores.items()})
false_ml.index = false_ml.index.str.removeprefix("false_ml_").str.replace("_", " ")
false_ml = false_ml.loc[false_ml.mean(axis=1).sort_values(ascending=False).index]
if len(false_ml):
    table_of_organs = false_ml[false_ml.max(axis=1) >= 0.05].rename_axis("false kidney and tumour, ml a case, in")
    display(table_of_organs.map(lambda ml: number(ml, 1)).style)
located = {name: found.filter(like="located_").mean().rename(lambda column: column.removeprefix("located_"))
           for name, found in scores.items() if "located_kidney" in found}
if located:
    display(pd.DataFrame({titles[name]: {figures.NAMES[score]: f"{number(scores[name][score].mean())}, {number(found[score])}"
                                         for score in tables.PAPER_COLUMNS} for name, found in located.items()})
            .T.rename_axis("mean Dice: all, and located").style)

# %% [markdown]
# ## 5.12 What the runs cost
#
# As each run recorded it.

# %%
cost = costs(runs)
print(f"{plural(len(cost), 'run')}, {number(cost.seconds.sum() / 60, 1)} minutes of training in sum")
units = {"seconds": "training (s)", "peak_memory_mb": "peak memory (MB)", "patches_per_second": "patches a second",
         "data_share": "waiting for patches (share of time)"}
for name, digits in {"seconds": 0, "peak_memory_mb": 0, "patches_per_second": 1, "data_share": 3}.items():
    if name in cost:
        cost[name] = [number(value, digits) for value in cost[name]]
cost.rename(columns=units).rename_axis("run").style

# %% [markdown]
# ## What we saw

# %%
def counted(checks):
    return ", ".join(f"{n} {verdict}" for verdict, n in Counter(one["verdict"] for one in checks).items()) or "none"


saw = [*lines,
       f"Of {plural(len(compared), 'comparison')} of the seed paper that could be made here: {counted(compared)}.",
       f"Of {plural(len(checked), 'hypothesis', 'hypotheses')} from the losses alone: {counted(checked)}.",
       f"The rank correlation of tumour volume and tumour Dice over {plural(len(with_tumour), 'case')} "
       + ("is not defined." if np.isnan(correlation) else f"is {number(correlation, 2)}.")]
if simulated:
    saw.append("All CT was simulated: none of this says anything about patients.")
Markdown("\n".join(f"- {line}" for line in saw))

# %%
trainable, _ = count_parameters(UNet3D(**settings["network"]))
results = {
    "profile": profile,
    "data": tables.describe_data(build, runs),
    "settings": settings,
    "network": {"trainable": trainable, **audit.count_network()},
    "table": table,
    "baseline": own_baseline,  # null where the profile does not run it
    "reference": reference,  # the baseline, or the row that stands in for it
    "best": best,
    "worst": worst,
    "rival": rival,  # the best of the rows beside the reference
    "difference": difference,
    "extremes": extremes,
    "order_agreement": agreement,
    "comparisons": compared,
    "distances": distances,
    "by_size": sizes,
    "false_ml": false_ml.to_dict(),  # a case, by experiment and organ
    "located": {name: found.to_dict() for name, found in located.items()},
    "losses": probed | {"hypotheses": checked},
    "audit": {"labels": audit.load_labels(labels_summary)},
    "runs": [{key: value for key, value in run.info.items() if key != "settings"} for run in trained],
    "unlike": unlike(runs),
    "figures": made,
    "software": tables.software(),
    "seconds": sum(run.info["seconds"] for run in trained),
}
if by_runner:
    write_json(build.results, results)
print(f"wrote results.json and {plural(len(made), 'figure')}" if by_runner else "wrote nothing: only make writes")

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
# # 5. What the runs show
#
# Every run was scored on the held-out cases in native geometry, with the challenge's metric: Dice of kidney and tumour
# together (label > 0), of the kidney alone (label 1) and of the tumour alone (label 2). The *composite* is eq. 14,
#
# $$ s = \frac{1}{n} \sum_{i=1}^{n} \tfrac{1}{2}
# \left( \mathrm{DSC}_{tumour}^i + \mathrm{DSC}_{kidney\ and\ tumour}^i \right). $$
#
# Under cross-validation every case is held out by one fold, and the folds' scores are put together. Scores that are
# undefined are left out and counted. Executed by make, this notebook writes every number and figure that the paper uses.

# %% tags=["parameters"]
build = "build/quick"  # folder of all outputs of the profile
by_runner = False  # True: executed by make, which writes; by hand a notebook only looks
experiments: list | None = None  # rows of Table 1; None, here and below: as the build has it
seeds: list | None = None  # of every row
folds: int | None = None  # of every row and seed, where the profile has folds
profile: dict | None = None  # said in the paper's title block
baseline = "log_cosh_dice"  # the seed paper's baseline
study = "hybrid"  # the published study that the paper is about, where it is in paper/published
labels_summary: str | None = "build/labels/data_analysis/summary.json"  # of the real labels, where it was made
source: str | None = None  # "phantom" and "hybrid" read build/data, "folder" reads `folder`
folder: str | None = None  # data in KiTS19's folder format, for source "folder"
label_map: dict | None = None  # labels to take as others, {3: 1} for the cysts of KiTS21 and KiTS23
accept_affine: bool | None = None  # take imaging's affine where the segmentation's differs

# %%
import math
import sys
from collections import Counter

import pandas as pd
from IPython.display import Markdown, display

from kitsnb.data.cases import EXCLUDED, Case
from kitsnb.data.checks import Accept, read_case
from kitsnb.data.nifti import read_nifti
from kitsnb.files import NOTEBOOKS, Build, write_json
from kitsnb.study import figures, published, tables
from kitsnb.study.claims import load_seed_paper
from kitsnb.study.findings import describe, sentences
from kitsnb.study.runs import SURFACES, all_scores, load_runs, read_stage, shared_settings, trainings
from kitsnb.study.tables import number, plural
from kitsnb.unet import UNet3D, count_parameters
from kitsnb.viewing.scan import read_scan
from kitsnb.viewing.still import extreme_scans, gallery
from kitsnb.workflow.profile import recorded_parameters

sys.path.append(str(NOTEBOOKS))
from interactive.run_browser import RunBrowser, curves, follow
from results import audit
from results.figures import against, case_panels, dice_by_size, slices, training_panels, what_it_takes
from results.tables import claims_in_words, costs, describe_cases, describe_data, false_by_organ, find_baseline
from results.tables import located_scores, pairs_apart, spread, summary, unlike

# %matplotlib inline
figures.use_style()
if not by_runner:  # what is None above is as the build has it
    recorded = recorded_parameters(build, "results")
    globals().update({name: value for name, value in recorded.items() if globals().get(name) is None})
build = Build(build)
simulated = profile["simulated"]
seed_paper = load_seed_paper()
beside = published.read(profile["beside"]) if profile.get("beside") else None
own, experiments = experiments, [*(beside.rows if beside else []), *experiments]
cases, accept = build.cases(source, folder), Accept(label_map or {}, bool(accept_affine))

# %% [markdown]
# ## 5.0 Every run, side by side
#
# By hand: choose runs (Ctrl or Shift for several) and look at curves, scores and pairs of losses; on the last tab a table of
# cases, the worst first, of which a row opens the case. Refresh reads what runs that are still in training have written since.
# As made by `make`, the curves stand still.

# %%
if by_runner:
    display(curves(follow(build, own, seeds, folds), "validation_soft_dice", simulated))
else:
    display(RunBrowser(build, own, seeds, cases, folds=folds, simulated=simulated, accept=accept))

# %%
runs = load_runs(build, own, seeds, folds)
settings = shared_settings(runs)
if settings.get("excluded", ()) is None:
    settings["excluded"] = list(EXCLUDED)
titles = {row["name"]: row["title"] for row in experiments}
scores, made = all_scores(runs), []
if beside:
    published.check(beside, runs, build, profile["apart_from"])
    scores = pd.concat([beside.scores, scores])
trained = trainings(runs)
probed = read_stage(build.losses / "summary.json", "03_losses")
print(f"{plural(len(trained), 'run')}, {plural(scores.case.nunique(), 'held-out case')}"
      + (f", beside the published rows of {beside.name}" if beside else "") + (", simulated CT" if simulated else ""))
if differing := unlike(runs):
    said = "; ".join(f"{name} {' and '.join(values)}" for name, values in differing.items())
    print(f"The rows were not made alike: {said}")


def keep(figure, file):
    """Show a figure that the paper uses; make also saves it."""
    if by_runner:
        figures.save(figure, build.figures / f"{file}.svg")
    made.append(file)
    display(figure)


# %% [markdown]
# ## 5.1 Table 1
#
# Thick lines are 95 % intervals over cases with the seeds averaged; thin ones over cases and seeds, both resampled, and
# these are what claims rest on. With one seed there is no thin line: what a run adds by chance is then not known. Cases
# differ far more than losses do, so rows are compared in pairs, case by case, not by whether intervals overlap. Hollow
# markers are the seed paper's own values, on its own data; they are shown for the order only. The last panel resamples
# the study and counts which rank each row takes.

# %%
found = describe(scores, experiments, seed_paper, probed["hypotheses"])
table = found["table"]
pd.DataFrame({
    figures.NAMES[score]: {row["title"]: summary(row["scores"][score]) for row in table}
    for score in tables.SCORES
}).rename_axis("Dice: mean ± sd over cases").style

# %%
keep(figures.rows_and_ranks(found, simulated, f"{plural(len(table), 'loss', 'losses')}, profile “{profile['name']}”", baseline),
     "rows")

# %% [markdown]
# ## 5.2 Which pairs can be told apart
#
# All pairs: Wilcoxon's signed-rank test over cases on the means of the seeds, with Holm's correction; the paired
# difference with its interval; the matched rank-biserial correlation; and the probability that the first is higher on a
# new case with new seeds. A pair is told apart where the corrected p is below 5 % and the interval leaves out zero. One
# that is not stays open: nothing here ever shows that two losses are alike. The table has those that are told apart; the
# paper's tables have all.

# %%
lines = sentences(found)
display(Markdown("\n".join(f"- {line}" for line in lines)))
apart = pairs_apart(found, titles)
display(apart.style.hide() if len(apart) else Markdown("None is."))

# %% [markdown]
# ## 5.3 Where the variance comes from, and what it takes
#
# The crossed analysis of variance splits each score into what losses, cases, seeds (within a loss), the interplay of case
# and loss, and the rest contribute. With one seed the seed's part is inside that of the loss, and the rest inside the
# interplay. From these follows the smallest difference that a design can show.

# %%
display(spread(found).style)
if takes := what_it_takes(found, seed_paper, simulated, "What it takes"):
    keep(takes, "takes")

# %% [markdown]
# ## 5.4 Claims, checked
#
# One list: what the seed paper concludes from its table, and what notebook 03 expects from the losses alone. "held" and
# "refuted" need an interval without zero; sameness cannot be shown, only refuted; the lowest row must be below each other
# one.

# %%
claims = [one for one in found["claims"] if one["verdict"] != "not run"]
claims_in_words(claims, titles).style.hide() if claims else print("Claims compare rows; this build has none of their pairs.")

# %% [markdown]
# ## 5.5 The seed paper, audited
#
# What its text states, against its own numbers, its equations, its network and, where they were measured, the real labels.
# Each command begins with `python -m kitsnb`.

# %%
labels = audit.load_labels(labels_summary)
audited = audit.audit(seed_paper, labels, found)
pd.DataFrame(audited).rename(columns={"where": "its section"}).style.hide()

# %% [markdown]
# ## 5.6 Training curves (the seed paper's figures 2-5, then rows that it does not have)

# %%
part = f", first of {folds} folds" if folds else ""
first = {run.experiment: run for run in reversed(runs)}
new = [row["name"] for row in own if row["name"] not in [there["experiment"] for there in seed_paper["table"]]]
drawn = {kind: [name for name in [*names, *new] if name in first][:8] or list(first)[:4]
         for kind, names in seed_paper["figures"].items()}
histories = {titles[name]: (first[name].history, first[name].info.get("best_epoch")) for name in drawn["training"]}
keep(training_panels(histories, f"Training{part}", simulated), "training")

# %% [markdown]
# ## 5.7 Every case (figures 6-10)

# %%
keep(case_panels({titles[name]: tables.scores_of(scores, name) for name in drawn["scores"]}, simulated), "scores")

# %% [markdown]
# ## 5.8 Case by case, and one case on slices (figures 11-14)
#
# The best of the other rows against the baseline, or against the last row where the profile does not run it. Not a
# hand-picked case: the one whose tumour Dice under that row is the median.

# %%
order = [name for name in tables.ranked(table) if name in first]
own_baseline = find_baseline(baseline, table, seed_paper)
reference = own_baseline if own_baseline in first else order[-1]
rival = next((name for name in order if name != reference), None)
if rival:
    pair = [tables.scores_of(scores, name) for name in (rival, reference)]
    keep(against(*pair, (titles[rival], titles[reference]), simulated), "against")
chosen = tables.extremes(tables.scores_of(scores, reference))["median"]
imaging, truth, affine = read_case(Case(cases / chosen), accept=accept)
for name in dict.fromkeys([reference, *filter(None, [rival]), *new]):
    prediction, _ = read_nifti(first[name].holding_out(chosen).folder / "predictions" / f"{chosen}.nii.gz")
    keep(slices(imaging, truth, prediction, affine, f"{titles[name]}, {chosen.replace('_', ' ')}", simulated),
         f"slices_{name}")

# %% [markdown]
# And of the first row its worst, median and best case, with what it missed and invented: the slice with most tumour.

# %%
def predicted(name):
    """A case with its label and what the first row says of it."""
    labels = first[order[0]].holding_out(name).folder / "predictions" / f"{name}.nii.gz"
    return read_scan(Case(cases / name), None, labels, accept)


gallery(extreme_scans(tables.scores_of(scores, order[0]), predicted), titles[order[0]], simulated)

# %% [markdown]
# ## 5.9 Which cases are hard
#
# Is it the small tumours? The rank correlation says how far size explains the score.

# %%
hard = describe_cases(scores)
with_tumour = hard[hard.tumour_ml > 0]
correlation = float(with_tumour[["tumour_ml", "tumour"]].corr("spearman", min_periods=3).iloc[0, 1])
print(f"Spearman's rho between tumour volume and tumour Dice: {number(correlation, 2)} (n = {len(with_tumour)})")
hardest = hard.head(5).rename(lambda name: name.replace("_", " ")).rename_axis("hardest cases: mean over the losses")
pd.DataFrame({
    "tumour (ml)": hardest.tumour_ml.map(lambda ml: number(ml, 1)),
    **{f"Dice, {figures.NAMES[score]}": hardest[score].map(number) for score in tables.SCORES},
    "tumour Dice, lowest to highest loss": hardest.tumour_low.map(number) + " to " + hardest.tumour_high.map(number),
}).style

# %%
said = f"mean and range over {len(titles)} losses" if len(titles) > 1 else experiments[0]["title"]
keep(dice_by_size(with_tumour, said, simulated), "size")

# %% [markdown]
# The same by the size of the lesion (equivalent diameter, cut-offs of the T stages): mean tumour Dice and number of
# cases.

# %%
pd.DataFrame({
    row["title"]: {size: f"{number(one['mean'])} (n = {one['n']})" for size, one in row["sizes"].items()}
    for row in found["by_size"]
}).T.rename_axis("tumour Dice by size").style

# %% [markdown]
# ## 5.10 Distances
#
# HD95 in mm (lower is better) and normalized surface Dice at KiTS21's tolerances (higher is better), by surface
# elements (Nikolov et al. 2021). Means over cases; undefined ones, where a tumour was missed altogether, are left out
# and counted.

# %%
far = max((row["hd95_tumour"]["mean"] for row in found["distances"] if row["hd95_tumour"]["n"]), default=0.0)
display(pd.DataFrame({
    row["title"]: {figures.NAMES[name]: summary(row[name], 1 if "hd95" in name else 3) for name in SURFACES}
    for row in found["distances"]
}).T.style)
if far > 30:
    display(Markdown(
        f"A mean tumour HD95 of {number(far, 0)} mm does not mean borders that are so far off: the farthest 5 % of the "
        "surface set it, so one false piece far away, in the other kidney or in another organ, is enough."
    ))

# %% [markdown]
# ## 5.11 What was called kidney, and is none
#
# Simulated cases come with a map of their organs. First: mean ml a case of false kidney and tumour in each, where they have
# one. Then, where the profile asks for it: mean Dice of all that was labelled, and of what lies around the kidneys that a
# coarse pass found (`predict --locate`).

# %%
false_ml, located = false_by_organ(scores, titles), located_scores(scores)
if len(false_ml):
    often = false_ml[false_ml.max(axis=1) >= 0.05].rename_axis("false kidney and tumour, ml a case, in")
    display(often.map(lambda ml: number(ml, 1)).style)
if located:
    display(pd.DataFrame({
        row["title"]: {figures.NAMES[score]: f"{number(row['scores'][score]['mean'])}, {number(one[score])}"
                       for score in tables.PAPER_COLUMNS}
        for row in table if (one := located.get(row["experiment"]))
    }).T.rename_axis("mean Dice: all, and located").style)

# %% [markdown]
# ## 5.12 What the runs cost
#
# As each run recorded it.

# %%
cost = costs(runs)
print(f"{plural(len(cost), 'run')}, {number(cost.seconds.sum() / 60, 1)} minutes of training in sum")
units = {"seconds": "training (s)", "peak_memory_mb": "peak memory (MB)", "patches_per_second": "patches a second"}
digits = dict(zip(units.values(), ("{:.0f}", "{:.0f}", "{:.1f}")))
cost.rename(columns=units).rename_axis("run").style.format(digits, na_rep="–")

# %% [markdown]
# ## 5.13 The published studies
#
# Runs that are kept in the repository (`paper/published/`), worked out anew from their scores. The paper is about the one
# that the parameter `study` names, and shows this build apart from it.

# %%
kept = {one.name: one for one in map(published.read, published.names())}
others = {name: published.describe(one, seed_paper) for name, one in kept.items()}
main = study if study in others else None
for name, one in others.items():
    display(Markdown(f"**{name}**, {plural(one['runs'], 'run')}, {number(one['seconds'] / 3600, 1)} hours, "
                     f"commit `{one['commit'][:8]}`\n" + "\n".join(f"- {line}" for line in sentences(one))))
if main:
    shown = f"Published study “{main}”"
    keep(figures.rows_and_ranks(others[main], others[main]["simulated"], shown, baseline), "study_rows")
    if takes := what_it_takes(others[main], seed_paper, others[main]["simulated"], "What it takes"):
        keep(takes, "study_takes")
elif not others:
    print("None is published yet: python -m kitsnb publish PROFILE")

# %% [markdown]
# ## What we saw

# %%
def counted(checks):
    return ", ".join(f"{n} {verdict}" for verdict, n in Counter(one["verdict"] for one in checks).items()) or "none"


theirs = [one for one in claims if one["kind"] == "seed paper"]
expected = [one for one in claims if one["kind"] != "seed paper"]
saw = [*lines,
       f"Of {plural(len(theirs), 'comparison')} of the seed paper that could be made here: {counted(theirs)}.",
       f"Of {plural(len(expected), 'hypothesis', 'hypotheses')} from the losses alone: {counted(expected)}.",
       f"The rank correlation of tumour volume and tumour Dice over {plural(len(with_tumour), 'case')} "
       + ("is not defined." if math.isnan(correlation) else f"is {number(correlation, 2)}.")]
if simulated:
    saw.append("All CT was simulated: none of this says anything about patients.")
Markdown("\n".join(f"- {line}" for line in saw))

# %%
trainable, _ = count_parameters(UNet3D(**settings["network"]))
results = {
    "profile": profile,
    "data": describe_data(build, runs),
    "settings": settings,
    "network": {"trainable": trainable, **audit.count_network()},
    "here": found,  # what this build's runs show, beside published rows where the profile asks for that
    "published": others,  # by name
    "main": main,  # the published study that the paper is about; null: this build
    "reference": reference,  # the baseline, or the row that stands in for it
    "false_ml": false_ml.to_dict(),  # a case, by experiment and organ
    "located": located,
    "rival": rival,  # the best of the others
    "size_correlation": correlation,
    "losses": probed,
    "audit": audit.audit(seed_paper, labels, others[main]) if main else audited,
    "labels": bool(labels),
    "runs": [{key: value for key, value in run.info.items() if key != "settings"} for run in trained],
    "unlike": unlike(runs),
    "figures": made,
    "software": tables.software(),
    "seconds": sum(run.info["seconds"] for run in trained),
}
if by_runner:
    write_json(build.results, results)
print(f"wrote results.json and {plural(len(made), 'figure')}" if by_runner else "wrote nothing: only make writes")

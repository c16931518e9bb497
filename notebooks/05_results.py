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
# Every run was scored on held-out cases in native geometry, with the challenge's metric: Dice of kidney and tumour
# together (label > 0), of the kidney alone and of the tumour alone; the *composite* (eq. 14) is the mean of the first
# and the last.

# %% tags=["parameters"] jupyter={"source_hidden": true}
profile = "quick"  # a name in notebooks/profiles, a file, or a build's folder
changes = {}  # such as {"seeds": [0, 1]}

# %% jupyter={"source_hidden": true}
import pandas as pd
from IPython.display import Markdown, display

from kitsnb.data.checks import read_case
from kitsnb.data.nifti import read_nifti
from kitsnb.files import write_json
from kitsnb.study import figures, plots, published
from kitsnb.study.findings import report
from kitsnb.study.runs import all_scores, load_runs
from kitsnb.study.shown import shown, what_we_saw
from kitsnb.study.tables import average_seeds, extremes, number, ranked
from kitsnb.viewing.scan import Given, read_scan
from kitsnb.viewing.still import gallery
from kitsnb.workflow.opened import open_study

study = open_study(profile, changes)

from results import tables
from results.figures import slices, training_panels

figures.use_style()
experiments = [row.model_dump() for row in study.profile.experiments]
runs = load_runs(study.build, experiments, study.profile.seeds)
cases = published.read_cases(study.build.data_analysis)
about, scores = published.join(tables.describe_study(study, runs), all_scores(runs), cases)
found = report(about, scores)
drawn = plots.draw(found, scores)

# %% [markdown]
# ## 5.1 Table 1
#
# Thick lines are 95 % intervals over cases; thin ones over cases and seeds, and claims rest on these. Cases differ
# far more than losses do, so rows are compared in pairs, case by case, not by whether intervals overlap. Hollow
# markers are the seed paper's own values, on its own data.

# %% jupyter={"source_hidden": true}
display(shown(tables.table_1(found)))
drawn["rows"]

# %% [markdown]
# ## 5.2 Which pairs can be told apart
#
# Wilcoxon's signed-rank test over cases, with Holm's correction over all pairs, and an interval over cases and seeds
# that leaves out zero. Seeds are paired: all losses of a seed share initial weights and patches. A pair that is not
# in the table stays open; nothing here ever shows that two losses are alike.

# %% jupyter={"source_hidden": true}
apart = tables.apart(found)
display(shown(apart) if len(apart) else Markdown("None can."))

# %% [markdown]
# ## 5.3 Where the variance comes from, and what it takes
#
# What losses, seeds, cases and their interplay contribute to the variance of tumour Dice, with 95 % intervals, and
# the smallest difference that a number of cases and seeds can show.

# %% jupyter={"source_hidden": true}
components = pd.DataFrame(found["components"]["tumour"]).T
if len(components):
    display(shown(components.rename_axis("source").reset_index(), digits=4))
if "takes" in drawn:
    display(drawn["takes"])

# %% [markdown]
# ## 5.4 Claims, checked
#
# What the seed paper concludes from its table, and those expectations of notebook 03 that were held or refuted, which
# needs an interval without zero; sameness cannot be shown, only refuted. The paper's tables have all, with intervals.

# %% jupyter={"source_hidden": true}
checked = tables.claims(found)
display(shown(checked) if len(checked) else Markdown("No claim is about rows of this study, or none is settled."))

# %% [markdown]
# ## 5.5 Every case
#
# Is it the small tumours that are hard? By hand, a list follows, from which any case is shown as two losses see it.

# %% jupyter={"source_hidden": true}
drawn["scores"]

# %% jupyter={"source_hidden": true}
first = {run.experiment: run for run in reversed(runs)}
titles = {row.name: row.title for row in study.profile.experiments}
native = {case.name: case for case in study.cases}


def prediction_of(experiment, case):
    """Return the file with what the first run of an experiment that held the case out says of it."""
    run = next(run for run in runs if run.experiment == experiment and case in run.scores.index)
    return run.folder / "predictions" / f"{case}.nii.gz"


def read_prediction(experiment, case):
    """Read a case with its label and what an experiment says of it."""
    files = native[case]
    given = Given(case, files.imaging, files.segmentation, prediction_of(experiment, case))
    return read_scan(given, study.accept)


if not study.writes:
    from interactive.compare import compare

    own = scores[scores.experiment.isin(titles)]
    display(compare(own, titles, read_prediction, about["simulated"]))

# %% [markdown]
# ## 5.6 Training curves

# %% jupyter={"source_hidden": true}
curves = {title: first[name].history for name, title in titles.items()}
drawn["training"] = training_panels(curves, "Training", about["simulated"])
drawn["training"]

# %% [markdown]
# ## 5.7 Cases on slices
#
# Not hand-picked: of the rows that were trained here, the worst, the median and the best case by tumour Dice of the
# highest one's first run. The paper has the case of median Dice of the row that others are compared with, too.

# %% jupyter={"source_hidden": true}
best = next(name for name in ranked(found["table"]) if name in titles)
compared = found["reference"] if found["reference"] in titles else best
about["pictured"] = {"row": best, "median_under": compared, "seed": first[best].seed}
own = first[best].scores
scans = []
for which, name in extremes(own).items():
    text = f"{which}, tumour Dice {number(own.tumour[name], 2)}"
    scans.append((text, read_prediction(best, name)))
drawn["patients"] = gallery(scans, f"{titles[best]}, seed {first[best].seed}", about["simulated"])
drawn["patients"]

# %% jupyter={"source_hidden": true}
median = extremes(average_seeds(scores, compared))["median"]
imaging, truth, affine = read_case(native[median], accept=study.accept)
for name in dict.fromkeys([best, compared]):
    prediction, _ = read_nifti(prediction_of(name, median))
    heading = f"{titles[name]}, {median.replace('_', ' ')}"
    drawn[f"slices_{name}"] = slices(imaging, truth, prediction, affine, heading, about["simulated"])

# %% [markdown]
# ## 5.8 What we saw

# %% jupyter={"source_hidden": true}
what_we_saw(tables.measures(found))

# %% jupyter={"source_hidden": true}
if study.writes:
    for name, figure in drawn.items():
        figures.save(figure, study.build.figures / f"{name}.svg")
    made = list(drawn)
    for name in ("data01_imbalance", "fig01_clipping", "losses01_error_paths", "losses02_gradient_shares"):
        if (study.build.figures / f"{name}.svg").is_file():
            made.append(name)
    found |= {"figures": sorted(made), "published": published.summarise_findings()}
    write_json(study.build.results, found)

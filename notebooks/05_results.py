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
# Every run was scored on held-out cases in native geometry, with the challenge's metric: Dice of kidney and tumour together
# (label > 0), of the kidney alone and of the tumour alone; the *composite* (eq. 14) is the mean of the first and the last.

# %% tags=["parameters"]
profile = "quick"  # a name in notebooks/profiles, or a file
changes = {}  # such as {"seeds": [0, 1]}

# %%
import sys

from IPython.display import display

from kitsnb.data.cases import Case
from kitsnb.data.checks import read_case
from kitsnb.data.nifti import read_nifti
from kitsnb.files import NOTEBOOKS, write_json
from kitsnb.study import figures, plots, published
from kitsnb.study.findings import report
from kitsnb.study.runs import all_scores, load_runs
from kitsnb.study.tables import average_seeds, extremes
from kitsnb.workflow import open_study

sys.path.append(str(NOTEBOOKS))
from results import tables
from results.figures import slices, training_panels

# %matplotlib inline
figures.use_style()
study = open_study(profile, changes)
runs = load_runs(study.build, [row.model_dump() for row in study.profile.experiments], study.profile.seeds)
scores = all_scores(runs)
about = tables.describe_study(study, runs)
if about["beside"]:  # rows of a published study stand with these in one table
    about, scores = published.join(about, scores, published.cases_of(study.build), study.profile.apart_from)
found = report(about, scores)
drawn = plots.draw(found, scores)

# %% [markdown]
# ## 5.1 Table 1
#
# Thick lines are 95 % intervals over cases; thin ones over cases and seeds, and claims rest on these. Cases differ far more
# than losses do, so rows are compared in pairs, case by case, not by whether intervals overlap. Hollow markers are the seed
# paper's own values, on its own data. The last panel resamples the study and counts which rank each row takes.

# %%
display(tables.table_1(found).style)
drawn["rows"]

# %% [markdown]
# ## 5.2 Which pairs can be told apart
#
# Wilcoxon's signed-rank test over cases, with Holm's correction over all pairs, and an interval over cases and seeds that
# leaves out zero. Seeds are paired: all losses of a seed share initial weights and patches. A pair that is not in the table
# stays open; nothing here ever shows that two losses are alike.

# %%
apart = tables.pairs_apart(found)
if len(apart):
    display(apart.style.hide())
else:
    print("None can.")

# %% [markdown]
# ## 5.3 Where the variance comes from, and what it takes
#
# What losses, seeds, cases and their interplay contribute to a score, and the smallest difference that a number of cases and
# seeds can show.

# %%
if found["components"]["tumour"]:
    display(tables.components(found).style)
if "takes" in drawn:
    display(drawn["takes"])

# %% [markdown]
# ## 5.4 Claims, checked
#
# What the seed paper concludes from its table, and what notebook 03 expects from the losses alone. "held" and "refuted" need
# an interval without zero; sameness cannot be shown, only refuted.

# %%
checked = tables.claims(found)
if len(checked):
    display(checked.style.hide())
else:
    print("Claims compare rows; this study has none of their pairs.")

# %% [markdown]
# ## 5.5 Every case
#
# Is it the small tumours that are hard? By hand, the last table opens a case: click a row.

# %%
for name in ("size", "scores", "against"):
    if name in drawn:
        display(drawn[name])

# %%
if not study.writes:
    from interactive.case_table import case_table

    display(case_table(study))

# %% [markdown]
# ## 5.6 Training curves

# %%
first = {run.experiment: run for run in reversed(runs)}
titles = {row.name: row.title for row in study.profile.experiments}
scored = "epochs" if study.profile.training.weights == "last" else "best_epoch"
curves = {titles[name]: (run.history, run.info.get(scored)) for name, run in reversed(first.items())}
drawn["training"] = training_panels(curves, "Training", about["simulated"])
drawn["training"]

# %% [markdown]
# ## 5.7 One case on slices
#
# The best row, and the one that it is compared with. Not a hand-picked case: the one whose tumour Dice under the latter is the
# median.

# %%
shown = [name for name in (found["rival"], found["reference"]) if name in first] or list(first)[:1]
chosen = extremes(average_seeds(scores, shown[-1]))["median"]
case = next(case for case in study.cases if case.name == chosen)
imaging, truth, affine = read_case(case, accept=study.accept)
for name in shown:
    run = next(run for run in runs if run.experiment == name and chosen in run.scores.index)
    prediction, _ = read_nifti(run.folder / "predictions" / f"{chosen}.nii.gz")
    heading = f"{titles[name]}, {chosen.replace('_', ' ')}"
    drawn[f"slices_{name}"] = slices(imaging, truth, prediction, affine, heading, about["simulated"])
    display(drawn[f"slices_{name}"])

# %% [markdown]
# ## 5.8 What we saw

# %%
tables.what_we_saw(found).style.hide()

# %%
if study.writes:
    for name, figure in drawn.items():
        figures.save(figure, study.build.figures / f"{name}.svg")
    earlier = ("data01_imbalance", "fig01_clipping", "losses01_error_paths", "losses02_gradient_shares")
    made = [*drawn, *(name for name in earlier if (study.build.figures / f"{name}.svg").is_file())]
    boxes = published.summarise_findings()
    write_json(study.build.results, {**found, "figures": sorted(made), "published": boxes})

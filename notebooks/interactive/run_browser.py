"""The run browser: experiments x seeds side by side, down to one case, also while they are being trained."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ipywidgets as widgets
import pandas as pd
import seaborn as sns
from itables.widget import ITable
from matplotlib.figure import Figure

from kitsnb.data.cases import Case
from kitsnb.data.checks import Accept
from kitsnb.data.nifti import CaseError
from kitsnb.drawing import COLOURS, GREY, PAGE, canvas
from kitsnb.files import Build
from kitsnb.metric.score import SCORES
from kitsnb.study.figures import NAMES, whole_numbers
from kitsnb.study.runs import planned
from kitsnb.viewing.scan import read_scan
from kitsnb.viewing.still import gallery

from interactive.case_browser import CaseBrowser
from interactive.picture import Picture, columns
from probing.figures import line_styles
from results.figures import against

#: What can be followed, by the column of ``history.csv``.
MEASURES = {f"{part}, {said}": f"{part}_{name}" for part in ("validation", "training") for name, said in
            {"soft_dice": "soft Dice", "tumour": "tumour soft Dice", "kidney": "kidney soft Dice",
             "loss": "loss"}.items()}
#: Columns of the table of cases: of ``scores.csv``, what they are called, and their decimals.
SHOWN = {"tumour": ("tumour Dice", 3), "kidney": ("kidney Dice", 3), "kidney_and_tumour": ("Dice of both", 3),
         "tumour_ml": ("tumour (ml)", 1), "predicted_tumour_ml": ("predicted (ml)", 1)}
#: How the table is shown: one row can be chosen, whole, and the case has room below.
TABLE = {"select": "single", "showIndex": False, "maxBytes": 0, "pageLength": 6, "lengthMenu": [6, 20, 100],
         "order": [],
         "classes": "display compact", "style": "width:100%", "autoWidth": False}
#: So many runs have a line each in the legend; of more, each loss has.
NAMED = 14


@dataclass(frozen=True)
class Followed:
    """A training that has begun: ``history`` an epoch a row, and once it has ended ``scores``, a row a case."""

    row: Mapping
    name: str
    folder: Path
    history: pd.DataFrame
    scores: pd.DataFrame | None

    @property
    def title(self) -> str:
        return self.name if self.scores is not None else f"{self.name} (in training, epoch {len(self.history)})"


def follow(build: Build, experiments: Sequence[Mapping], seeds: Sequence[int], folds: int | None) -> list[Followed]:
    """The trainings of ``experiments`` x ``seeds`` (x ``folds``) that have written an epoch, as they are now."""
    found = []
    for row, seed, fold, folder in planned(build, experiments, seeds, folds):
        if (folder / "history.csv").is_file():
            name = ", ".join([row["title"], f"seed {seed}"] + ([] if fold is None else [f"fold {fold}"]))
            done = (folder / "run.json").is_file()  # written last
            scores = pd.read_csv(folder / "scores.csv", index_col="case") if done else None
            found.append(Followed(row, name, folder, pd.read_csv(folder / "history.csv"), scores))
    return found


def curves(followed: Sequence[Followed], measure: str, simulated: bool) -> Figure:
    """The ``measure`` (a column of ``history.csv``) of all runs against the epoch; a loss keeps its colour and mark."""
    said = next(said for said, column in MEASURES.items() if column == measure)
    figure, axes = canvas(f"Every run: {said}", (9.4, 3.4), simulated=simulated)
    styles, titles = line_styles([one.row for one in followed]), []
    for one in followed:
        line = one.history[["epoch", measure]].dropna()
        titles.append(one.title if len(followed) <= NAMED else one.row["title"])
        label = titles[-1] if titles.count(titles[-1]) == 1 else None  # a loss is named once
        axes.plot(line.epoch, line[measure], linewidth=1.3, label=label, **styles[one.row["name"]])
    axes.set(xlabel="epoch", ylabel=said)
    whole_numbers(axes.xaxis)
    if followed:
        figure.legend(loc="outside right center", fontsize="small", handlelength=4)  # long enough to show dashes
    return figure


def merged(followed: Sequence[Followed]) -> pd.DataFrame:
    """Scores of all ended runs: ``loss`` (its title) and ``case``, averaged over seeds."""
    tables = [one.scores.assign(loss=one.row["title"]) for one in followed if one.scores is not None]
    if not tables:
        return pd.DataFrame(columns=["loss", "case", *SCORES])
    return pd.concat(tables).groupby(["loss", "case"], sort=False).mean(numeric_only=True).reset_index()


def points(scores: pd.DataFrame, score: str, simulated: bool) -> Figure:
    """Every case of every loss as a point, over its mean and the mean's 95 % bootstrap interval over cases."""
    losses = list(dict.fromkeys(scores.loss))
    figure, axes = canvas(f"Dice, {NAMES[score]}: cases, mean and its 95 % interval", (PAGE, 1.0 + 0.32 * len(losses)),
                          simulated=simulated)
    if losses:
        options = {"x": score, "y": "loss", "order": losses, "ax": axes}
        sns.stripplot(scores, color=GREY, alpha=0.5, size=4, jitter=0.2, **options)
        sns.pointplot(scores, errorbar=("ci", 95), seed=0, linestyle="none", color=COLOURS[score], markersize=5,
                      err_kws={"linewidth": 2}, **options)
    axes.set(xlim=(-0.02, 1.02), xlabel="Dice", ylabel="")
    return figure


def table_of_cases(followed: Sequence[Followed]) -> pd.DataFrame:
    """Every case of every ended run, the lowest tumour Dice first; the index is (place in ``followed``, case)."""
    ended = {n: one.scores[list(SHOWN)].assign(run=one.name)
             for n, one in enumerate(followed) if one.scores is not None}
    if not ended:
        return pd.DataFrame(columns=["run", "case", *(said for said, _ in SHOWN.values())])
    table = pd.concat(ended).sort_values("tumour", kind="stable")
    table.insert(0, "case", table.index.get_level_values("case").str.replace("_", " "))
    table.insert(0, "run", table.pop("run"))
    rounded = table.round({name: digits for name, (_, digits) in SHOWN.items()})
    return rounded.rename(columns={name: said for name, (said, _) in SHOWN.items()})


class RunBrowser(widgets.VBox):
    """Curves, scores, pairs and cases of the runs of a build; Refresh reads anew what trainings have written since.

    ``cases`` is the folder of the CT, in KiTS19's format; ``simulated`` is said in all figures.
    """

    def __init__(
        self, build: Build, experiments: Sequence[Mapping], seeds: Sequence[int], cases: Path, *,
        folds: int | None = None,
        simulated: bool = False, accept: Accept | None = None,
    ):
        self.source, self.cases, self.simulated, self.accept = (build, experiments, seeds,
                                                                folds), cases, simulated, accept
        self.again = widgets.Button(description="Refresh", icon="refresh", tooltip="read histories and scores anew")
        self.chosen = widgets.SelectMultiple(description="runs", rows=5, layout={"width": "min(560px, 100%)"})
        self.measure = widgets.Dropdown(options=MEASURES, description="curve of")
        self.score = widgets.Dropdown(options={NAMES[name]: name for name in SCORES}, value="tumour",
                                      description="Dice of")
        self.first, self.second = (widgets.Dropdown(description=said) for said in ("higher?", "than"))
        self.pictures = {name: widgets.HTML() for name in ("curves", "scores", "pairs")}
        self.heading, self.picture, self.viewer = widgets.HTML("Choose a row."), widgets.HTML(), widgets.VBox()
        self.deeper = widgets.Button(description="In three planes and 3D", disabled=True,
                                     layout={"width": "auto", "align_self": "flex-start"})
        self.table = ITable(table_of_cases([]), **TABLE)
        self.tabs = widgets.Tab([
            widgets.VBox([columns([self.measure]), self.pictures["curves"]]),
            widgets.VBox([columns([self.score]), self.pictures["scores"]]),
            widgets.VBox([columns([self.first, self.second]), self.pictures["pairs"]]),
            widgets.VBox([self.table, self.heading, self.picture, self.deeper, self.viewer]),
        ], titles=["Curves", "Scores", "Pairs", "Cases"])
        super().__init__([widgets.HBox([self.chosen, self.again], layout={"flex_flow": "row wrap"}), self.tabs])
        self.again.on_click(lambda _: self.refresh())
        self.table.observe(self._open, "selected_rows")
        self.deeper.on_click(self._browse)
        self.refresh()
        for one, draw in ((self.chosen, self._draw_chosen), (self.measure, self._draw_curves),
                          (self.score, self._draw_scores),
                          (self.first, self._draw_pairs), (self.second, self._draw_pairs)):
            one.observe(draw, "value")

    def refresh(self) -> None:
        """Read what the runs have written by now; what is chosen stays chosen."""
        before = {self.followed[n].folder for n in self.chosen.value} if self.chosen.options else None
        self.followed = follow(*self.source)
        self.chosen.options = [(one.title, n) for n, one in enumerate(self.followed)]
        self.chosen.value = [n for n, one in enumerate(self.followed) if before is None or one.folder in before]
        losses = list(dict.fromkeys(merged(self.followed).loss))
        for one, start in ((self.first, 1), (self.second, 0)):
            kept = one.value
            one.options = losses
            one.value = kept if kept in losses else losses[min(start, len(losses) - 1)] if losses else None
        self._draw_chosen()
        self._draw_pairs()

    @property
    def shown(self) -> list[Followed]:
        return [self.followed[n] for n in self.chosen.value]

    def _draw_chosen(self, _=None) -> None:
        self._draw_curves()
        self._draw_scores()
        self.rows = table_of_cases(self.shown)
        self.table.update(self.rows, selected_rows=[], **TABLE)

    def _draw_curves(self, _=None) -> None:
        self.pictures["curves"].value = Picture(curves(self.shown, self.measure.value, self.simulated)).html()

    def _draw_scores(self, _=None) -> None:
        self.pictures["scores"].value = Picture(points(merged(self.shown), self.score.value, self.simulated)).html()

    def _draw_pairs(self, _=None) -> None:
        if self.first.value is None or self.second.value is None:
            return
        scores, pair = merged(self.followed).set_index("case"), (self.first.value, self.second.value)
        one, other = (scores[scores.loss == title] for title in pair)
        figure = against(one, other, pair, self.simulated)
        self.pictures["pairs"].value = Picture(figure).html()

    def _open(self, change: dict) -> None:
        """Show the case of the chosen row: label, prediction, and where they differ."""
        if not change["new"]:
            return
        row = self.rows.iloc[change["new"][0]]
        n, case = self.rows.index[change["new"][0]]
        run = self.shown[n]
        self.opened = Case(self.cases / case), run.folder / "predictions" / f"{case}.nii.gz"
        self.viewer.children, self.deeper.disabled = (), True
        try:
            scan = read_scan(self.opened[0], prediction=self.opened[1], accept=self.accept)
        except CaseError as error:
            self.heading.value, self.picture.value = f'<b role="alert">{html.escape(str(error))}</b>', ""
            return
        said = f"{row['case']}, {run.name}: tumour Dice {row['tumour Dice']:.3f}"
        self.heading.value, self.deeper.disabled = f"<b>{html.escape(said)}</b>", False
        figure = gallery([(f"tumour Dice {row['tumour Dice']:.3f}", scan)], run.name, self.simulated)
        self.picture.value = Picture(figure).html(said + ": label, prediction and errors in one axial slice")

    def _browse(self, _) -> None:
        case, prediction = self.opened
        self.viewer.children = [CaseBrowser(case, prediction=prediction, simulated=self.simulated, accept=self.accept)]

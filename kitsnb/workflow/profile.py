"""A profile: what is run, as one model whose sections are the rooms' own settings, checked before anything starts.

The same names serve everywhere: ``training: {epochs: 3}`` in a file (see ``notebooks/profiles``), ``-p
training.epochs=3`` on the command line, ``{"training.epochs": 3}`` in a notebook.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from kitsnb.data.settings import DataSettings, Number, numbers_of
from kitsnb.files import NOTEBOOKS, PAPER, Build, read_json, resolve
from kitsnb.inference.settings import Prediction
from kitsnb.messages import nearest
from kitsnb.preprocessing.settings import Preprocessing, Spacing
from kitsnb.settings import Positive, Seed, Settings, finite, problems
from kitsnb.simulation.settings import Simulation
from kitsnb.training.settings import Training
from kitsnb.workflow.profile_files import ProfileError, expand, find, read, with_changes

Stage = Literal["data_analysis", "preprocessing", "losses", "training", "results", "paper"]
#: The stages in the order in which they run, and the notebook of each (the paper is no notebook).
STAGES: dict[Stage, str | None] = {
    "data_analysis": "01_data_analysis.py",
    "preprocessing": "02_preprocessing.py",
    "losses": "03_losses.py",
    "training": "04_training.py",
    "results": "05_results.py",
    "paper": None,
}


def printable(title: str) -> str:
    """Return ``title`` if figures can show it: between two dollar signs stands mathematics. Else raise ValueError."""
    if not title.isprintable():
        raise ValueError(f"must be one line of printable text, not {title!r}")
    if title.count("$") > 1:
        from matplotlib.mathtext import MathTextParser

        try:
            MathTextParser("path").parse(title)
        except ValueError as error:
            raise ValueError(f"must be text or valid mathematics between dollar signs, not {title!r}") from error
    return title


Title = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(printable)]
Triple = Annotated[tuple[Spacing, Spacing, Spacing], Field(strict=False)]


class Experiment(Settings):
    """A row of Table 1: a loss with its parameters."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]  # names files
    title: Title
    loss: Annotated[str, Field(min_length=1)]  # a name in kitsnb.losses.LOSSES, or "file.py:function"
    parameters: Annotated[dict[str, Any], AfterValidator(finite)] = {}
    compared_with: str | None = None  # a row, to which the paper tells the difference if this is a further study

    @model_validator(mode="before")
    @classmethod
    def _titled(cls, row):
        return {"title": row.get("name"), **row} if isinstance(row, dict) else row


class Deviation(Settings):
    """A way in which a profile is not the seed paper's; all are printed in the paper that it makes."""

    paper: str
    here: str
    why: str


class Probing(Settings):
    """What notebook 03 does to the losses."""

    others: list[str] = ["generalized_dice", "tversky", "weighted_cross_entropy", "dice_cross_entropy", "focal"]
    reference: str = "dice"  # the row that hypotheses compare with
    weights: Annotated[tuple[float, float, float], Field(strict=False)] = (1.0, 2.0, 3.0)  # of weighted `others`
    case: Number | None = None  # whose label is used; None: the one with the median tumour of those at hand
    spacing: Triple = (3.22, 1.62, 1.62)  # mm (slice, height, width) that the label is brought to: the paper's grid
    extent: Triple = (257.6, 129.6, 129.6)  # mm around the tumour: the paper's patch
    shares: Triple = (0.9915, 0.0068, 0.0017)  # of background, kidney, tumour in all 210 KiTS19 labels
    steps: Annotated[int, Field(ge=2)] = 13  # on each error path


class Results(Settings):
    """What notebook 05 compares with."""

    baseline: str = "log_cosh_dice"  # the seed paper's
    labels_summary: str | None = "build/labels/data_analysis/summary.json"  # of the real labels, where it was made


class Profile(Settings):
    """A checked profile, with the folder of its build."""

    title: Title
    description: str = ""
    stages: list[Stage] = list(STAGES)
    experiments: list[Experiment] = []
    seeds: Annotated[list[Seed], Field(min_length=1)] = [0]
    beside: str | None = None  # a published study whose rows stand beside these, without being trained again
    apart_from: list[str] = []  # settings in which these rows may differ from it, as training.network.normalization
    data: DataSettings
    simulation: Simulation = Simulation()
    preprocessing: Preprocessing = Preprocessing()
    losses: Probing = Probing()
    training: Training = Training()
    prediction: Prediction = Prediction()
    results: Results = Results()
    workers: Positive | None = None  # cases at a time in notebooks 01 and 02; None: one per core, at most four
    deviations: dict[str, Deviation] = {}  # by what is set
    name: str = "profile"  # of its file
    file: str = "profile"  # as it was asked for
    folder: str = "build/profile"  # of all outputs

    @field_validator("seeds", "experiments")
    @classmethod
    def _different(cls, values):
        for field in ("name", "title"):
            names = [getattr(value, field, value) for value in values]
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"must differ, but {name} is given twice")
        return values

    @field_validator("stages")
    @classmethod
    def _in_order(cls, stages):
        return [stage for stage in STAGES if stage in stages]

    @property
    def build(self) -> Build:
        return Build(self.folder)

    @property
    def cases(self) -> Path:
        """Return the folder of the cases as they come: simulated ones lie below the build."""
        return resolve(self.data.folder) if self.data.source == "folder" else self.build.data

    @property
    def simulated(self) -> bool:
        return self.data.simulated

    @property
    def runs(self) -> list[tuple[Experiment, int]]:
        """List every training, an experiment and a seed. A grid that is cut short has whole seeds."""
        return [(experiment, seed) for seed in self.seeds for experiment in self.experiments]

    def training_of(self, experiment: Experiment, seed: int) -> Training:
        """Return the settings of one training."""
        return self.training.changed(loss=experiment.loss, loss_parameters=experiment.parameters, seed=seed)


def load(profile: str | Path, changes: Mapping[str, object] | None = None, build: str | Path | None = None,
         data_free: bool = False) -> Profile:
    """Return the profile at ``profile``, or of that name, with ``changes``; outputs go to ``build``.

    ``data_free`` is for those who run nothing: an environment variable that is not set stays in the text as it stands,
    "$KITSNB_DATA". Raises ``ProfileError`` with all that is wrong.
    """
    path = find(profile)
    content = {"title": path.stem} | with_changes(read(path), changes or {})
    found = [f"{name} is no setting of a profile" for name in ("name", "file", "folder") if name in content]
    for section in ("data", "results"):
        if section in content:
            content[section] = expand(content[section])
            unset = re.findall(r"\$\{?(\w+)", str(content[section]))
            found += [f"environment variable {name} is not set; set it, or write the value" for name in unset]
    content["name"] = path.stem
    content["file"] = path.stem if path.parent == NOTEBOOKS / "profiles" else str(path.resolve())
    content["folder"] = str(build or f"build/{path.stem}")
    return check(content, path, [] if data_free else found)


def recorded(build: Build, changes: Mapping[str, object] | None = None) -> Profile | None:
    """Return the profile that ``build`` was made with, and ``changes``; None where nothing is built."""
    content = read_json(build.profile)
    if not content:
        return None
    return check(with_changes(content, changes or {}) | {"folder": str(build.folder)}, build.profile, [])


def check(content: Mapping[str, Any], path: Path, found: list[str]) -> Profile:
    """Return the model of ``content``. Raises ``ProfileError`` with ``found`` and everything else that is wrong."""
    try:
        profile = Profile(**content)
    except ValidationError as error:
        raise ProfileError(path, [*found, *problems(error, Profile)]) from None
    found = [*found, *unfitting(profile)]
    if found:
        raise ProfileError(path, found)
    return profile


def unfitting(profile: Profile) -> list[str]:
    """List which settings of different sections do not fit together, and which rows of Table 1 are not there."""
    found = []
    try:
        profile.prediction.check(profile.training.patch_size)
    except ValueError as error:
        found.append(str(error))
    last = max(set().union(*numbers_of(profile.data)))
    if profile.data.source == "phantom" and last >= profile.simulation.cases:
        found.append(f"simulation.cases {profile.simulation.cases} end before case {last} of data.training or "
                     "data.validation")
    if "training" in profile.stages and not profile.experiments:
        found.append("experiments: the stage training needs at least one")
    names = [row.name for row in profile.experiments]
    for row in profile.experiments:
        other = row.compared_with
        if not profile.beside and other not in (None, *names):
            found.append(f"{row.name}: there is no row {other!r} to be compared with; {nearest(other, names)}")
    seed_paper = yaml.safe_load((PAPER / "seed_paper.yml").read_text("utf-8"))
    rows = names + [row["experiment"] for row in seed_paper["table"]]
    named = {"results.baseline": profile.results.baseline, "losses.reference": profile.losses.reference}
    for place, name in named.items():
        if name not in rows:
            found.append(f"{place}: there is no row {name!r}; {nearest(name, rows)}")
    return found

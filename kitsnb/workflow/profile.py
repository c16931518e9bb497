"""Profiles: what is run, checked to the last name before any kernel starts.

A profile is a YAML file (see ``notebooks/profiles``). ``load`` returns it as a ``Profile`` with the full parameters of
every notebook, or raises one ``ProfileError`` that lists everything that is wrong with it.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, create_model, field_validator

from kitsnb.files import NOTEBOOKS, Build, write_json
from kitsnb.messages import nearest
from kitsnb.settings import Settings, problems
from kitsnb.workflow.experiments import Experiment, Title, name_problems, shared_by_losses, trainable
from kitsnb.workflow.parameters import Cell, Seed, check, read_parameters
from kitsnb.workflow.profile_files import ProfileError, expand, find, merged, override, read

#: Stages in the order they run, and the notebook of each (the paper is no notebook).
STAGES = {
    "data_analysis": "01_data_analysis.py",
    "preprocessing": "02_preprocessing.py",
    "losses": "03_losses.py",
    "training": "04_training.py",
    "results": "05_results.py",
    "benchmarks": "06_benchmarks.py",
    "paper": None,
}
#: What a profile runs unless it says otherwise.
DEFAULT_STAGES = tuple(stage for stage in STAGES if stage != "benchmarks")
#: Keys of a profile that hold parameters, of one notebook or of all that declare them.
SECTIONS = ("common", *(stage for stage, notebook in STAGES.items() if notebook))
#: Keys that notebook 05 is given.
SAID = ("name", "title", "description", "simulated", "deviations", "beside", "apart_from")
#: Parameters that the runner gives to a stage's notebook: the notebook declares them and a profile cannot set them.
GIVEN = {stage: ("build", "by_runner", *more) for stage, more in (dict.fromkeys(STAGES, ()) | {
    "data_analysis": ("folds",),
    "losses": ("experiments",),
    "training": ("experiment", "title", "loss", "loss_parameters", "seed", "fold", "folds"),
    "results": ("experiments", "seeds", "profile", "folds"),
}).items()}


class Deviation(Settings):
    """A way in which a profile is not the seed paper's; all are printed in the paper that it makes."""

    setting: str
    paper: str
    here: str
    why: str


class Content(Settings):
    """What a profile says beside the parameters of notebooks."""

    title: Title
    description: str = ""
    simulated: bool = False
    stages: list[Literal[*STAGES]] = list(DEFAULT_STAGES)
    folds: Annotated[int, Field(ge=2)] | None = None  # None: the split by ranges
    #: Of every experiment whose loss is the library's and has them.
    loss_parameters: Annotated[dict[str, Any], AfterValidator(shared_by_losses)] = {}
    experiments: list[Annotated[Experiment, AfterValidator(trainable)]] = []
    seeds: Annotated[list[Seed], Field(min_length=1)] = [0]
    deviations: list[Deviation] = []
    beside: str | None = None  # a published study whose rows stand beside these, without being trained again
    apart_from: list[str] = []  # settings in which these rows may differ from it, as network.normalization

    @field_validator("seeds", "experiments")
    @classmethod
    def _different(cls, values):
        names = [getattr(value, "name", value) for value in values]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"must differ, but {', '.join(map(str, sorted(twice)))} is given twice")
        return values


class Profile(Content):
    """A checked profile. ``parameters`` holds, by stage, all that the notebook is given beside what the runner adds."""

    name: str
    notebooks: Path
    build_parameter: str
    parameters: dict[str, dict]

    @property
    def build(self) -> Build:
        return Build(self.build_parameter)

    @property
    def runs(self) -> list[tuple[Experiment, int, int | None]]:
        """Every training: experiment, seed, fold (None without). A grid that is cut short has whole seeds."""
        folds = [None] if self.folds is None else range(self.folds)
        return [(experiment, seed, fold) for seed in self.seeds for experiment in self.experiments for fold in folds]

    @property
    def rows(self) -> list[dict]:
        """The rows of Table 1: those of the study in ``beside``, where it is published, then the profile's own."""
        from kitsnb.study.published import names, read

        there = read(self.beside).rows if self.beside in names() else []
        return [*there, *(experiment.model_dump() for experiment in self.experiments)]

    @property
    def summary(self) -> dict:
        """What notebook 05 is given of the profile."""
        return self.model_dump(include=set(SAID))

    def save(self) -> None:
        """Write ``profile.json``, from which a notebook that is opened by hand knows what its build was made with."""
        own = self.model_dump(include={"stages", "experiments", "seeds", "folds", "parameters"})
        write_json(self.build.profile, self.summary | own)


#: A profile's file: what it says, and a section for the parameters of each notebook and for those of all.
_File = create_model("_File", __base__=Content, **dict.fromkeys(SECTIONS, (dict[str, Any], {})))


def load(path: str | Path, overrides: list[str] = (), notebooks: Path = NOTEBOOKS, build: str | None = None,
         data_free: bool = False) -> Profile:
    """The profile at ``path``, or of that name, checked against ``notebooks``; outputs go to ``build/<name>``.

    ``overrides`` are "section.name=value" with a value in YAML, so that ``flag=false`` is False. ``build`` names
    another folder for the outputs. ``data_free`` is for those who run nothing: an environment variable that is not set
    stays in the text as it stands, "$KITSNB_DATA". Raises ``ProfileError`` with all that is wrong.
    """
    path, found = find(path), []
    content = read(path)
    for text in overrides:
        content = merged(content, override(text))
    content = {"title": path.stem} | {key: value for key, value in content.items() if value is not None}
    unset = set()
    for key in {*SECTIONS, "experiments"} & set(content):
        content[key] = expand(content[key], unset)
    if not data_free:
        found += [f"environment variable {name} is not set; set it, or write the value" for name in sorted(unset)]
    wrong = set()
    try:
        checked = _File.model_validate(content)
    except ValidationError as error:  # the other keys are looked at all the same
        found += problems(error, _File)
        wrong = {one["loc"][0] for one in error.errors()}
        checked = _File.model_validate({"title": "-"} | {key: content[key] for key in content if key not in wrong})
    cells = {stage: read_parameters(notebooks / STAGES[stage], GIVEN[stage])
             for stage in checked.stages if STAGES[stage]}
    parameters = _parameters(checked, cells, found)
    if "experiments" not in wrong:
        found += name_problems(checked.experiments, parameters)
    if "training" in checked.stages and not content.get("experiments"):
        found.append("experiments: the stage training needs at least one")
    if found:
        raise ProfileError(path, found)
    own = dict(checked) | {"stages": [stage for stage in STAGES if stage in checked.stages], "parameters": parameters}
    return Profile.model_construct(**own, name=path.stem, notebooks=notebooks,
                                   build_parameter=build or f"build/{path.stem}")


def recorded_parameters(build: str | Path, stage: str, experiment: str | None = None) -> dict:
    """What the runner gave to the notebook of ``stage`` of ``build``, with experiments, seeds, folds and profile.

    For a training also what it gave for the row ``experiment``. Raises FileNotFoundError where nothing was run yet,
    KeyError for a stage that the profile does not have, and ValueError for such a row.
    """
    path = Build(build).profile
    if not path.is_file():
        raise FileNotFoundError(f"nothing is built in {build} yet: run make")
    saved = json.loads(path.read_text())
    if stage not in saved["parameters"]:
        raise KeyError(f"{build} has no stage {stage!r}; {nearest(stage, saved['parameters'])}")
    given = saved["parameters"][stage] | {key: saved[key] for key in ("experiments", "seeds", "folds")}
    given["profile"] = {key: saved.get(key) for key in SAID}
    if experiment is None:
        return given
    rows = {row["name"]: row for row in given["experiments"]}
    if experiment not in rows:
        raise ValueError(f"{build} has no experiment {experiment!r}; {nearest(experiment, rows)}")
    row = rows[experiment]
    return given | {"title": row["title"], "loss": row["loss"], "loss_parameters": row["parameters"]}


def _parameters(checked: Content, cells: dict[str, Cell], found: list[str]) -> dict[str, dict]:
    """By stage, every parameter of its notebook but those that the runner gives to each job."""
    common, result, everywhere = checked.common, {}, set()
    for stage, cell in cells.items():
        section = getattr(checked, stage)
        free = {name: kind for name, kind in cell.items() if name not in GIVEN[stage]}
        everywhere |= set(free)
        found += [f"{stage}.{name}: is given by the runner; a profile cannot set it" if name in cell else
                  f"{stage}: notebook {STAGES[stage]} has no parameter {name!r}; {nearest(name, free)}"
                  for name in section if name not in free]
        values = {name: value for name, value in {**common, **section}.items() if name in free}
        if values.get("simulated", checked.simulated) != checked.simulated:
            found.append(f"{stage}.simulated: the profile's own is {checked.simulated}; make them equal")
        result[stage], wrong = check(stage, free, {"simulated": checked.simulated, "folds": checked.folds} | values)
        for line in wrong:  # each begins with the name of a parameter
            name = re.match(r"\w*", line)[0]
            found.append(f"{stage}: {line}" if name in section else f"common: {line}" if name in common else line)
    found += [f"common: no notebook has a parameter {name!r}; {nearest(name, everywhere)}"
              for name in common if name not in everywhere]
    return result

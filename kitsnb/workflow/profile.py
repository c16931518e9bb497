"""Profiles: what is run, checked to the last name before any kernel starts.

A profile is a YAML file (see ``notebooks/profiles``). ``load`` returns it as a ``Profile`` with the full parameters of
every notebook, or raises one ``ProfileError`` that lists everything that is wrong with it.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from kitsnb.data.cases import select
from kitsnb.files import NOTEBOOKS, SIMULATED_SOURCES, Build, write_json
from kitsnb.messages import nearest
from kitsnb.workflow.parameters import Parameter, read_parameters

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
SECTIONS = ("common", *(stage for stage, notebook in STAGES.items() if notebook))
#: Keys of a profile and their types.
KEYS = {"title": str, "description": str, "simulated": bool, "stages": list, "workers": int, "folds": int,
        "experiments": list, "seeds": list, "deviations": list} | dict.fromkeys(SECTIONS, dict)
EXPERIMENT_KEYS = {"name": str, "title": str, "loss": str, "parameters": dict}
DEVIATION_KEYS = ("setting", "paper", "here", "why")
#: Parameters that the runner gives to a stage's notebook: the notebook declares them and a profile cannot set them.
GIVEN = dict.fromkeys(STAGES, ("build", "by_runner")) | {
    "losses": ("build", "by_runner", "experiments"),
    "training": ("build", "by_runner", "experiment", "title", "loss", "loss_parameters", "seed"),
    "results": ("build", "by_runner", "experiments", "seeds", "profile"),
}
#: What it gives besides where the profile asks for folds; other profiles run with notebooks that do not know them.
GIVEN_FOLDS = {"data_analysis": ("folds",), "training": ("fold", "folds"), "results": ("folds",)}


class ProfileError(ValueError):
    """Everything that is wrong with a profile: ``problems`` holds one line each."""

    def __init__(self, path: Path, problems: list[str]):
        self.path, self.problems = path, problems
        super().__init__("\n".join([f"{path}: {len(problems)} problem(s)", *(f"  - {line}" for line in problems)]))


@dataclass(frozen=True)
class Experiment:
    """A row of Table 1: a loss with its parameters."""

    name: str
    title: str
    loss: str
    parameters: dict

    @property
    def row(self) -> dict:
        """The experiment as notebook 05 and results.json know it."""
        return {"name": self.name, "title": self.title, "loss": self.loss, "parameters": self.parameters}


@dataclass(frozen=True)
class Profile:
    """A checked profile. ``parameters`` holds, by stage, all that the notebook is given beside what the runner adds."""

    name: str
    title: str
    description: str
    simulated: bool
    stages: tuple[str, ...]
    workers: int
    parameters: dict[str, dict]
    experiments: tuple[Experiment, ...]
    seeds: tuple[int, ...]
    deviations: list[dict]
    notebooks: Path
    build_parameter: str
    folds: int | None = None  # None: the split by ranges

    @property
    def build(self) -> Build:
        return Build(self.build_parameter)

    @property
    def runs(self) -> list[tuple[Experiment, int, int | None]]:
        """Every training run: experiment, seed and fold (None without folds)."""
        folds = [None] if self.folds is None else range(self.folds)
        return [(experiment, seed, fold) for experiment in self.experiments for seed in self.seeds for fold in folds]

    @property
    def summary(self) -> dict:
        """What notebook 05 is told about the profile."""
        return {key: getattr(self, key) for key in ("name", "title", "description", "simulated", "deviations")}

    def save(self) -> None:
        """Write ``profile.json``, from which a notebook that is opened by hand knows what its build was made with."""
        write_json(self.build.profile, self.summary | {
            "stages": self.stages, "experiments": [experiment.row for experiment in self.experiments], "seeds": self.seeds,
            "folds": self.folds, "parameters": self.parameters})


def recorded_parameters(build: str | Path, stage: str) -> dict:
    """What the runner gave to the notebook of ``stage`` when ``build`` was made, with ``experiments``, ``seeds``, ``folds`` and
    ``profile`` (title, deviations, ...) for every stage.

    Raises FileNotFoundError where nothing was run yet, and KeyError for a stage that the profile does not have.
    """
    path = Build(build).profile
    if not path.is_file():
        raise FileNotFoundError(f"nothing is built in {build} yet: run make")
    saved = json.loads(path.read_text())
    parameters = saved.pop("parameters")
    if stage not in parameters:
        raise KeyError(f"{build} has no stage {stage!r}; {nearest(stage, parameters)}")
    known = parameters[stage]
    known.pop("by_runner", None)
    if known.get("label_map"):  # JSON has no integer keys
        known["label_map"] = {int(old): new for old, new in known["label_map"].items()}
    everywhere = {key: saved.pop(key) for key in ("experiments", "seeds", "folds")}
    return known | everywhere | {"profile": {key: value for key, value in saved.items() if key != "stages"}}


def load(path: str | Path, overrides: list[str] = (), notebooks: Path = NOTEBOOKS, build: str | None = None,
         data_free: bool = False) -> Profile:
    """The profile at ``path``, checked against the notebooks in ``notebooks``; outputs go to ``build/<name>``.

    ``overrides`` are "stage.name=value" with a value in YAML, so that ``flag=false`` is False. ``build`` names another
    folder for the outputs. ``data_free`` is for those who look at a profile and run nothing: an environment variable that
    is not set stays in the text as it stands, "$KITSNB_DATA". Raises ``ProfileError`` with all that is wrong.
    """
    path = Path(path)
    problems: list[str] = []
    content = _read(path)
    _override(content, overrides, problems)
    _check_keys(content, KEYS, "", problems)
    for section in SECTIONS:
        content[section] = _expand(content.get(section, {}), section, [] if data_free else problems)
    stages = tuple(content.get("stages", DEFAULT_STAGES))
    problems += [f"stages: unknown stage {stage!r}; {nearest(stage, STAGES)}" for stage in stages if stage not in STAGES]
    folds = content.get("folds")
    declared = _declared(notebooks, stages, folds is not None, problems)
    parameters = _parameters(content, declared, problems)
    experiments = _experiments(content.get("experiments", []), problems)
    seeds = _seeds(content.get("seeds", [0]), problems)
    problems += _folds_problems(folds, parameters, declared)
    if "training" in stages and not experiments:
        problems.append("experiments: the stage training needs at least one")
    deviations = _deviations(content.get("deviations", []), problems)
    problems += _honesty(content.get("simulated", False), parameters, declared)
    for stage, known in declared.items():
        defaults = {name: parameter.default for name, parameter in known.items() if name not in _given(stage)}
        parameters[stage] = defaults | parameters[stage] | ({"by_runner": True} if "by_runner" in known else {})
    workers = content.get("workers") or _cores()
    if workers < 1:
        problems.append(f"workers: must be at least 1, not {workers}")
    if problems:
        raise ProfileError(path, problems)
    return Profile(path.stem, content.get("title", path.stem), content.get("description", ""),
                   content.get("simulated", False), tuple(stage for stage in STAGES if stage in stages), workers,
                   parameters, experiments, seeds, deviations, notebooks, build or f"build/{path.stem}", folds)


class _StrictLoader(yaml.SafeLoader):
    """YAML that refuses a key given twice (PyYAML keeps the last) and reads 1e-4 as the number it is."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_StrictLoader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))


def _read(path: Path) -> dict:
    try:
        content = yaml.load(path.read_text(), _StrictLoader)
    except OSError as error:
        known = sorted(file.name for file in path.parent.glob("*.yml"))
        raise ProfileError(path, [f"cannot be read ({error.strerror}); {nearest(path.name, known)}"]) from error
    except yaml.YAMLError as error:
        raise ProfileError(path, [f"is no valid YAML: {error}"]) from error
    if not isinstance(content, dict):
        raise ProfileError(path, ["holds no keys; a profile is a YAML mapping"])
    return content


def _override(content: dict, overrides: list[str], problems: list[str]) -> None:
    for text in overrides:
        target, equals, value = text.partition("=")
        section, dot, name = target.partition(".")
        if not (equals and dot and name):
            problems.append(f"-p {text}: must read stage.name=value")
        elif section not in SECTIONS:
            problems.append(f"-p {text}: unknown stage {section!r}; {nearest(section, SECTIONS)}")
        else:
            try:
                content[section] = {**(content.get(section) or {}), name: yaml.load(value, _StrictLoader)}
            except (yaml.YAMLError, TypeError) as error:
                problems.append(f"-p {text}: is no valid YAML: {error}")


def _check_keys(mapping: dict, keys: dict[str, type], where: str, problems: list[str]) -> None:
    """Note unknown keys and wrong types, and drop them so that the check can go on."""
    for key in list(mapping):
        if key not in keys:
            problems.append(f"{where}unknown key {key!r}; {nearest(key, keys)}")
            del mapping[key]
        elif type(mapping[key]) is not keys[key]:
            if not (mapping[key] is None and (keys[key] in (dict, list) or key == "folds")):  # left empty
                kind = type(mapping[key]).__name__
                problems.append(f"{where}{key}: is {keys[key].__name__}, not {kind} {mapping[key]!r}")
            del mapping[key]


def _expand(value: object, where: str, problems: list[str]) -> object:
    """``value`` with "$NAME" and "${NAME}" in its strings replaced from the environment."""
    if isinstance(value, dict):
        return {key: _expand(item, f"{where}.{key}", problems) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, where, problems) for item in value]
    if not isinstance(value, str):
        return value

    def lookup(match: re.Match) -> str:
        name = match[1] or match[2]
        if name not in os.environ:
            problems.append(f"{where}: environment variable {name} is not set; set it, or write the value in the profile")
        return os.environ.get(name, match[0])

    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", lookup, value)


def _declared(notebooks: Path, stages: tuple, with_folds: bool, problems: list[str]) -> dict[str, dict[str, Parameter]]:
    """Parameters that the notebook of each stage declares; notes what the runner gives and a notebook does not take."""
    declared = {}
    for stage in stages:
        if not STAGES.get(stage):
            continue
        try:
            declared[stage] = read_parameters(notebooks / STAGES[stage])
        except ValueError as error:
            problems.append(str(error))
            continue
        problems += [f"notebook {notebooks / STAGES[stage]}: its parameters cell must declare {name!r}"
                     for name in _given(stage, with_folds) if name not in (*declared[stage], "by_runner")]
    return declared


def _given(stage: str, with_folds: bool = True) -> tuple[str, ...]:
    return GIVEN[stage] + (GIVEN_FOLDS.get(stage, ()) if with_folds else ())


def _parameters(content: dict, declared: dict, problems: list[str]) -> dict[str, dict]:
    """By stage, the values that its section and ``common`` give to its notebook, in the declared types."""
    everywhere = {name: None for stage, known in declared.items() for name in known if name not in _given(stage)}
    for name in content["common"]:
        if name not in everywhere:
            problems.append(f"common: no notebook has a parameter {name!r}; {nearest(name, everywhere)}")
    result = {}
    for stage, known in declared.items():
        free = [name for name in known if name not in _given(stage)]
        shared = {name: value for name, value in content["common"].items() if name in free}
        result[stage] = {}
        for where, values in (("common", shared), (stage, content[stage])):
            for name, value in values.items():
                if name in _given(stage):
                    problems.append(f"{where}.{name}: is given by the runner; a profile cannot set it")
                elif name not in free:
                    problems.append(f"{where}: notebook {STAGES[stage]} has no parameter {name!r}; {nearest(name, free)}")
                else:
                    try:
                        result[stage][name] = known[name].accept(value)
                    except TypeError as error:
                        problems.append(f"{where}.{name}: notebook {STAGES[stage]}: {error}")
    return result


def _experiments(rows: list, problems: list[str]) -> tuple[Experiment, ...]:
    experiments, names = [], set()
    for number, row in enumerate(rows, 1):
        where = f"experiments, number {number}: "
        if not isinstance(row, dict):
            problems.append(f"{where}must be a mapping with {', '.join(EXPERIMENT_KEYS)}")
            continue
        row = dict(row)
        _check_keys(row, EXPERIMENT_KEYS, where, problems)
        missing = [key for key in ("name", "loss") if key not in row]
        if missing:
            problems.append(f"{where}{' and '.join(missing)} missing or of the wrong type")
            continue
        name, loss = row["name"], row["loss"]
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            problems.append(f"{where}name {name!r} names files: use letters, digits and _ only")
        if name in names:
            problems.append(f"{where}name {name!r} is given twice; every experiment needs its own name")
        names.add(name)
        settings = _expand(row.get("parameters", {}), f"experiment {name}", problems)
        problems += _loss_problems(name, loss, settings)
        experiments.append(Experiment(name, row.get("title", name), loss, settings))
    return tuple(experiments)


def _loss_problems(name: str, loss: str, settings: dict) -> list[str]:
    from kitsnb.losses import build_loss

    try:
        build_loss(loss, **settings)
    except Exception as error:  # a reader's own file may raise anything
        return [f"experiment {name}: {error}"]
    return []


def _seeds(seeds: list, problems: list[str]) -> tuple[int, ...]:
    if not seeds or any(type(seed) is not int or seed < 0 for seed in seeds) or len(set(seeds)) < len(seeds):
        problems.append(f"seeds: must be different integers, none negative, at least one; not {seeds!r}")
    return tuple(seeds)


def _folds_problems(folds: int | None, parameters: dict, declared: dict) -> list[str]:
    """What is wrong with the number of folds, or with the ranges whose cases they are cut from."""
    if folds is None:
        return []
    told = {name: parameter.default for name, parameter in declared.get("training", {}).items()} | parameters.get("training", {})
    try:
        select([], told.get("training", (0, 165)), told.get("validation", (166, 209)), told.get("excluded"), 0, folds)
    except ValueError as error:
        return [str(error)]
    return []


def _deviations(rows: list, problems: list[str]) -> list[dict]:
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or set(row) != set(DEVIATION_KEYS):
            problems.append(f"deviations, number {number}: must hold exactly {', '.join(DEVIATION_KEYS)}")
    return rows


def _honesty(simulated: bool, parameters: dict, declared: dict) -> list[str]:
    """Notebooks must say of their CT what the profile says, and phantoms and hybrids are never anything but simulated."""
    problems = []
    for stage, known in declared.items():
        told = {name: parameter.default for name, parameter in known.items()} | parameters.get(stage, {})
        if told.get("source") in SIMULATED_SOURCES and not simulated:
            problems.append(f"simulated: {told['source']}s (source of {stage}) are simulated CT; set it to true")
        if told.get("simulated", simulated) != simulated:
            problems.append(f"{stage}.simulated: is {told['simulated']}, but the profile's own is {simulated}; make them equal")
    return problems


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

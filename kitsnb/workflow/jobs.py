"""The jobs of a profile: what is executed, with what, what it reads and what it makes."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kitsnb.files import NOTEBOOKS, PAPER, PUBLISHED, ROOT, Build, files_below, resolve, short
from kitsnb.receipts import imported_files, meaning, why_stale, write_receipt
from kitsnb.workflow.profile import STAGES, Experiment, Profile

PACKAGE = ROOT / "kitsnb"
#: Files of a training run that results are made from. Checkpoints are not among them: they may be deleted.
RUN_FILES = ("history.csv", "scores.csv", "run.json", "predictions")
#: Sections of a profile that the notebook of each stage reads (tests/workflow/test_jobs.py holds them to it).
READS = {
    "data_analysis": ("data", "simulation", "preprocessing"),
    "preprocessing": ("data", "preprocessing", "training"),
    "losses": ("data", "simulation", "losses", "experiments", "training"),
    "training": ("data", "simulation", "preprocessing", "training", "prediction"),
    "results": ("title", "description", "data", "simulation", "preprocessing", "training", "prediction", "losses",
                "results", "experiments", "seeds", "deviations", "beside", "apart_from"),
    "paper": (),
}
#: What says where and not what: a moved folder changes no result, nor does the number of workers.
PLACES = ("folder", "labels_summary")
#: Rooms that say and keep, and compute nothing; and how cases are read, which shows in the arrays trained on.
NO_ARITHMETIC = ("files.py", "receipts.py", "messages.py", "settings.py", "data")


@dataclass(frozen=True)
class Job:
    """One notebook with one set of parameters, or the paper.

    ``needs`` are names of jobs whose products it reads, ``after`` of those that must not have failed before. ``makes``
    and ``reads`` are files and folders; ``code`` files of readers' own losses. ``run`` is a training's folder.
    """

    name: str
    stage: str
    profile: Profile
    notebook: Path | None
    parameters: dict
    output: Path
    makes: tuple[Path, ...]
    reads: tuple[Path, ...] = ()
    code: tuple[Path, ...] = ()
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    experiment: Experiment | None = None
    seed: int = 0

    @property
    def build(self) -> Build:
        return self.profile.build

    @property
    def title(self) -> str:
        if self.experiment:
            return f"training {self.experiment.name} seed {self.seed}"
        return self.stage.replace("_", " ")

    @property
    def run(self) -> Path | None:
        return self.build.run(self.experiment.name, self.seed) if self.experiment else None

    @property
    def stamp(self) -> Path:
        return self.build.stamps / f"{self.name}.json"

    def made_from(self) -> dict:
        """Return the settings and the code that decide what the job makes."""
        settings = self.profile.model_dump(mode="json", include=set(READS[self.stage]))
        for section in settings.values():
            for place in PLACES:
                if isinstance(section, dict):
                    section.pop(place, None)
        if self.experiment:
            settings["experiment"] = self.experiment.as_json()
            settings["seed"] = self.seed
        source = self.notebook or PACKAGE / "study" / "paper.py"
        text = cells(source) if self.notebook else meaning(source)
        return {"settings": settings, "notebook": text, "code": meanings([*imported_files(source), *self.code])}

    def trained_from(self) -> dict:
        """Return the settings and the code that decide what the training of the job computes."""
        data = self.profile.data.as_json()
        split = {name: data[name] for name in ("training", "validation", "excluded", "folds")}
        training = self.profile.training_of(self.experiment, self.seed).as_json()
        code = []
        for path in imported_files(PACKAGE / "training" / "run.py"):
            if path.relative_to(PACKAGE).parts[0] not in NO_ARITHMETIC:
                code.append(path)
        code.append(PACKAGE / "training" / "run.py")
        return {"settings": {"training": training, "split": split}, "code": meanings([*code, *self.code])}

    def inputs(self, paths: Iterable[Path] | None = None) -> dict[str, Path]:
        """Return the files that the job reads, by names that do not depend on where the build lies."""
        found = {}
        wanted = wanted_numbers(self.profile)
        for folder in self.reads if paths is None else paths:
            for path in files_below(folder):
                number = re.search(r"case_(\d{5})", str(path))
                if self.experiment and (not number or int(number[1]) not in wanted):
                    continue  # of a training only the cases of its split count
                found[self._name(path)] = path
        return found

    def _name(self, path: Path) -> str:
        """Return a name of ``path`` that stays when the build or the folder of the cases is moved."""
        if path.is_relative_to(self.build.folder):
            return str(path.relative_to(self.build.folder))
        cases = self.profile.data.folder and resolve(self.profile.data.folder)
        if cases and path.is_relative_to(cases):
            return f"cases/{path.relative_to(cases)}"
        return short(path)

    def why(self) -> str | None:
        """Say why the job must run; None where it is done, and all that it made is as it was."""
        return why_stale(self.stamp, self.made_from(), self.inputs())

    def why_train(self) -> str | None:
        """Say why what lies in the run's folder cannot be gone on with; None where it can, or where nothing is."""
        if not files_below(self.run):
            return None
        return why_stale(self.run, self.trained_from(), self.inputs([self.build.preprocessed]))

    def write_stamp(self, figures: Iterable[Path], seconds: float) -> None:
        """Say that the job is done."""
        outputs = [*files_below(*self.makes), self.output, *figures]
        write_receipt(self.stamp, self.made_from(), self.inputs(), outputs, seconds=round(seconds, 1))

    def begin_run(self) -> None:
        """Say in the run's folder what its training is made from."""
        self.run.mkdir(parents=True, exist_ok=True)
        write_receipt(self.run, self.trained_from(), self.inputs([self.build.preprocessed]), outputs=())


def wanted_numbers(profile: Profile) -> set[int]:
    """Return the numbers of the cases that the split asks for."""
    numbers: set[int] = set()
    for first, last in (profile.data.training, profile.data.validation):
        numbers.update(range(first, last + 1))
    return numbers - set(profile.data.excluded)


def meanings(paths: Iterable[Path]) -> dict[str, str]:
    """Return the meaning of each module, by its name from the repository."""
    return {short(path): meaning(path) for path in paths}


def cells(notebook: Path) -> str:
    """Return a digest of a py:percent notebook's cells; JupyterLab writes versions into the header above them."""
    text = notebook.read_text(encoding="utf-8")
    text = re.sub(r"\A# ---\n.*?^# ---\n", "", text, flags=re.DOTALL | re.MULTILINE)
    return hashlib.sha256(text.strip().encode()).hexdigest()


def build_jobs(profile: Profile, changes: dict | None = None) -> list[Job]:
    """List all jobs of ``profile``, each after those that it needs; ``changes`` are handed to its notebooks."""
    jobs = []
    for stage in profile.stages:
        if stage == "training":
            for experiment, seed in profile.runs:
                jobs.append(_training(profile, changes or {}, experiment, seed))
        else:
            jobs.append(_other(profile, changes or {}, stage))
    return jobs


def _training(profile: Profile, changes: dict, experiment: Experiment, seed: int) -> Job:
    build = profile.build
    run = build.run(experiment.name, seed)
    return Job(
        name=f"training-{run.name}", stage="training", profile=profile, notebook=NOTEBOOKS / STAGES["training"],
        parameters={"profile": profile.file, "experiment": experiment.name, "seed": seed, "changes": changes},
        output=build.notebooks / f"04_training-{run.name}.ipynb", makes=tuple(run / name for name in RUN_FILES),
        reads=(build.preprocessed, *_cases(profile)), code=_own_loss(experiment),
        needs=tuple(stage for stage in ("data_analysis", "preprocessing") if stage in profile.stages),
        after=("losses",), experiment=experiment, seed=seed)


def _other(profile: Profile, changes: dict, stage: str) -> Job:
    build = profile.build
    notebook = STAGES[stage] and NOTEBOOKS / STAGES[stage]
    output = build.notebooks / f"{notebook.stem}.ipynb" if notebook else build.paper
    makes: tuple[Path, ...] = ()
    reads: tuple[Path, ...] = ()
    code: tuple[Path, ...] = ()
    needs: tuple[str, ...] = ()
    if stage == "data_analysis":
        makes = (build.data_analysis, build.data)
        reads = (resolve(profile.data.folder),) if profile.data.folder else ()
    elif stage == "preprocessing":
        makes = (build.preprocessed,)
        reads = _cases(profile)
        needs = ("data_analysis",)
    elif stage == "losses":
        makes = (build.losses,)
        if profile.data.source != "phantom":  # the real label with the median tumour is looked for there
            reads = (build.data_analysis / "cases.csv",)
            needs = tuple(name for name in ("data_analysis",) if name in profile.stages)
        for experiment in profile.experiments:
            code += _own_loss(experiment)
    elif stage == "results":
        makes = (build.results,)
        reads = (build.data_analysis, build.preprocessed / "report.json", build.losses, PUBLISHED, *_labels(profile))
        reads += tuple(PAPER.glob("*.yml"))
        for experiment, seed in profile.runs:
            reads += tuple(build.run(experiment.name, seed) / name for name in RUN_FILES)
        needs = tuple(job for job in _names(profile))
    elif stage == "paper":
        makes = (build.paper,)
        reads = (build.results, build.figures, *PAPER.glob("*.typ"), *PAPER.glob("*.bib"), *PAPER.glob("*.yml"))
        needs = ("results",)
    parameters = {"profile": profile.file, "changes": changes}
    return Job(stage, stage, profile, notebook, parameters, output, makes, reads, code, needs)


def _names(profile: Profile) -> list[str]:
    """List the names of the jobs that results are made from."""
    names = [stage for stage in ("data_analysis", "preprocessing", "losses") if stage in profile.stages]
    return names + [f"training-{profile.build.run(experiment.name, seed).name}" for experiment, seed in profile.runs]


def _cases(profile: Profile) -> tuple[Path, ...]:
    """Return the folder of the cases as they come."""
    if profile.data.source == "folder":
        return (resolve(profile.data.folder),)
    return (profile.build.data,)


def _labels(profile: Profile) -> tuple[Path, ...]:
    """Return the summary of the real labels, where it was made."""
    path = profile.results.labels_summary
    return (resolve(path),) if path and resolve(path).is_file() else ()


def _own_loss(experiment: Experiment) -> tuple[Path, ...]:
    """Return the file of a reader's own loss, "file.py:function", and the files that it imports."""
    if ":" not in experiment.loss:
        return ()
    file = resolve(experiment.loss.rpartition(":")[0])
    return (file, *imported_files(file)) if file.is_file() else ()

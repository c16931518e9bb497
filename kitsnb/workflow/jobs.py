"""The jobs of a profile: what is executed, with what, what it reads and what it makes."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from kitsnb.data.settings import numbers_of
from kitsnb.files import NOTEBOOKS, PAPER, PUBLISHED, ROOT, files_below, resolve, short
from kitsnb.receipts import imported_files, meaning, states_of, why_stale, write_receipt
from kitsnb.workflow.profile import STAGES, Experiment, Profile

PACKAGE = ROOT / "kitsnb"
#: Files of a training run that results are made from. Checkpoints are not among them: they may be deleted.
RUN_FILES = ("history.csv", "scores.csv", "run.json", "predictions")
#: What each other stage makes, as ``Build`` names it.
MAKES = {"data_analysis": ("data_analysis", "data"), "preprocessing": ("preprocessed",), "losses": ("losses",),
         "results": ("results",), "paper": ("paper",)}
#: Stages whose products each stage reads.
NEEDS = {
    "data_analysis": (),
    "preprocessing": ("data_analysis",),
    "losses": ("data_analysis",),
    "training": ("data_analysis", "preprocessing"),
    "results": ("data_analysis", "preprocessing", "losses", "training"),
    "paper": ("results",),
}
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
#: What says where and not what: a moved folder changes no result.
PLACES = {"data": {"folder", "more_training"}, "results": {"labels_summary"}}
#: Rooms that say and keep, and compute nothing; and how cases are read, which shows in the arrays trained on.
NO_ARITHMETIC = ("files.py", "receipts.py", "messages.py", "settings.py", "data")


class Job:
    """One notebook with one set of parameters, or the paper; ``run`` is the folder of a training, else None."""

    def __init__(self, profile: Profile, stage: str, changes: dict | None = None, experiment: Experiment | None = None,
                 seed: int = 0):
        self.profile = profile
        self.build = profile.build
        self.stage = stage
        self.experiment = experiment
        self.seed = seed
        self.run = None
        self.name = stage
        self.title = stage.replace("_", " ")
        self.notebook = None
        self.output = self.build.paper
        self.parameters = {"profile": profile.file, "changes": changes or {}}
        if STAGES[stage]:
            self.notebook = NOTEBOOKS / STAGES[stage]
            self.output = self.build.notebooks / f"{self.notebook.stem}.ipynb"
        if experiment:
            self.run = self.build.run(experiment.name, seed)
            self.name = f"training-{self.run.name}"
            self.title = f"training {experiment.name} seed {seed}"
            self.output = self.build.notebooks / f"{self.notebook.stem}-{self.run.name}.ipynb"
            self.parameters |= {"experiment": experiment.name, "seed": seed}
        self.stamp = self.build.stamps / f"{self.name}.json"

    def made_from(self) -> dict:
        """Return the settings and the code that decide what the job makes."""
        settings = self.profile.model_dump(mode="json", include=set(READS[self.stage]), exclude=PLACES)
        if self.experiment:
            settings["experiment"] = self.experiment.as_json()
            settings["seed"] = self.seed
        source = self.notebook or PACKAGE / "study" / "paper.py"
        text = cells(source) if self.notebook else meaning(source)
        return {"settings": settings, "notebook": text, "code": self._meanings(imported_files(source))}

    def trained_from(self) -> dict:
        """Return the settings and the code that decide what the training of the job computes."""
        split = self.profile.data.model_dump(mode="json", include={"training", "validation", "excluded", "folds"})
        training = self.profile.training_of(self.experiment, self.seed).as_json()
        del training["weights"]  # which of those that are kept predict
        code = [PACKAGE / "training" / "run.py"]
        for path in imported_files(code[0]):
            if path.relative_to(PACKAGE).parts[0] not in NO_ARITHMETIC:
                code.append(path)
        return {"settings": {"training": training, "split": split}, "code": self._meanings(code)}

    def _meanings(self, paths: list[Path]) -> dict[str, str]:
        """Return the meanings of the modules at ``paths`` and of readers' own losses, with all that these import."""
        rows = [self.experiment] if self.experiment else []
        if self.stage == "losses":
            rows = self.profile.experiments
        for row in rows:
            file = resolve(row.loss.rpartition(":")[0])  # of "file.py:function"
            if file.is_file():
                paths = [*paths, file, *imported_files(file)]
        return {short(path): meaning(path) for path in paths}

    def made(self) -> list[Path]:
        """List the files and folders that the job makes, without figures: they are added when they are drawn."""
        if self.run:
            return [self.run / name for name in RUN_FILES]
        return [getattr(self.build, name) for name in MAKES[self.stage]]

    def read(self) -> list[Path]:
        """List the files and folders that the job reads."""
        data = self.profile.data
        paths = []
        for stage in NEEDS[self.stage]:
            for job in jobs_of(self.profile, stage):
                paths += job.made()
        if data.folder and self.stage in ("data_analysis", "preprocessing", "training"):
            paths.append(resolve(data.folder))
        if self.stage == "preprocessing":
            paths += map(resolve, data.more_training)
        if self.stage == "results":
            paths += PAPER.glob("*.yml")
            for name in ("study.json", "scores.csv", "cases.csv"):
                paths += PUBLISHED.glob(f"*/{name}")
            if self.profile.results.labels_summary:
                paths.append(resolve(self.profile.results.labels_summary))
        if self.stage == "paper":
            paths += [self.build.figures, *PAPER.glob("*.yml"), *PAPER.glob("*.typ"), *PAPER.glob("*.bib")]
        return paths

    def inputs(self, paths: Iterable[Path]) -> dict[str, Path]:
        """Return the files at and below ``paths`` by names that do not depend on where build and cases lie."""
        found = {}
        cases = resolve(self.profile.data.folder or self.build.data)
        wanted = set().union(*numbers_of(self.profile.data))
        for path in files_below(*paths):
            name = short(path)
            if path.is_relative_to(self.build.folder):
                name = str(path.relative_to(self.build.folder))
            elif path.is_relative_to(cases):
                name = f"cases/{path.relative_to(cases)}"
            number = re.search(r"case_(\d{5})(-\d)?", name)
            # Of a training only the cases of its split count, and those of further folders.
            if not self.run or (number and (number[2] or int(number[1]) in wanted)):
                found[name] = path
        return found

    def why(self) -> str | None:
        """Say why the job must run; None where it is done, and all that it made is as it was."""
        return why_stale(self.stamp, self.made_from(), self.inputs(self.read()))

    def why_train(self) -> str | None:
        """Say why what lies in the run's folder cannot be gone on with; None where it can, or where nothing is."""
        if not files_below(self.run):
            return None
        return why_stale(self.run, self.trained_from(), self.inputs([self.build.preprocessed]))

    def begin(self) -> None:
        """Note what the job is made from, and in a run's folder what its training is: what changes later comes late."""
        self.begun = self.made_from(), states_of(self.inputs(self.read()))
        self.stamp.unlink(missing_ok=True)
        if self.run:
            self.run.mkdir(parents=True, exist_ok=True)
            prepared = states_of(self.inputs([self.build.preprocessed]))
            write_receipt(self.run, self.trained_from(), prepared, outputs=())

    def write_stamp(self, figures: Iterable[Path], seconds: float) -> None:
        """Say that the job, which began, is done."""
        outputs = {*files_below(*self.made()), self.output, *figures}
        write_receipt(self.stamp, *self.begun, outputs, seconds=round(seconds, 1))


def cells(notebook: Path) -> str:
    """Return a digest of a py:percent notebook's cells; JupyterLab writes versions into the header above them."""
    text = notebook.read_text(encoding="utf-8")
    text = re.sub(r"\A# ---\n.*?^# ---\n", "", text, flags=re.DOTALL | re.MULTILINE)
    return hashlib.sha256(text.strip().encode()).hexdigest()


def jobs_of(profile: Profile, stage: str, changes: dict | None = None) -> list[Job]:
    """List the jobs of a stage; ``changes`` are handed to their notebooks."""
    if stage == "training":
        return [Job(profile, stage, changes, experiment, seed) for experiment, seed in profile.runs]
    return [Job(profile, stage, changes)]


def build_jobs(profile: Profile) -> list[Job]:
    """List all jobs of ``profile``, each after those that it needs."""
    jobs = []
    for stage in profile.stages:
        jobs += jobs_of(profile, stage)
    return jobs

"""The job graph of a profile: what is executed, with what, what it reads and what it makes."""

import re
from dataclasses import dataclass
from pathlib import Path

from kitsnb.data.cases import EXCLUDED
from kitsnb.files import PAPER, PUBLISHED, files_below, resolve
from kitsnb.workflow.profile import GIVEN, STAGES, Experiment, Profile

Names = tuple[str, ...]
#: Files of a training run that results are made from. Checkpoints are not among them: they may be deleted.
RUN_FILES = ("history.csv", "scores.csv", "run.json", "predictions")
#: What the paper is compiled from, beside results and figures.
PAPER_FILES = ("*.typ", "*.bib", "*.yml")
#: Stages that a stage reads from.
NEEDS = {"preprocessing": ("data_analysis",), "training": ("data_analysis", "preprocessing"),
         "results": ("data_analysis", "preprocessing", "losses", "training"), "paper": ("results",)}
#: Stages that must not have failed before: what they make is not read, but without it there will be no paper.
AFTER = {"training": ("losses",)}


@dataclass(frozen=True)
class Job:
    """One notebook with one set of parameters, or the paper."""

    name: str  # names its stamp: "training-dice-seed0"
    title: str  # names it on the terminal: "training dice seed 0"
    stage: str
    needs: Names  # names of jobs whose products it reads
    after: Names  # names of jobs that must not have failed before
    notebook: Path | None  # None for the paper
    parameters: dict
    output: Path  # executed notebook, or paper.pdf
    makes: tuple[Path, ...]  # files and folders
    reads: tuple[Path, ...]  # files and folders whose content counts
    code: tuple[Path, ...] = ()  # files of readers' own losses, whose meaning counts
    lists: tuple[Path, ...] = ()  # folders too large to read each time: names, sizes and times count
    run: Path | None = None  # folder of a training run, kept for going on

    def path(self, stamps: Path, kind: str) -> Path:
        """Where the job's stamp ("json"), "task", "result", "mark", "progress", "log" or "failed" lies."""
        return stamps / f"{self.name}.{kind}"

    def own_files(self, folders: tuple[Path, ...]) -> list[Path]:
        """The files below ``folders`` that are inputs: of cases only those that the split asks for."""
        return [path for path in files_below(*folders) if in_split(path, self.parameters, self.stage == "training")]


def in_split(path: Path, parameters: dict, cases_only: bool = False) -> bool:
    """Is ``path`` part of a case that the split in ``parameters`` asks for, or of none (unless ``cases_only``)?"""
    found = re.search(r"/case_(\d{5})(/|$)", str(path))
    ranges = [parameters[name] for name in ("training", "validation") if parameters.get(name)]
    if not found or not ranges:
        return bool(found) or not cases_only
    excluded = parameters.get("excluded")
    left_out = EXCLUDED if excluded is None else excluded
    return int(found[1]) not in left_out and any(first <= int(found[1]) <= last for first, last in ranges)


def build_jobs(profile: Profile) -> list[Job]:
    """All jobs of ``profile``, each after those it needs."""
    jobs: list[Job] = []
    for stage in profile.stages:
        needs, after = (tuple(job.name for job in jobs if job.stage in earlier.get(stage, ()))
                        for earlier in (NEEDS, AFTER))
        runs = profile.runs if stage == "training" else [None]
        jobs += [_training(profile, *run, needs, after) if run else _other(profile, stage, needs) for run in runs]
    return jobs


def _other(profile: Profile, stage: str, needs: Names) -> Job:
    """The job of a stage that is no training."""
    build, rows = profile.build, [experiment.model_dump() for experiment in profile.experiments]
    given = {"build": profile.build_parameter, "by_runner": True, "seeds": list(profile.seeds),
             "experiments": profile.rows if stage == "losses" else rows, "profile": profile.summary,
             "folds": profile.folds}
    parameters = profile.parameters.get(stage, {}) | {name: given[name] for name in GIVEN[stage]}
    makes = {"data_analysis": (build.data_analysis, build.data), "preprocessing": (build.preprocessed,),
             "losses": (build.losses,), "results": (build.results,), "benchmarks": (build.benchmarks,)}
    reads, notebook = (), STAGES[stage] and profile.notebooks / STAGES[stage]
    if stage == "preprocessing":
        reads = (build.data,)
    elif stage == "results":
        runs = [build.run(experiment.name, seed, fold) for experiment, seed, fold in profile.runs]
        reads = (build.data_analysis, build.preprocessed, build.losses, build.data, *PAPER.glob("*.yml"), PUBLISHED,
                 *(run / name for run in runs for name in RUN_FILES))
        reads += (resolve(parameters["labels_summary"]),) if parameters.get("labels_summary") else ()
    elif stage == "paper":
        reads = (build.results, build.figures, *(path for kind in PAPER_FILES for path in PAPER.glob(kind)))
    code = tuple(path for row in profile.rows for path in _own_loss(row["loss"])) if stage == "losses" else ()
    output = build.notebooks / f"{notebook.stem}.ipynb" if notebook else build.paper
    return Job(stage, stage.replace("_", " "), stage, needs, (), notebook, parameters, output,
               makes.get(stage, (output,)), reads, code, _real_cases(parameters))


def _training(profile: Profile, experiment: Experiment, seed: int, fold: int | None, needs: Names, after: Names) -> Job:
    build, notebook = profile.build, profile.notebooks / STAGES["training"]
    parameters = profile.parameters["training"] | {
        "build": profile.build_parameter, "by_runner": True, "experiment": experiment.name, "title": experiment.title,
        "loss": experiment.loss, "loss_parameters": experiment.parameters, "seed": seed, "fold": fold,
        "folds": profile.folds}
    run = build.run(experiment.name, seed, fold)
    title = f"training {experiment.name} seed {seed}" + ("" if fold is None else f" fold {fold}")
    return Job(f"training-{run.name}", title, "training", needs, after, notebook, parameters,
               build.notebooks / f"{notebook.stem}-{run.name}.ipynb", tuple(run / name for name in RUN_FILES),
               (build.preprocessed, build.data), _own_loss(experiment.loss), _real_cases(parameters), run=run)


def _own_loss(loss: str) -> tuple[Path, ...]:
    """The file of a reader's own loss, "file.py:function"."""
    return (resolve(loss.rpartition(":")[0]),) if ":" in loss else ()


def _real_cases(parameters: dict) -> tuple[Path, ...]:
    """The folder of real cases, where the parameter ``folder`` names one."""
    return (resolve(parameters["folder"]),) if parameters.get("folder") else ()

"""The job graph of a profile: what is executed, with what, what it reads and what it makes."""

from dataclasses import dataclass
from pathlib import Path

from kitsnb.files import PAPER, resolve
from kitsnb.workflow.profile import GIVEN_FOLDS, STAGES, Profile

#: Files of a training run that results are made from. Checkpoints are not among them: they may be deleted.
RUN_FILES = ("history.csv", "scores.csv", "run.json", "predictions")


@dataclass(frozen=True)
class Job:
    """One notebook with one set of parameters, or the paper."""

    name: str  # names its stamp: "training-dice-seed0"
    title: str  # names it on the terminal: "training dice seed 0"
    stage: str
    needs: tuple[str, ...]  # names of jobs that must be done before
    notebook: Path | None  # None for the paper
    parameters: dict
    output: Path  # executed notebook, or paper.pdf
    makes: tuple[Path, ...]  # files and folders; the job is done only while all of their files exist
    reads: tuple[Path, ...]  # files and folders whose content counts
    lists: tuple[Path, ...] = ()  # folders too large to read each time: names, sizes and times count
    run: Path | None = None  # folder of a training run, kept for resuming
    figures: Path | None = None  # folder where the job may write figures beside other jobs


def build_jobs(profile: Profile) -> list[Job]:
    """All jobs of ``profile``, each after those it needs."""
    jobs: list[Job] = []
    for stage in profile.stages:
        if stage == "training":
            before = _names(jobs, "preprocessing", "data_analysis")[:1]
            jobs += [_training(profile, *run, before) for run in profile.runs]
        elif stage == "paper":
            jobs.append(_paper(profile, _names(jobs, "results")))
        else:
            needs = {"preprocessing": ("data_analysis",), "results": ("data_analysis", "preprocessing", "losses", "training")}
            jobs.append(_notebook(profile, stage, _names(jobs, *needs.get(stage, ()))))
    return jobs


def _names(jobs: list[Job], *stages: str) -> tuple[str, ...]:
    return tuple(job.name for stage in stages for job in jobs if job.stage == stage)


def _notebook(profile: Profile, stage: str, needs: tuple[str, ...]) -> Job:
    build = profile.build
    parameters = {"build": profile.build_parameter, **profile.parameters[stage]}
    rows = [experiment.row for experiment in profile.experiments]
    runs = [build.run(experiment.name, seed, fold) for experiment, seed, fold in profile.runs]
    if profile.folds is not None and stage in GIVEN_FOLDS:
        parameters |= {"folds": profile.folds}
    if stage == "data_analysis":
        makes, reads = (build.data_analysis, build.data), ()
    elif stage == "preprocessing":
        makes, reads = (build.preprocessed,), (build.data,)
    elif stage == "losses":
        parameters |= {"experiments": rows}
        makes, reads = (build.losses,), tuple(path for row in rows for path in _own_loss(row["loss"]))
    elif stage == "benchmarks":
        makes, reads = (build.benchmarks,), ()
    else:
        parameters |= {"experiments": rows, "seeds": list(profile.seeds), "profile": profile.summary}
        makes = (build.results,)
        reads = (build.data_analysis, build.preprocessed, build.losses, *_seed_paper(),
                 *(run / name for run in runs for name in RUN_FILES))
    output = build.notebooks / Path(STAGES[stage]).with_suffix(".ipynb")
    return Job(stage, stage.replace("_", " "), stage, needs, profile.notebooks / STAGES[stage], parameters, output,
               makes, (*reads, *_files(parameters)), _sources(parameters), figures=build.figures)


def _training(profile: Profile, experiment, seed: int, fold: int | None, needs: tuple[str, ...]) -> Job:
    build = profile.build
    parameters = {"build": profile.build_parameter, **profile.parameters["training"], "experiment": experiment.name,
                  "title": experiment.title, "loss": experiment.loss, "loss_parameters": experiment.parameters,
                  "seed": seed}
    title = f"training {experiment.name} seed {seed}"
    if fold is not None:
        parameters |= {"fold": fold, "folds": profile.folds}
        title += f" fold {fold}"
    run = build.run(experiment.name, seed, fold)
    return Job(f"training-{run.name}", title, "training", needs,
               profile.notebooks / STAGES["training"], parameters,
               build.notebooks / f"{Path(STAGES['training']).stem}-{run.name}.ipynb",
               tuple(run / name for name in RUN_FILES), (build.preprocessed, *_own_loss(experiment.loss), *_files(parameters)),
               run=run)


def _paper(profile: Profile, needs: tuple[str, ...]) -> Job:
    build = profile.build
    sources = [path for pattern in ("*.typ", "*.bib", "*.yml") for path in sorted(PAPER.glob(pattern))]
    return Job("paper", "paper", "paper", needs, None, {"build": profile.build_parameter}, build.paper, (build.paper,),
               (build.results, build.figures, *sources))


def _own_loss(loss: str) -> tuple[Path, ...]:
    """The file of a reader's own loss, "file.py:function"."""
    return (resolve(loss.rpartition(":")[0]),) if ":" in loss else ()


def _seed_paper() -> list[Path]:
    """The seed paper's own numbers, which results are compared with."""
    return sorted(PAPER.glob("*.yml"))


def _files(parameters: dict) -> tuple[Path, ...]:
    """Files that a parameter names: their content is an input."""
    paths = [resolve(value) for value in parameters.values() if isinstance(value, str) and value]
    return tuple(path for path in paths if path.is_file())


def _sources(parameters: dict) -> tuple[Path, ...]:
    """The folder of real cases, where the parameter ``folder`` names one."""
    folder = parameters.get("folder")
    return (resolve(folder),) if folder and resolve(folder).is_dir() else ()

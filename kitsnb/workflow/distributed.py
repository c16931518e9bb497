"""One run of a profile on several machines: what torchrun or SLURM's srun starts, a process a device.

    srun --nodes 2 --ntasks-per-node 4 python -m kitsnb.workflow.distributed notebooks/profiles/kits19.yml --experiment dice --seed 0 \\
        -p training.devices=8

The run is trained where ``make`` would train it, so ``make`` with the same profile afterwards finds it trained, and only
predicts and scores.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from kitsnb.data.cases import discover, select
from kitsnb.files import Build
from kitsnb.messages import nearest
from kitsnb.preprocessing.arrays import cases_below
from kitsnb.training.devices import find_ranks
from kitsnb.training.run import quiet, train
from kitsnb.training.settings import Training
from kitsnb.workflow.jobs import Job, build_jobs
from kitsnb.workflow.parameters import read_parameters
from kitsnb.workflow.profile import Profile, ProfileError, load
from kitsnb.workflow.run import Run


def find_job(profile: Profile, experiment: str, seed: int, fold: int | None = None) -> Job:
    """The training job of ``profile`` with these parameters. ValueError that names the nearest where there is none."""
    jobs = [job for job in build_jobs(profile) if job.stage == "training"]
    wanted = {"experiment": experiment, "seed": seed, "fold": fold}
    for name, value in wanted.items():
        valid = {job.parameters.get(name) for job in jobs}
        if value not in valid:
            advice = nearest(value, valid) if isinstance(value, str) else f"there are {sorted(valid, key=str)}"
            raise ValueError(f"the profile {profile.name} has no {name} {value}; {advice}")
        jobs = [job for job in jobs if job.parameters.get(name) == value]
    return jobs[0]


def train_job(profile: Profile, job: Job) -> dict:
    """This process's part in the training of ``job``, with the cases and settings that its notebook would take."""
    told = {name: parameter.default for name, parameter in read_parameters(job.notebook).items()} | job.parameters
    settings = Training.checked({name: told[name] for name in Training.model_fields})
    build, ranks = Build(told["build"]), find_ranks(settings.devices)
    cases = select(discover(build.cases(told["source"], told["folder"])), told["training"], told["validation"],
                   told["excluded"], told["fold"], told["folds"])
    parts = [cases_below(build.preprocessed, part) for part in (cases.training, cases.validation)]
    with ranks.joined():
        # As the runner does: it later takes the folder for its own only where it finds the key of what was started.
        ranks.first(lambda: Run(profile, 1).prepare(job, "trained by itself"))
        return train(settings, *parts, job.run)


def main(
    profile: Annotated[Path, typer.Argument(help="a file such as notebooks/profiles/kits19.yml")],
    experiment: Annotated[str, typer.Option(help="name of a row of Table 1")],
    seed: Annotated[int, typer.Option(help="one of the profile's seeds")] = 0,
    fold: Annotated[int | None, typer.Option(help="one of the profile's folds, where it has some")] = None,
    parameter: Annotated[list[str], typer.Option("--parameter", "-p", help="as given to run")] = [],  # noqa: B006
    build: Annotated[str | None, typer.Option(help="folder of all outputs, instead of build/PROFILE")] = None,
):
    """Train one run of a profile on the devices that torchrun or srun gives a process each."""
    quiet()
    try:
        checked = load(profile, parameter, build=build)
        job = find_job(checked, experiment, seed, fold)
    except (ProfileError, ValueError) as error:
        sys.exit(str(error))
    train_job(checked, job)


if __name__ == "__main__":
    typer.run(main)

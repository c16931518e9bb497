"""One run on many devices of many machines: the launch command starts a task a device, as torchrun or SLURM's srun do.

    make PROFILE=kits19 LAUNCH="srun --nodes 2 --ntasks-per-node 4 --gpus-per-task 1"    # with training.devices: 8

Each task trains; the first one then executes the notebook, which finds its training done.
"""

import os

from kitsnb.files import Build


def find_task() -> tuple[int, int]:
    """This task's number and how many there are; (0, 1) where a launch command started this process alone."""
    size = next((os.environ[name] for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS") if name in os.environ), 1)
    rank = next((os.environ[name] for name in ("RANK", "SLURM_PROCID") if name in os.environ), 0)
    return int(rank), int(size)


def train_task(parameters: dict) -> None:
    """This task's part in a training, with the cases and settings that the notebook takes from the same ``parameters``.

    Raises ValueError where the settings want another number of devices than there are tasks.
    """
    from kitsnb.data.cases import discover, select
    from kitsnb.preprocessing.arrays import cases_below
    from kitsnb.training.run import train
    from kitsnb.training.settings import Training

    settings = Training.among(parameters)
    if settings.devices != (size := find_task()[1]):
        raise ValueError(f"the launch command starts {size} tasks a run, but the run has devices {settings.devices}; "
                         f"make them equal")
    build = Build(parameters["build"])
    cases = select(discover(build.cases(parameters["source"], parameters["folder"])), parameters["training"],
                   parameters["validation"], parameters["excluded"], parameters.get("fold"), parameters.get("folds"))
    parts = [cases_below(build.preprocessed, part) for part in (cases.training, cases.validation)]
    train(settings, *parts, build.run(parameters["experiment"], parameters["seed"], parameters.get("fold")))


def lost_another(error: Exception) -> bool:
    """Is ``error`` what a task sees when another one is gone? That one's end says why, or nothing does."""
    import torch.distributed as dist

    text = str(error).lower()
    return isinstance(error, dist.DistError) or "gloo" in text or "nccl" in text or "connection" in text

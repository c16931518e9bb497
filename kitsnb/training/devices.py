"""The processes that train one network together: how they find each other, and how they agree.

Who starts them is Lightning's business (torchrun or SLURM's srun); here is what training asks: how many, which am I, what do
the others have.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)


@dataclass(frozen=True)
class Ranks:
    """``size`` processes, one a device, on ``nodes`` machines; this one is number ``rank``. A process alone is 0 of 1."""

    environment: ClusterEnvironment
    size: int = 1
    rank: int = 0
    nodes: int = 1

    @contextmanager
    def joined(self) -> Iterator[None]:
        """The processes connected, by NCCL where there are GPUs, else by gloo. Inside another ``joined``, nothing happens."""
        if self.size == 1 or dist.is_initialized():
            yield
            return
        os.environ["MASTER_ADDR"] = self.environment.main_address
        os.environ["MASTER_PORT"] = str(self.environment.main_port)
        if torch.cuda.is_available():
            torch.cuda.set_device(self.environment.local_rank())
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, rank=self.rank, world_size=self.size)
        try:
            yield
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()

    def first(self, function: Callable[[], Any]) -> Any:
        """What ``function`` returns or raises on the first process, on all of them: none waits for one that has failed."""
        result, error = None, None
        if self.rank == 0:
            try:
                result = function()
            except Exception as raised:
                error = raised
        if self.size > 1:
            parcel = [result, error]
            dist.broadcast_object_list(parcel)
            result, error = parcel
        if error is not None:
            raise error
        return result

    def gather(self, part: dict) -> dict:
        """The dictionaries of all processes as one."""
        if self.size == 1:
            return part
        parts = [None] * self.size
        dist.all_gather_object(parts, part)
        return {key: value for one in parts for key, value in one.items()}

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """``value`` summed over the processes (NaN, if one is)."""
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value


def find_ranks(devices: int) -> Ranks:
    """The processes of a run on ``devices`` devices. ValueError where as many were not started, which says how to."""
    if devices < 1:
        raise ValueError(f"devices must be at least 1, not {devices}")
    elastic = TorchElasticEnvironment.detect()
    if devices == 1 and not (elastic and int(os.environ["WORLD_SIZE"]) > 1):
        # Named, so that Lightning looks for no other: a job of a cluster that trains on one device is no part of a group.
        return Ranks(LightningEnvironment())
    if elastic:
        environment = TorchElasticEnvironment()
        nodes = environment.world_size() // int(os.environ.get("LOCAL_WORLD_SIZE", environment.world_size()))
    elif SLURMEnvironment.detect():
        environment = SLURMEnvironment(auto_requeue=False)  # it would save in the middle of an epoch, and resubmit on its own
        nodes = int(os.environ.get("SLURM_STEP_NUM_NODES") or os.environ.get("SLURM_JOB_NUM_NODES") or 1)
    else:
        raise ValueError(f"devices is {devices}, but this process was started alone; start {devices} with torchrun or srun")
    if environment.world_size() != devices:
        raise ValueError(f"devices is {devices}, but {environment.world_size()} processes were started; make the two equal")
    return Ranks(environment, devices, environment.global_rank(), nodes)


def device_of(ranks: Ranks) -> str:
    """The device of this process, by torch's name: a GPU where there are some, else the CPU."""
    return f"cuda:{ranks.environment.local_rank()}" if torch.cuda.is_available() else "cpu"

"""The processes that train one network together: who starts them, how they find each other, and how they agree.

One process a device, by torchrun's conventions: started by torchrun, SLURM's srun or, on one machine, ``launch``.
"""

import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import parent_process
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from pytorch_lightning.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from torch.distributed.nn.functional import all_reduce
from torch.multiprocessing.spawn import ProcessException

from kitsnb.losses import RegionStatistics


@dataclass(frozen=True)
class Ranks:
    """``size`` processes, one a device, on ``nodes`` machines, and the number of this one: alone, it is 0 of 1."""

    environment: ClusterEnvironment | None = None
    size: int = 1
    rank: int = 0
    nodes: int = 1

    @contextmanager
    def joined(self) -> Iterator[None]:
        """The processes connected, by NCCL where there are GPUs, else by gloo."""
        if self.size == 1:
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
            dist.destroy_process_group()

    def first(self, function: Callable[[], Any]) -> Any:
        """What ``function`` returns or raises on the first process, on all: none waits for one that has failed."""
        parcel = [None, None]
        if self.rank == 0:
            try:
                parcel[0] = function()
            except Exception as error:
                parcel[1] = error
        if self.size > 1:
            dist.broadcast_object_list(parcel)
        if parcel[1]:
            raise parcel[1]
        return parcel[0]

    def gather(self, part: dict) -> dict:
        """The dictionaries of all processes as one."""
        if self.size == 1:
            return part
        parts = [None] * self.size
        dist.all_gather_object(parts, part)
        return {key: value for one in parts for key, value in one.items()}

    @staticmethod
    def pooled(statistics: RegionStatistics) -> RegionStatistics:
        """``statistics`` summed over the batches of all processes, [1, C], with the gradient of the whole.

        Each gets the gradient of the sum of all their losses, which are equal; DDP then takes the mean.
        """
        return RegionStatistics(*all_reduce(torch.stack(statistics.pooled())))


def is_alone() -> bool:
    """Was this process started by itself, and not as one of many by torchrun or srun?"""
    if TorchElasticEnvironment.detect():
        return int(os.environ["WORLD_SIZE"]) == 1
    return not SLURMEnvironment.detect() or int(os.environ["SLURM_NTASKS"]) == 1


def find_ranks(devices: int) -> Ranks:
    """The processes of a run on ``devices`` devices. ValueError where torchrun or srun started another number."""
    elastic = TorchElasticEnvironment.detect()
    if devices == 1 and (is_alone() or not elastic):
        # Named, so that Lightning looks for no other: a cluster's job that trains on one device is no part of a group.
        return Ranks(LightningEnvironment())
    if elastic:
        environment = TorchElasticEnvironment()
        nodes = environment.world_size() // int(os.environ.get("LOCAL_WORLD_SIZE", environment.world_size()))
    else:
        # Else it would save in the middle of an epoch, and resubmit on its own.
        environment = SLURMEnvironment(auto_requeue=False)
        nodes = int(os.environ.get("SLURM_STEP_NUM_NODES") or os.environ.get("SLURM_JOB_NUM_NODES") or 1)
    if environment.world_size() != devices:
        started = environment.world_size()
        raise ValueError(f"devices is {devices}, but {started} processes were started; make the two equal")
    return Ranks(environment, devices, environment.global_rank(), nodes)


def device_of(ranks: Ranks) -> str:
    """The device of this process, by torch's name: a GPU where there are some, else the CPU."""
    return f"cuda:{ranks.environment.local_rank()}" if torch.cuda.is_available() else "cpu"


def launch(function: Callable[..., object], *arguments: object, devices: int) -> None:
    """Call ``function`` with ``arguments`` in a process for each of ``devices`` devices of this machine.

    Raises RuntimeError with the cause when one fails; whatever happens to this process, the others end with it.
    A script that comes here needs ``if __name__ == "__main__"``.
    """
    port = LightningEnvironment().main_port
    context = mp.start_processes(_begin, (devices, port, function, arguments), devices, join=False)
    try:
        while not context.join():
            pass
    except ProcessException as error:
        raise RuntimeError(str(error).strip().splitlines()[-1]) from error
    finally:
        for process in context.processes:
            process.kill()
            process.join()


def _begin(rank: int, size: int, port: int, function: Callable[..., object], arguments: tuple) -> None:
    """One process of ``launch``: as torchrun starts it, but that it ends with its parent."""
    torchrun = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port,
                "MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "kitsnb", "TORCHELASTIC_USE_AGENT_STORE": False}
    os.environ.update({name: str(value) for name, value in torchrun.items()})
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)

    def watch() -> None:
        parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    warnings.simplefilter("ignore")  # said by each of them
    function(*arguments)

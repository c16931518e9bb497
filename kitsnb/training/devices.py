"""The processes that train one network together: who starts them, how they find each other, and how they agree.

One process a device, by torchrun's conventions: started by torchrun, by SLURM's srun, or, for the devices of one
machine, by ``launch``, which is torchrun with its output filtered.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from torch.distributed.nn.functional import all_reduce

from kitsnb.data.cases import Case
from kitsnb.files import ROOT, write_json
from kitsnb.losses import RegionStatistics
from kitsnb.training.settings import Training

#: Set for processes that shall end with the one that started them: they watch their standard input, which then closes.
WATCHED = "KITSNB_ENDS_WITH_PARENT"
#: Seconds that processes have to end by themselves.
GRACE = 10.0


@dataclass(frozen=True)
class Ranks:
    """``size`` processes, one a device, on ``nodes`` machines; this one is number ``rank``. A process alone is 0 of
    1.
    """

    environment: ClusterEnvironment | None = None
    size: int = 1
    rank: int = 0
    nodes: int = 1

    @contextmanager
    def joined(self) -> Iterator[None]:
        """The processes connected, by NCCL where there are GPUs, else by gloo. Inside another ``joined``, nothing
        happens.
        """
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
        """What ``function`` returns or raises on the first process, on all of them: none waits for one that has
        failed.
        """
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

    @staticmethod
    def pooled(statistics: RegionStatistics) -> RegionStatistics:
        """``statistics`` summed over the batches of all processes, [1, C], with the gradient of the whole.

        Each process gets the gradient of the sum of all their losses, which are equal; DDP then takes the mean over
        processes.
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
    if devices == 1 and not (elastic and not is_alone()):
        # Named, so that Lightning looks for no other: a job of a cluster that trains on one device is no part of a
        # group.
        return Ranks(LightningEnvironment())
    if is_alone():
        raise ValueError(f"devices is {devices}, but this process was started alone; start {devices} with torchrun or "
                         "srun")
    if elastic:
        environment = TorchElasticEnvironment()
        nodes = environment.world_size() // int(os.environ.get("LOCAL_WORLD_SIZE", environment.world_size()))
    else:
        # Else it would save in the middle of an epoch, and resubmit on its own.
        environment = SLURMEnvironment(auto_requeue=False)
        nodes = int(os.environ.get("SLURM_STEP_NUM_NODES") or os.environ.get("SLURM_JOB_NUM_NODES") or 1)
    if environment.world_size() != devices:
        raise ValueError(f"devices is {devices}, but {environment.world_size()} processes were started; make the two "
                         "equal")
    return Ranks(environment, devices, environment.global_rank(), nodes)


def device_of(ranks: Ranks) -> str:
    """The device of this process, by torch's name: a GPU where there are some, else the CPU."""
    return f"cuda:{ranks.environment.local_rank()}" if torch.cuda.is_available() else "cpu"


def launch(settings: Training, training: list[Case], validation: list[Case], folder: Path) -> None:
    """Train by torchrun on ``settings.devices`` devices of this machine, and print what is said of epochs.

    Raises RuntimeError with the cause when a process fails; whatever happens to this process, the others end with it.
    """
    with tempfile.TemporaryDirectory(prefix="kitsnb-") as scratch:
        task = Path(scratch) / "task.json"
        write_json(task, {"settings": settings.as_json(), "folder": folder.absolute(),
                          "training": [case.folder.absolute() for case in training],
                          "validation": [case.folder.absolute() for case in validation]})
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
                   str(settings.devices)]
        status, said = _listen([*command, "-m", "kitsnb.training.run", str(task)])
    if status:
        causes = re.findall(r"^(?:\[\w+\]: *)?(\w+(?:Error|Exception): .*)", "\n".join(said), re.MULTILINE)
        raise RuntimeError(causes[0] if causes
                           else "a process of the run died; the end of what it said:\n" + "\n".join(said)[-4000:])


def _listen(command: list[str]) -> tuple[int, list[str]]:
    """Run ``command``, print its lines of epochs, and return its exit status and the last of its other lines."""
    environment = os.environ | {WATCHED: "1",
                                "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    said: deque[str] = deque(maxlen=400)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True,
                               env=environment, cwd=ROOT, start_new_session=True)
    try:
        for line in process.stdout:
            if line.startswith(("epoch ", "compile_network", "precision")) or "is in use by" in line:
                print(line, end="", flush=True)
            else:
                said.append(line.rstrip())
        process.wait()
    finally:
        process.stdin.close()  # the training processes see it, and end
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()
    return process.returncode, list(said)


def end_with_parent() -> None:
    """Where ``launch`` started this process: end it when its standard input closes, which happens however the parent
    dies.
    """
    def watch() -> None:
        while os.read(0, 1024):  # not sys.stdin: its lock would be held when the interpreter ends
            pass
        os._exit(1)

    if os.environ.get(WATCHED):
        threading.Thread(target=watch, daemon=True).start()

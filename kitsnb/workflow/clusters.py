"""Where training runs find their workers: this machine, a running Dask scheduler, or SLURM.

``read_place`` checks what ``--scheduler`` names before anything runs; ``connect`` opens it; ``why_unfit`` says whether a
worker sees the same checkout and the same build folder.
"""

import hashlib
import logging
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from kitsnb.files import ROOT, Build, resolve
from kitsnb.messages import nearest
from kitsnb.workflow.jobs import Job

#: Keys of a SLURM file: SLURMCluster's own and their types, and ``jobs``, how many at most.
SLURM_KEYS = {
    "jobs": int, "queue": str, "account": str, "cores": int, "memory": str, "walltime": str, "job_cpu": int, "job_mem": str,
    "job_name": str, "job_extra_directives": list, "job_directives_skip": list, "job_script_prologue": list,
    "worker_extra_args": list, "log_directory": str, "local_directory": str, "interface": str, "python": str,
    "death_timeout": int, "scheduler_options": dict,
}
#: Seconds to wait for a scheduler's answer.
PATIENCE = 15
#: SLURM jobs in a row that may end before their worker comes.
VAIN = 4


class GridError(RuntimeError):
    """The place where runs should go cannot be used; the message says why."""


@dataclass(frozen=True)
class Place:
    """Where workers are: ``address`` of a scheduler, settings for ``slurm``, or neither for this machine."""

    address: str | None = None
    slurm: dict = field(default_factory=dict)

    @property
    def remote(self) -> bool:
        return bool(self.address or self.slurm)

    @property
    def awaited(self) -> str:
        """What is missing while there is no worker."""
        if self.slurm:
            return "waiting for SLURM to start a job (squeue shows them)"
        if self.address:
            return f"waiting for a worker: start some in this environment, with `dask worker {self.address} --nthreads 1`"
        return "waiting for the workers of this machine"


@dataclass(frozen=True)
class Connection:
    """A Dask ``client`` of ``place``.

    ``need(n)`` tells that no more than ``n`` workers are of use from now on; ``look(workers)`` returns what is worth saying
    about where workers come from, or None.
    """

    client: object
    place: Place
    need: Callable[[int], None] = lambda n: None
    look: Callable[[dict], str | None] = lambda workers: None


@dataclass(frozen=True)
class Site:
    """What a worker must share with the client: the checkout's folder and sources, and a file in the build folder."""

    root: str
    sources: str
    token: str


def read_place(scheduler: str | None) -> Place:
    """What ``--scheduler`` names. Raises ``GridError`` for neither an address nor a proper SLURM file."""
    if scheduler is None:
        return Place()
    if "://" in scheduler:
        return Place(address=scheduler)
    path = resolve(scheduler)
    if path.suffix not in (".yml", ".yaml"):
        raise GridError(f"--scheduler {scheduler}: must be an address such as tcp://host:8786, or a SLURM file (.yml)")
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise GridError(f"--scheduler {scheduler}: {error}") from None
    if problems := _problems(content):
        raise GridError("\n".join([f"{path}: {len(problems)} problem(s)", *(f"  - {line}" for line in problems)]))
    return Place(slurm=content)


def _problems(content: object) -> list[str]:
    if not isinstance(content, dict):
        return ["must hold keys and values"]
    problems = [f"unknown key {key!r}; {nearest(key, SLURM_KEYS)}" for key in content if key not in SLURM_KEYS]
    problems += [f"{key}: is {SLURM_KEYS[key].__name__}, not {type(value).__name__} {value!r}" for key, value in content.items()
                 if key in SLURM_KEYS and type(value) is not SLURM_KEYS[key]]
    problems += [f"{key} is missing" for key in ("jobs", "cores", "memory") if key not in content]
    return problems + (["jobs: must be 1 or more"] if type(content.get("jobs")) is int and content["jobs"] < 1 else [])


@contextmanager
def connect(place: Place, jobs: list[Job], build: Build, workers: int | None, usual: int) -> Iterator[Connection]:
    """A Dask client and workers for ``jobs``; what it started ends with it.

    ``workers`` is how many the user asked for, ``usual`` how many the profile asks for on a machine without GPUs.
    Raises ``GridError`` where no scheduler answers, where a worker is unfit, or where SLURM is not there.
    """
    import dask
    from distributed import Client

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters is said by the grid itself
    # Each death is told to the client, which decides; a run is never put behind another while a worker is free.
    with dask.config.set({"distributed.scheduler.allowed-failures": 0, "distributed.deploy.lost-worker-timeout": "2s",
                          "distributed.comm.timeouts.connect": f"{PATIENCE}s"}):
        if place.address:
            try:
                client = Client(place.address, timeout=PATIENCE)
            except (OSError, ValueError) as error:
                raise GridError(f"no Dask scheduler answers at {place.address} within {PATIENCE} s: {error}") from None
            with client:
                yield Connection(client, place)
        elif place.slurm:
            slurm = Slurm(place.slurm, build)
            with slurm.cluster as cluster, Client(cluster) as client:
                yield Connection(client, place, slurm.need, slurm.look)
        else:
            with _local(jobs, workers, usual) as cluster, Client(cluster) as client:
                yield Connection(client, place)


def visible_gpus() -> list[str]:
    """The names CUDA knows this machine's GPUs by, those that CUDA_VISIBLE_DEVICES leaves."""
    import torch

    count = torch.cuda.device_count()
    told = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return told[:count] if told else [str(number) for number in range(count)]


def local_workers(gpus: list[str], devices: int, runs: int, workers: int | None, usual: int) -> dict[int, dict]:
    """Options of each local worker: one to every ``devices`` GPUs, which it alone sees; without GPUs ``workers`` or ``usual``.

    GridError where a run wants more GPUs than there are.
    """
    common = {"nthreads": 1, "memory_limit": 0, "host": "127.0.0.1", "silence_logs": logging.CRITICAL,
              "preload": [__name__]}
    if not gpus:
        return {number: common for number in range(min(workers or usual, runs))}
    groups = [gpus[first : first + devices] for first in range(0, len(gpus) - devices + 1, devices)]
    if not groups:
        raise GridError(f"each run wants {devices} GPUs (parameter devices), and this machine has {len(gpus)}")
    return {number: common | {"env": {"CUDA_VISIBLE_DEVICES": ",".join(group)}, "resources": {"GPU": devices}}
            for number, group in enumerate(groups[: min(workers or len(groups), runs)])}


def dask_setup(worker) -> None:
    """Called by Dask in each local worker: Ctrl-C is for the client, which then ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _local(jobs: list[Job], workers: int | None, usual: int):
    from distributed import Nanny, Scheduler, SpecCluster

    devices = max(job.parameters.get("devices", 1) for job in jobs)
    options = local_workers(visible_gpus(), devices, len(jobs), workers, usual)
    scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}}
    return SpecCluster({number: {"cls": Nanny, "options": told} for number, told in options.items()}, scheduler,
                       silence_logs=logging.CRITICAL, name="kitsnb")


class Slurm:
    """A cluster whose SLURM jobs are one worker with one run at a time each."""

    def __init__(self, told: dict, build: Build):
        from dask_jobqueue import SLURMCluster

        if not shutil.which("sbatch"):
            raise GridError("sbatch is not on this machine: run this where SLURM's commands are (its login node)")
        settings = {"log_directory": str(build.folder / "slurm"), "job_name": "kitsnb", "walltime": "1-00:00:00"} | told
        self.most, self.logs = settings.pop("jobs"), settings["log_directory"]
        self.seen: set[str] = set()
        self.vain: set[str] = set()
        # The last of equal options counts: one run a job whatever its cores, and no limit that would miss the kernel's memory.
        extra = ["--nthreads", "1", "--memory-limit", "0", *settings.pop("worker_extra_args", [])]
        options = {"dashboard_address": ":0"} | settings.pop("scheduler_options", {})
        self.cluster = SLURMCluster(processes=1, worker_extra_args=extra, scheduler_options=options,
                                    silence_logs=logging.CRITICAL, **settings)

    def need(self, runs: int) -> None:
        """Keep a job for each of ``runs``: those that are cancelled or run out of time are replaced, surplus idle ones end."""
        if count := min(runs, self.most):
            self.cluster.adapt(minimum=count, maximum=count, interval="2s")

    def look(self, workers: dict[str, dict]) -> str | None:
        """Replace jobs that ended before their worker came, which Dask would await for ever, and say so.

        Raises ``GridError`` when that happens ``VAIN`` times in a row: then it is no accident.
        """
        names = {str(worker["name"]) for worker in workers.values()}
        if names - self.seen:
            self.vain.clear()
        self.seen |= names
        queue = subprocess.run(["squeue", "--noheader", "--format=%A"], capture_output=True, text=True)
        jobs = {str(name): job.job_id for name, job in list(self.cluster.workers.items()) if job.job_id}
        gone = {name: job for name, job in jobs.items() if name not in self.seen and job not in queue.stdout.split()}
        if queue.returncode or not gone.keys() - self.vain:
            return None
        self.vain |= gone.keys()
        text = f"SLURM job {', '.join(gone.values())} ended before its worker came; what it printed is in {self.logs}"
        if len(self.vain) >= VAIN:
            raise GridError(f"{text}; {len(self.vain)} in a row, so something is wrong with the jobs themselves")
        self.cluster.sync(self._forget, gone)
        return text

    async def _forget(self, names) -> None:
        await self.cluster.scale_down(list(names))


def site(build: Build) -> Site:
    """The client's own side of the comparison; the token lies in the build folder until ``Path(token).unlink``."""
    token = build.stamps / f".token-{uuid.uuid4().hex}"
    token.parent.mkdir(parents=True, exist_ok=True)
    token.touch()
    return Site(str(ROOT), sources_digest(), str(token))


def sources_digest() -> str:
    """One digest of all that kitsnb's runs are made of: its modules and the notebooks."""
    digest = hashlib.sha256()
    for path in sorted([*(ROOT / "kitsnb").rglob("*.py"), *(ROOT / "notebooks").glob("*.py")]):
        digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()


def why_unfit(site: Site) -> str | None:
    """Why this process cannot do the client's runs, or None; called on workers."""
    if str(ROOT) != site.root:
        return f"it has kitsnb from {ROOT}, not from {site.root}"
    if sources_digest() != site.sources:
        return f"the files in {ROOT} differ from those where the command was given"
    if not Path(site.token).exists():
        return f"it does not see {Path(site.token).parent}; workers need the same shared file system"
    return None


def check_workers(client, site: Site) -> None:
    """Raise ``GridError`` that names each present worker that is unfit, with the reason."""
    answers = client.run(why_unfit, site, on_error="return")
    unfit = [f"  - {address}: {answer}" for address, answer in answers.items() if answer]
    if unfit:
        raise GridError("\n".join(["workers that cannot be used; end them, or start them in this environment", *unfit]))

"""Independent training runs on Dask workers: each a kernel of its own, resumed elsewhere when its worker dies."""

import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from distributed import KilledWorker, get_worker
from distributed.core import Status

from kitsnb.files import Build, write_json
from kitsnb.workflow.clusters import Connection, GridError, Site, check_workers, site, visible_gpus, why_unfit
from kitsnb.workflow.execute import Failure, execute
from kitsnb.workflow.jobs import Job
from kitsnb.workflow.progress import Display, mark_path, read_history, read_json

#: Workers that a run may lose without an epoch between them. With an epoch done the count begins anew, so that short
#: walltimes never exhaust it.
DEATHS = 5
#: Seconds between looks at workers and files.
PULSE = 0.5
AT_WORK = (Status.init, Status.running, Status.paused)


class UnfitWorker(RuntimeError):
    """A worker that came later does not see the same files; arguments: a message that names it, and its address."""


class Keeper(threading.Thread):
    """Beside a run on its worker: keeps the mark fresh, and ends the kernel when the worker closes or the run is called off."""

    def __init__(self, worker, key: str, mark: Path):
        super().__init__(daemon=True)
        self.worker, self.key, self.mark = worker, key, mark
        self.group: int | None = None
        self.over = threading.Event()

    def __enter__(self) -> "Keeper":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.over.set()
        self.join()

    def kernel(self, group: int) -> None:
        """The kernel has started, with this process group."""
        self.group = group

    def wanted(self) -> bool:
        task = self.worker.state.tasks.get(self.key)
        return self.worker.status in AT_WORK and task is not None and task.state != "cancelled"

    def run(self) -> None:
        touched = time.monotonic()
        while not self.over.wait(PULSE):
            if not self.wanted() and self.group:
                with suppress(ProcessLookupError):
                    os.killpg(self.group, signal.SIGKILL)
            elif time.monotonic() - touched > 10:
                touched = time.monotonic()
                with suppress(FileNotFoundError):
                    os.utime(self.mark)


def run_job(job: Job, stamps: Path, shared: Site, threads: int | None, beside: int) -> Failure | None:
    """Execute ``job`` on this worker. ``beside``: runs that this machine has at a time, which share its cores.

    Raises ``UnfitWorker`` where this worker does not see the client's files.
    """
    worker = get_worker()
    host = os.uname().nodename
    if reason := why_unfit(shared):
        raise UnfitWorker(f"worker {worker.name} on {host}: {reason}", worker.address)
    mark = mark_path(job, stamps)
    write_json(mark, {"worker": str(worker.name), "host": host, "attempt": read_json(mark).get("attempt", 0) + 1})
    threads = threads or int(os.environ.get("SLURM_CPUS_PER_TASK", 0)) or max(1, len(os.sched_getaffinity(0)) // beside)
    with Keeper(worker, worker.get_current_task(), mark) as keeper:
        return execute(job.notebook, job.output, job.parameters, threads, keeper.kernel)


class Grid:
    """The client's side: hands out runs as workers are free, and decides what follows when one ends."""

    def __init__(self, connection: Connection, build: Build, display: Display, workers: int):
        """``workers``: runs at a time that are asked for on a machine without GPUs."""
        self.connection, self.client, self.display = connection, connection.client, display
        self.stamps, self.site = build.stamps, site(build)
        self.threads = None if connection.place.remote else threads_here(workers)
        self.attempts: Counter[str] = Counter()
        self.deaths: Counter[str] = Counter()
        self.epochs: dict[str, int] = {}
        self.revived: set[str] = set()
        self.idle_since: float | None = None
        self.reminded: float | None = None
        self.looked = time.monotonic()

    def run(self, jobs: list[Job]) -> Iterator[tuple[Job, Failure | None, float]]:
        """Each job with its failure (or None) and the seconds since it was handed out first, as it ends."""
        waiting, flying, began = deque(jobs), {}, {}
        try:
            self.connection.need(len(jobs))
            while not (workers := self.workers()):
                self.remind(self.connection.place.awaited)
                self.look(workers)
                time.sleep(PULSE)
            check_workers(self.client, self.site)
            while waiting or flying:
                workers = self.workers()
                self.look(workers)
                free = slots(workers, waiting) - len(flying)
                if waiting and not flying and free < 1:
                    self.remind(no_gpus(workers, waiting) if workers else self.connection.place.awaited)
                else:
                    self.idle_since = self.reminded = None
                for _ in range(min(len(waiting), free)):
                    job = waiting.popleft()
                    began.setdefault(job.name, time.monotonic())
                    flying[self.submit(job, workers)] = job
                for future in [future for future in flying if future.done()]:
                    job = flying.pop(future)
                    again, failure = self.judge(job, future)
                    if again:
                        waiting.appendleft(job)
                    else:
                        self.connection.need(len(waiting) + len(flying))
                        yield job, failure, time.monotonic() - began[job.name]
                self.tell()
                time.sleep(PULSE)
        finally:
            Path(self.site.token).unlink(missing_ok=True)
            if flying:  # interrupted: keepers end the kernels
                self.client.cancel(list(flying), force=True)
                time.sleep(4 * PULSE)
            for job in flying.values():
                mark_path(job, self.stamps).unlink(missing_ok=True)

    def workers(self) -> dict[str, dict]:
        return self.client.scheduler_info(n_workers=-1)["workers"]

    def look(self, workers: dict[str, dict]) -> None:
        """Every 5 s: what there is to say about where workers come from."""
        if time.monotonic() - self.looked > 5:
            self.looked = time.monotonic()
            if text := self.connection.look(workers):
                self.display.say(text)

    def remind(self, text: str) -> None:
        """Say what is awaited, after 5 s and then every 5 minutes."""
        now = time.monotonic()
        self.idle_since = self.idle_since or now
        if now - self.idle_since > 5 and (self.reminded is None or now - self.reminded > 300):
            self.display.say(text)
            self.reminded = now

    def submit(self, job: Job, workers: dict[str, dict]):
        host = Counter()
        for worker in workers.values():
            host[worker["host"]] += worker["nthreads"]
        beside = max(host.values(), default=1)
        devices = {"GPU": devices_of(job)} if uses_gpus(workers) else None
        return self.client.submit(run_job, job, self.stamps, self.site, self.threads, beside, pure=False, resources=devices)

    def judge(self, job: Job, future) -> tuple[bool, Failure | None]:
        """Whether the run should go on elsewhere; if not, its failure or None."""
        if future.cancelled():
            raise GridError("the Dask scheduler is gone; the same command goes on from the last checkpoints")
        error = future.exception()
        if isinstance(error, UnfitWorker):
            self.client.retire_workers([error.args[1]])
            return self.after_death(job, f"{error.args[0]}, so it gets no more runs")
        if isinstance(error, KilledWorker):
            return self.after_death(job, "its worker died")
        if error is not None:
            return False, Failure(str(job.output), "", f"{type(error).__name__}: {error}")
        failure = future.result()
        if failure and failure.dead_kernel and job.name not in self.revived:
            self.revived.add(job.name)
            self.display.say(f"{job.title}: its kernel was killed (out of memory?); it goes on once more from its checkpoint")
            self.attempts[job.name] += 1
            return True, None
        return False, failure

    def after_death(self, job: Job, reason: str) -> tuple[bool, Failure | None]:
        """Go on elsewhere, unless workers die again and again without an epoch between."""
        epochs = len(read_history(job.run))
        self.deaths[job.name] = 1 if epochs > self.epochs.get(job.name, 0) else self.deaths[job.name] + 1
        self.epochs[job.name] = epochs
        if self.deaths[job.name] > DEATHS:
            return False, Failure(str(job.output), "", f"{reason}, {DEATHS + 1} times without an epoch between")
        self.attempts[job.name] = max(1, read_json(mark_path(job, self.stamps)).get("attempt", 0)) + 1
        self.display.say(f"{job.title}: {reason}; the run goes on elsewhere after epoch {epochs} "
                         f"(attempt {self.attempts[job.name]})")
        return True, None

    def tell(self) -> None:
        """Show progress, and runs that the scheduler itself gave to another worker."""
        for state in self.display.tick():
            attempt = state.mark.get("attempt", 1)
            if attempt > max(1, self.attempts[state.job.name]):
                self.display.say(f"{state.job.title}: its worker went away; the run goes on at {state.mark['worker']} on "
                                 f"{state.mark['host']} after epoch {len(state.history)} (attempt {attempt})")
            self.attempts[state.job.name] = max(self.attempts[state.job.name], attempt)


def threads_here(workers: int) -> int | None:
    """Threads of each run on this machine: its share of the cores, or OMP_NUM_THREADS. None with GPUs: the worker decides.

    The share follows from the runs at a time that are asked for, not from those that are left, so that a grid's last run, or
    one that is added to it later, computes as the others did.
    """
    told = int(os.environ.get("OMP_NUM_THREADS", 0))
    return told or (None if visible_gpus() else max(1, len(os.sched_getaffinity(0)) // workers))


def devices_of(job: Job) -> int:
    return job.parameters.get("devices", 1)


def uses_gpus(workers: dict[str, dict]) -> bool:
    """Do workers declare GPUs (``--resources GPU=1``)? Then each run asks for its own."""
    return any("GPU" in worker["resources"] for worker in workers.values())


def slots(workers: dict[str, dict], jobs) -> int:
    """How many of ``jobs`` the workers can run at a time."""
    if not uses_gpus(workers):
        return sum(worker["nthreads"] for worker in workers.values())
    devices = max((devices_of(job) for job in jobs), default=1)
    return sum(min(worker["nthreads"], int(worker["resources"].get("GPU", 0) // devices)) for worker in workers.values())


def no_gpus(workers: dict[str, dict], jobs) -> str:
    """Why no worker takes a run, though there are workers."""
    most = max(worker["resources"].get("GPU", 0) for worker in workers.values())
    return f"each run wants {max(map(devices_of, jobs))} GPUs (parameter devices), and no worker has more than {most:.0f}"

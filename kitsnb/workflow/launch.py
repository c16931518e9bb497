"""Where jobs run: each a process of its own, plainly on this machine or behind the reader's own launch command.

A launch command starts a program elsewhere and stays until it ends, such as ``srun --gpus 1``: it queues, places and
limits. All processes end with this one, however it ends.
"""

import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from kitsnb.files import ROOT, read_json, write_json
from kitsnb.messages import threads_of_environment
from kitsnb.workflow.jobs import Job

#: Seconds between looks at processes, and that each has to end by itself.
PULSE = 0.2
GRACE = 10.0
_libc = ctypes.CDLL(None)


def read_launch(text: str | None) -> tuple[str, ...]:
    """Return the words of a launch command. Raises ValueError where it is no command of this machine."""
    try:
        words = tuple(shlex.split(text or ""))
    except ValueError as error:
        raise ValueError(f"LAUNCH {text}: {error}") from None
    if words and not shutil.which(words[0]):
        raise ValueError(f"LAUNCH {text}: there is no command {words[0]} on this machine")
    return words


def visible_gpus() -> list[str]:
    """List the names that CUDA knows this machine's GPUs by, those that CUDA_VISIBLE_DEVICES leaves."""
    import torch

    count = torch.cuda.device_count()
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named[:count] if named else [str(number) for number in range(count)]


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Places:
    """How many runs at a time, behind which command, with how many threads each (None: as they find), on which GPUs."""

    at_a_time: int = 1
    command: tuple[str, ...] = ()
    threads: int | None = None
    gpus: tuple[str, ...] = ()


def find_places(command: tuple[str, ...], at_a_time: int | None) -> Places:
    """Find places for trainings: one per GPU, else one per core, unless ``at_a_time`` says how many.

    The threads of a run follow from the runs at a time that are asked for, not from those that are left, so that the
    last one, or one that is added later, computes as the others did.
    """
    threads = threads_of_environment()
    if command:
        return Places(at_a_time or 1, command, threads)
    gpus = visible_gpus()
    number = at_a_time or len(gpus) or max(1, cores() // (threads or 1))
    shared = tuple(gpus[place % len(gpus)] for place in range(number)) if gpus else ()
    return Places(number, (), threads or max(1, cores() // number), shared)


def _end_with_parent() -> None:
    """Let a new process on Linux get SIGTERM when this one dies, even by SIGKILL."""
    if sys.platform == "linux":
        _libc.prctl(1, signal.SIGTERM)


class Started:
    """A job under way, with its process and its GPU; "task", "result" and "log" of it lie beside its receipt."""

    def __init__(self, job: Job, places: Places, gpu: str | None):
        self.job = job
        self.gpu = gpu
        self.began = time.monotonic()
        self.log = job.stamp.with_name(f".{job.name}.log")
        self.result = job.stamp.with_name(f".{job.name}.result")
        self.result.unlink(missing_ok=True)
        task = job.stamp.with_name(f".{job.name}.task")
        write_json(task, {"notebook": job.notebook, "output": job.output, "parameters": job.parameters,
                          "threads": places.threads, "build": job.build.folder, "result": self.result})
        environment = os.environ if gpu is None else os.environ | {"CUDA_VISIBLE_DEVICES": gpu}
        command = [*places.command, sys.executable, "-m", "kitsnb.workflow.notebook", str(task)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True, preexec_fn=_end_with_parent)

    def failure(self) -> str:
        """Return what the job's result file says, "" where all went well, or how its process was lost."""
        result = read_json(self.result)
        if result:
            return result["failure"]
        status = self.process.returncode
        ended = f"status {status}" if status >= 0 else str(signal.strsignal(-status))
        said = self.log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
        return f"its process ended ({ended}); the same command goes on with it. Its last words: {said or 'none'}"


def run_beside(jobs: Sequence[Job], places: Places, tick: Callable[[], object]) -> Iterator[tuple[Job, str, float]]:
    """Run ``jobs``, so many at a time; yield each as it ends, with its failure ("" for none) and its seconds.

    ``tick`` is called again and again meanwhile. All processes are ended when the caller stops, or is stopped.
    """
    waiting = deque(jobs)
    free = list(places.gpus) or [None] * places.at_a_time
    going: list[Started] = []
    try:
        while waiting or going:
            while waiting and free:
                going.append(Started(waiting.popleft(), places, free.pop(0)))
            for one in list(going):
                if one.process.poll() is not None:
                    going.remove(one)
                    free.append(one.gpu)
                    yield one.job, one.failure(), time.monotonic() - one.began
            tick()
            time.sleep(PULSE)
    finally:
        stop(going)


def stop(going: list[Started]) -> None:
    """End all processes and wait for them."""
    for one in going:
        one.process.terminate()
    for one in going:
        try:
            one.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(one.process.pid, signal.SIGKILL)
            one.process.wait()

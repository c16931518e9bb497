"""Where jobs run: each a process of its own, plainly on this machine or behind the reader's own launch command.

A launch command is what starts a program elsewhere and stays until it ends, such as ``srun --gpus 1``: it queues,
places and limits. A run whose process was lost goes on from its last checkpoint; all processes end with this one,
however it ends.
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
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from kitsnb.files import ROOT, read_json, write_json
from kitsnb.messages import PROGRESS
from kitsnb.workflow.execute import Failure
from kitsnb.workflow.jobs import Job
from kitsnb.workflow.progress import read_history

#: Processes that a run may lose without an epoch between them. With an epoch done the count begins anew, so that short
#: walltimes never exhaust it.
LOSSES = 5
#: Seconds between looks at processes, and at what runs have written; seconds that processes have to end by themselves.
PULSE, TICK, GRACE = 0.1, 1.0, 10.0
_libc = ctypes.CDLL(None)


class LaunchError(ValueError):
    """Runs cannot be started in the way that was asked for; the message says why."""


def read_launch(text: str | None) -> tuple[str, ...]:
    """The words of a launch command. LaunchError where it is no command of this machine."""
    try:
        words = tuple(shlex.split(text or ""))
    except ValueError as error:
        raise LaunchError(f"--launch {text}: {error}") from None
    if words and not shutil.which(words[0]):
        raise LaunchError(f"--launch {text}: there is no command {words[0]} on this machine")
    return words


def visible_gpus() -> list[str]:
    """The names CUDA knows this machine's GPUs by, those that CUDA_VISIBLE_DEVICES leaves."""
    import torch

    count = torch.cuda.device_count()
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named[:count] if named else [str(number) for number in range(count)]


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Places:
    """How many runs at a time, behind which command, with how many threads each (None: as they find), on which GPUs."""

    at_a_time: int = 1
    command: tuple[str, ...] = ()
    threads: int | None = None
    gpus: tuple[str, ...] = ()  # of each place, as CUDA_VISIBLE_DEVICES has them; none where runs see what there is


def find_places(command: tuple[str, ...], at_a_time: int | None, devices: int = 1) -> Places:
    """Places for runs on ``devices`` devices each: as many as GPUs allow, else cores, unless ``at_a_time`` says.

    The threads of a run follow from the runs at a time that are asked for, not from those that are left, so that the
    last one, or one that is added later, computes as the others did. LaunchError where a run wants more GPUs than
    there are.
    """
    threads = int(os.environ.get("OMP_NUM_THREADS") or 0) or None
    gpus = [] if command else visible_gpus()
    groups = [",".join(gpus[first:first + devices]) for first in range(0, len(gpus) - devices + 1, devices)]
    if gpus and not groups:
        raise LaunchError(f"each run wants {devices} GPUs (parameter devices), and this machine has {len(gpus)}")
    number = at_a_time or len(groups) or max(1, cores() // (threads or 1))
    if command:
        return Places(number, command, threads)
    places = tuple(groups[place % len(groups)] for place in range(number)) if groups else ()
    return Places(number, (), threads or max(1, cores() // number), places)


@dataclass
class Going:
    """A job under way, over all of its processes."""

    job: Job
    began: float | None = None
    process: subprocess.Popen | None = None
    gpus: str | None = None
    attempt: int = 0
    losses: int = 0
    epochs: int = 0
    not_before: float = 0.0


class Launcher:
    """Starts jobs as places are free, and decides what follows when a process ends."""

    def __init__(self, folder: Path, places: Places = Places(), say: Callable[[str], None] = print,
                 tick: Callable[[], object] = lambda: None):
        """``folder`` is where tasks, results, marks and logs lie, seen from wherever jobs run."""
        self.folder, self.places, self.say, self.tick = folder, places, say, tick
        self.free = list(reversed(places.gpus))

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Failure | None, float]]:
        """Each job with its failure (or None) and the seconds since it was started first, as it ends."""
        waiting, going, ticked = deque(map(Going, jobs)), [], 0.0
        try:
            while waiting or going:
                while waiting and len(going) < self.places.at_a_time and waiting[0].not_before <= time.monotonic():
                    going.append(self.start(waiting.popleft()))
                for one in [one for one in going if one.process.poll() is not None]:
                    going.remove(one)
                    self.clear(one)
                    again, failure = self.follow_up(one)
                    if again:
                        waiting.appendleft(one)
                    else:
                        yield one.job, failure, time.monotonic() - one.began
                if time.monotonic() - ticked > TICK:
                    ticked = time.monotonic()
                    self.tick()
                time.sleep(PULSE)
        finally:
            self.stop(going)

    def start(self, one: Going) -> Going:
        """The next process of a job."""
        job = one.job
        environment = os.environ | {PROGRESS: str(job.path(self.folder, "progress"))}
        one.attempt, one.began = one.attempt + 1, one.began or time.monotonic()
        one.gpus = self.free.pop() if self.free else None
        if one.gpus is not None:
            environment["CUDA_VISIBLE_DEVICES"] = one.gpus
        for kind in ("result", "mark", "progress", *(["log"] if one.attempt == 1 else [])):
            job.path(self.folder, kind).unlink(missing_ok=True)
        task = job.path(self.folder, "task")
        write_json(task, {
            "notebook": job.notebook, "output": job.output, "threads": self.places.threads, "attempt": one.attempt,
            "behind_command": bool(self.places.command),
            "parameters": repr(job.parameters),  # JSON has no integer keys
            "mark": job.path(self.folder, "mark"), "result": job.path(self.folder, "result")})
        command = [*self.places.command, sys.executable, "-m", "kitsnb.workflow.execute", str(task)]
        with job.path(self.folder, "log").open("ab") as log:
            one.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=log,
                                           stderr=log, start_new_session=True, preexec_fn=_end_with_parent)
        return one

    def follow_up(self, one: Going) -> tuple[bool, Failure | None]:
        """Whether the job goes on in another process; if not, its failure or None."""
        job, result = one.job, read_json(one.job.path(self.folder, "result"))
        failure = Failure(**result["failure"]) if result.get("failure") else None
        if result and not (failure and failure.lost):
            return False, failure
        epochs = len(read_history(job.run)) if job.run else 0
        reason = failure.message if failure else how_ended(one.process.returncode, job.path(self.folder, "log"))
        one.losses, one.epochs = (1 if epochs > one.epochs else one.losses + 1), max(epochs, one.epochs)
        if job.run is None or one.losses > LOSSES:
            often = f", {one.losses} times without an epoch between" if job.run else ""
            return False, Failure(str(job.output), "", f"{reason}{often}", lost=True)
        if not job.path(self.folder, "mark").exists():  # a command that could not start it may need a moment
            one.not_before = time.monotonic() + one.losses
        self.say(f"{job.title}: {reason}; the run goes on after epoch {epochs} (attempt {one.attempt + 1})")
        return True, None

    def clear(self, one: Going) -> None:
        """What a process that has ended leaves behind; its place is free."""
        with suppress(OSError):  # what it did not read
            one.process.stdin.close()
        if one.gpus is not None:
            self.free.append(one.gpus)

    def stop(self, going: list[Going]) -> None:
        """End all processes and wait for them."""
        for one in going:
            one.process.terminate()
            self.clear(one)
        ends = time.monotonic() + GRACE
        for one in going:
            try:
                one.process.wait(max(0.0, ends - time.monotonic()))
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(one.process.pid, signal.SIGKILL)
                one.process.wait()
            one.job.path(self.folder, "mark").unlink(missing_ok=True)


def _end_with_parent() -> None:
    """Called in a new process on Linux: it gets SIGTERM when this one dies, even by SIGKILL."""
    if sys.platform == "linux":
        _libc.prctl(1, signal.SIGTERM)


def how_ended(status: int, log: Path) -> str:
    """In words, with the last line of a process that ended by itself, or of the command that started it elsewhere."""
    number = -status if status < 0 else status - 128
    name = signal.Signals(number).name if number in set(signal.Signals) else None
    how = f"its process was ended by {name}" if name else f"its process ended with status {status}"
    said = log.read_text(errors="replace").strip().splitlines() if status > 0 and log.exists() else []
    return how + (f" ({said[-1].strip()})" if said else "")


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP as Ctrl-C inside: what was started is ended first."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

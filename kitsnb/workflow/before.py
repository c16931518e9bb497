"""What is asked before anything runs: is the build folder ours and writable, and which cases lie there for nothing?"""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from kitsnb.files import Build, read_json, write_json
from kitsnb.messages import several
from kitsnb.workflow.jobs import Job, in_split
from kitsnb.workflow.stamps import short

#: Seconds after which what was half-written counts as left behind.
OLD = 3600


class Busy(RuntimeError):
    """Another process is at work in the build folder; the message says which."""


@contextmanager
def alone(build: Build) -> Iterator[None]:
    """``build`` as this process's own; the system gives it back when the process dies. ``Busy`` where another has it."""
    who = build.folder / ".at_work.json"
    try:
        with FileLock(build.folder / ".lock", timeout=0):
            since = time.strftime("%d %b %H:%M")
            write_json(who, {"process": os.getpid(), "host": os.uname().nodename, "since": since})
            for path in build.folder.rglob(".*"):
                if re.fullmatch(r"\.\d+-\d+-.+", path.name) and time.time() - path.stat().st_mtime > OLD:
                    path.unlink(missing_ok=True)
            yield
    except Timeout:
        other = read_json(who)
        raise Busy(f"process {other.get('process')} on {other.get('host')} is at work in {short(build.folder)} since "
                   f"{other.get('since')}; wait for it, or end it") from None


def strays(jobs: list[Job]) -> list[str]:
    """Notes on cases that lie where a job reads but that the split does not ask for."""
    left_out = {}
    for job in jobs:
        for folder in {*job.reads, *job.lists}:
            if names := sorted(path.name for path in folder.glob("case_*/") if not in_split(path, job.parameters)):
                left_out[folder] = names
    return [f"{short(folder)}: left out, as not in the split: {several(names)}" for folder, names in left_out.items()]


def why_unwritable(folder: Path) -> str | None:
    """Why nothing can be written below ``folder`` (read-only, full, no folder), found by writing; None if it can."""
    probe = folder / f".{os.getpid()}-probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(bytes(1 << 20))
        probe.unlink()
    except OSError as error:
        return error.strerror or str(error)
    return None

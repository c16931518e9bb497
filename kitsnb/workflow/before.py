"""What is asked before anything runs: is the build folder ours and writable, and are data and machine all there?"""

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from kitsnb.data.cases import Case
from kitsnb.files import Build, locked, resolve
from kitsnb.messages import several
from kitsnb.workflow.jobs import Job, in_split
from kitsnb.workflow.launch import LaunchError
from kitsnb.workflow.profile import Profile
from kitsnb.workflow.stamps import short

#: Seconds after which what was half-written counts as left behind.
OLD = 3600


@contextmanager
def alone(build: Build) -> Iterator[None]:
    """``build`` as this process's own, until it dies. ``LaunchError`` where another has it, or it cannot be written."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(build.folder, patience=0))
        except RuntimeError as error:
            raise LaunchError(str(error)) from None
        except OSError as error:
            raise LaunchError(f"{build.folder} cannot be written: {error.strerror or error}; "
                              "free it, or give another (--build)") from error
        for path in build.folder.rglob(".*"):
            if re.fullmatch(r"\.\d+-\d+-.+", path.name) and time.time() - path.stat().st_mtime > OLD:
                path.unlink(missing_ok=True)
        yield


def strays(jobs: list[Job]) -> list[str]:
    """Notes on cases that lie where a job reads but that the split does not ask for."""
    left_out = {}
    for job in jobs:
        for folder in {*job.reads, *job.lists}:
            if names := sorted(path.name for path in folder.glob("case_*/") if not in_split(path, job.parameters)):
                left_out[folder] = names
    return [f"{short(folder)}: left out, as not in the split: {several(names)}" for folder, names in left_out.items()]


def what_is_lacking(profile: Profile, elsewhere: bool = False) -> list[str]:
    """What the data lack that ``profile`` asks for, and this machine, unless runs start ``elsewhere``: all of it."""
    from kitsnb.data.checks import missing_from_split
    from kitsnb.training.precision import choose_precision
    from kitsnb.training.settings import Training

    found, parameters = [], profile.parameters
    given = parameters.get("training") or parameters.get("data_analysis") or {}
    try:
        if given.get("source") in ("folder", "hybrid"):
            split = (given[name] for name in ("training", "validation", "excluded"))
            found += missing_from_split(resolve(given["folder"]), *split, imaging=given["source"] == "folder")
    except (FileNotFoundError, ValueError) as error:
        found.append(str(error))
    losses = parameters.get("losses", {})
    if losses.get("folder") and resolve(losses["folder"]).is_dir():
        label = Case(resolve(losses["folder"]) / f"case_{losses['case']:05d}").segmentation
        found += [] if label.is_file() else [f"{label}, which notebook 03 looks at (parameter case)"]
    if found:
        found.append("get them, or narrow training, validation and excluded in the profile")
    try:
        if not elsewhere:
            choose_precision(Training.among(parameters.get("training", {})))
    except ValueError as error:
        found.append(f"training: {error}")
    if profile.beside:
        from kitsnb.workflow.publish import why_not_beside

        found += [f"beside {profile.beside}: {line}" for line in why_not_beside(profile)]
    return found

"""A study, opened: settings, cases and folders of a profile for its notebooks, whoever executes them."""

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from kitsnb.data.cases import Case, Split, discover, further_cases, hold_out
from kitsnb.files import NOTEBOOKS, Build, read_json, resolve
from kitsnb.messages import nearest
from kitsnb.preprocessing.arrays import cases_below
from kitsnb.workflow.jobs import Job
from kitsnb.workflow.profile import Experiment, Profile, recorded
from kitsnb.workflow.profile_files import find

#: Names, in the environment of a notebook that the runner executes, the folder of the build.
RUNNER = "KITSNB_BUILD"
#: What can be changed by hand for one training: the cases are prepared as the build has them.
OF_A_RUN = ("training", "prediction", "data.training", "data.validation", "data.excluded", "data.folds")


class NotBuilt(FileNotFoundError):
    """What a notebook wants to show was not made yet; the text says how to make it."""

    def _render_traceback_(self) -> list[str]:
        """Show the message alone in a notebook."""
        return [str(self)]


class Study:
    """A profile and its build. ``writes``: opened by the runner, and not by a person, who changes no result."""

    def __init__(self, profile: Profile, writes: bool, changes: Mapping[str, object]):
        self.profile = profile
        self.writes = writes
        self.changes = changes
        self.build = profile.build
        self.source = profile.cases  # the folder of the cases as they come
        self.accept = profile.data.accept

    @cached_property
    def cases(self) -> list[Case]:
        """List the cases as they come. Raises FileNotFoundError where there are none."""
        return discover(self.source)

    @cached_property
    def further(self) -> list[Case]:
        """List the cases of further folders, which only train."""
        return further_cases(self.profile.data)

    def split(self, seed: int = 0) -> Split:
        """Return which cases train and which are held out; ``seed`` counts where the profile has folds."""
        return hold_out(self.cases, self.profile.data, seed, self.further)

    def run(self, experiment: str, seed: int) -> "Run":
        """Open one training; ValueError for an unknown experiment, and by hand for changes that need other cases."""
        rows = {row.name: row for row in self.profile.experiments}
        if experiment not in rows:
            raise ValueError(f"{self.profile.name} has no experiment {experiment!r}; {nearest(experiment, rows)}")
        others = [name for name in self.changes if not name.startswith(OF_A_RUN)]
        if others and not self.writes:
            raise ValueError(f"changes: {', '.join(others)} cannot be tried on prepared cases; write a profile")
        return Run(self, rows[experiment], seed)

    def made(self, path: Path) -> Path:
        """Return ``path`` where it was made; else raise ``NotBuilt``."""
        if path.exists():
            return path
        raise NotBuilt(f"{path} is not made yet: run make PROFILE={self.profile.name} in a terminal")


class Run:
    """One training of a study. By hand, it ``trains`` where something was changed, into a ``folder`` of its own."""

    def __init__(self, study: Study, experiment: Experiment, seed: int):
        profile = study.profile
        self.study = study
        self.experiment = experiment
        self.seed = seed
        self.title = experiment.title
        self.training = profile.training_of(experiment, seed)
        self.sections = {"data": profile.data, "preprocessing": profile.preprocessing, "training": self.training,
                         "prediction": profile.prediction}  # as ``write_run`` takes them
        self.trains = study.writes or bool(study.changes)
        self.folder = study.build.run(experiment.name, seed)
        if self.trains and not study.writes:
            job = Job(profile, "training", {}, experiment, seed)
            prepared = read_json(study.build.stamps / "preprocessing.json")
            chosen = json.dumps([profile.as_json(), job.trained_from(), prepared])
            digest = hashlib.sha256(chosen.encode()).hexdigest()[:6]
            self.folder = study.build.folder / "by_hand" / f"{self.folder.name}-{digest}"

    @cached_property
    def split(self) -> Split:
        return self.study.split(self.seed)

    @property
    def training_cases(self) -> list[Case]:
        """List the preprocessed cases to train on."""
        return cases_below(self.study.build.preprocessed, self.split.training)

    @property
    def validation_cases(self) -> list[Case]:
        """List the preprocessed cases that are held out."""
        return cases_below(self.study.build.preprocessed, self.split.validation)

    @property
    def native(self) -> dict[str, Case]:
        """Return the held-out cases as they come, by name."""
        return {case.name: case for case in self.split.validation}


def open_study(profile: str | Path = "quick", changes: Mapping[str, object] | None = None) -> Study:
    """Open the study of ``profile`` (a name in notebooks/profiles, a file, or a build's folder) with ``changes``.

    By hand, a build is opened with the settings that it was made with. What lies beside the notebooks (``probing``,
    ``results``) can be imported from then on. Raises ``ProfileError`` with all that is wrong, ``NotBuilt``.
    """
    if str(NOTEBOOKS) not in sys.path:
        sys.path.append(str(NOTEBOOKS))
    changes = dict(changes or {})
    if folder := os.environ.get(RUNNER):  # which has written down what it runs: the profile's file may change meanwhile
        return Study(recorded(Build(folder)), True, changes)
    folder = resolve(profile)
    build = Build(folder if (folder / "profile.json").is_file() else f"build/{find(profile).stem}")
    made = recorded(build, changes)
    if made is None:
        raise NotBuilt(f"nothing is built in {build.folder} yet: run make PROFILE={profile} in a terminal")
    return Study(made, False, changes)

"""A study, opened: settings, cases and folders of a profile for its notebooks, whoever executes them."""

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from kitsnb.data.cases import Case, Split, discover, hold_out
from kitsnb.data.checks import Accept
from kitsnb.files import NOTEBOOKS, Build, resolve
from kitsnb.messages import nearest, several
from kitsnb.preprocessing.arrays import cases_below
from kitsnb.settings import Settings
from kitsnb.training.settings import Training
from kitsnb.workflow.profile import Experiment, Profile, load, recorded
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


@dataclass(frozen=True)
class Study:
    """A profile and its build. ``writes``: opened by the runner, and not by a person, who changes no result."""

    profile: Profile
    writes: bool
    changes: Mapping[str, object] = field(default_factory=dict)

    @property
    def build(self) -> Build:
        return self.profile.build

    @property
    def accept(self) -> Accept:
        """Say what is accepted of the cases."""
        return self.profile.data.accept

    @property
    def source(self) -> Path:
        """Return the folder of the cases as they come: simulated below the build, else as the profile says."""
        if self.profile.data.source == "folder":
            return resolve(self.profile.data.folder)
        return self.build.data

    @cached_property
    def cases(self) -> list[Case]:
        """List the cases as they come. Raises FileNotFoundError where there are none."""
        return discover(self.source)

    def split(self, seed: int = 0) -> Split:
        """Return which cases train and which are held out; ``seed`` counts where the profile has folds."""
        return hold_out(self.cases, self.profile.data, seed)

    def run(self, experiment: str, seed: int) -> "Run":
        """Open one training.

        Raises ValueError for an experiment that the profile does not have, and by hand for changes that would need
        cases prepared in another way.
        """
        rows = {row.name: row for row in self.profile.experiments}
        if experiment not in rows:
            raise ValueError(f"{self.profile.name} has no experiment {experiment!r}; {nearest(experiment, rows)}")
        others = [name for name in self.changes if not name.startswith(OF_A_RUN)]
        if others and not self.writes:
            raise ValueError(f"changes: {several(others)} cannot be tried on the cases as they are prepared; write a "
                             "profile with that, and make it")
        return Run(self, rows[experiment], seed)

    def made(self, path: Path) -> Path:
        """Return ``path`` where it was made; else raise ``NotBuilt``."""
        if path.exists():
            return path
        raise NotBuilt(f"{path} is not made yet: run make PROFILE={self.profile.name} in a terminal")


@dataclass(frozen=True)
class Run:
    """One training of a study: an experiment with a seed."""

    study: Study
    experiment: Experiment
    seed: int

    @property
    def title(self) -> str:
        return self.experiment.title

    @property
    def training(self) -> Training:
        return self.study.profile.training_of(self.experiment, self.seed)

    @property
    def trains(self) -> bool:
        """Tell whether to train: for the runner, and by hand where something was changed."""
        return self.study.writes or bool(self.study.changes)

    @property
    def folder(self) -> Path:
        """Return the run's folder; what is trained by hand has one of its own for each choice of settings."""
        folder = self.study.build.run(self.experiment.name, self.seed)
        if self.study.writes or not self.study.changes:
            return folder
        chosen = json.dumps(self.study.profile.model_dump(mode="json"), sort_keys=True)
        return self.study.build.folder / "by_hand" / f"{folder.name}-{hashlib.sha256(chosen.encode()).hexdigest()[:6]}"

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

    @property
    def sections(self) -> dict[str, Settings]:
        """Return all settings behind the run, by section, as ``write_run`` takes them."""
        profile = self.study.profile
        return {"data": profile.data, "preprocessing": profile.preprocessing, "training": self.training,
                "prediction": profile.prediction}


def open_study(profile: str | Path = "quick", changes: Mapping[str, object] | None = None) -> Study:
    """Open the study of ``profile`` (a name in notebooks/profiles, a file, or a build's folder) with ``changes``.

    The runner's notebooks get the profile as it is written. By hand, what is built is shown with the settings that it
    was built with. From then on, what lies beside the notebooks (``probing``, ``results``) can be imported. Raises
    ``ProfileError`` with all that is wrong, ``NotBuilt`` where nothing is there to be shown.
    """
    if str(NOTEBOOKS) not in sys.path:
        sys.path.append(str(NOTEBOOKS))
    changes = dict(changes or {})
    if folder := os.environ.get(RUNNER):
        return Study(load(profile, changes, build=folder), writes=True, changes=changes)
    folder = resolve(profile)
    build = Build(folder if (folder / "profile.json").is_file() else f"build/{find(profile).stem}")
    made = recorded(build, changes)
    if made is None:
        raise NotBuilt(f"nothing is built in {build.folder} yet: run make PROFILE={profile} in a terminal")
    return Study(made, writes=False, changes=changes)

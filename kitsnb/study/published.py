"""Studies that are kept in the repository as data: ``paper/published/NAME/``, written by ``python -m kitsnb publish``.

``scores.csv`` holds a row per run and case, ``cases.csv`` what each case is like (volumes in ml, median HU),
``study.json`` what is known about the study (``about`` of results.json) and its commit, ``figures/`` what cannot be
drawn from these. Rows of a later build can be paired with a published study where nothing differs but the loss.
"""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from kitsnb.files import PUBLISHED, ROOT, Build, read_json, write_atomic, write_json
from kitsnb.messages import nearest, several
from kitsnb.study.claims import load_seed_paper
from kitsnb.study.findings import describe, finding
from kitsnb.study.runs import PER_RUN, all_scores, by_path, compare_settings, load_runs, read_stage

#: What is published of a case, by which another simulator or other labels are noticed: columns of notebook 01's table.
CASE_COLUMNS = ("kidney_ml", "tumour_ml", "kidney_hu", "tumour_hu", "role")
#: Settings that say where, not what.
PLACES = ("data.folder", "data.build")
#: Figures that need more than scores: these are published as they are.
KEPT = ("losses01_error_paths", "losses02_gradient_shares", "fig01_clipping", "training", "slices_*")


@dataclass(frozen=True)
class Published:
    """A published study: ``about`` (study.json), tidy ``scores`` and ``cases`` by name."""

    name: str
    about: dict
    scores: pd.DataFrame
    cases: pd.DataFrame

    @property
    def folder(self) -> Path:
        """Return where the study lies."""
        return PUBLISHED / self.name


def names() -> list[str]:
    """List the published studies."""
    return sorted(path.parent.name for path in PUBLISHED.glob("*/study.json"))


def read(name: str) -> Published:
    """Read a study. Raises ValueError where there is none."""
    if name not in names():
        raise ValueError(f"there is no published study {name!r}; {nearest(name, names())}")
    folder = PUBLISHED / name
    about = read_json(folder / "study.json")
    return Published(name, about, pd.read_csv(folder / "scores.csv"), read_cases(folder))


def write(name: str, about: Mapping, scores: pd.DataFrame, cases: pd.DataFrame, figures: Sequence[Path] = ()) -> Path:
    """Write a study; ``cases`` is notebook 01's table. Numbers keep six digits."""
    folder = PUBLISHED / name
    kept = cases[[column for column in CASE_COLUMNS if column in cases]]
    write_atomic(folder / "scores.csv", scores.to_csv(index=False, float_format="%.6g"))
    write_atomic(folder / "cases.csv", kept.to_csv(index_label="case", float_format="%.6g"))
    for path in figures:
        write_atomic(folder / "figures" / path.name, path.read_bytes())
    write_json(folder / "study.json", about)
    return folder


def publish(name: str, build: Build) -> Path:
    """Publish the finished study of ``build`` at the present commit. That it is up to date is the caller's to check.

    Raises ValueError where it holds another study's rows, or where files differ from the commit.
    """
    about = read_stage(build.results, "05_results")["about"]
    if about["beside"]:
        raise ValueError(f"{name} has rows beside {about['beside']}, so its study is not its own; publish one without")
    changed = list_uncommitted()
    if changed:
        raise ValueError(f"{name} is not published, as files are not committed: {several(changed)}")
    runs = load_runs(build, about["experiments"], about["seeds"])
    figures = [path for pattern in KEPT for path in sorted(build.figures.glob(f"{pattern}.svg"))]
    about = {**about, "commit": git("rev-parse", "HEAD").strip()}
    return write(name, about, all_scores(runs), read_cases(build.data_analysis), figures)


def list_uncommitted() -> list[str]:
    """List files that are not as the commit has them, those of published studies apart."""
    changed = [line[3:] for line in git("status", "--porcelain", "--untracked-files=all").splitlines()]
    return [file for file in changed if not (ROOT / file).is_relative_to(PUBLISHED)]


def git(*arguments: str) -> str:
    """Return what git says of the repository. Raises ValueError with git's own words where it refuses."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    except OSError as error:
        raise ValueError(f"git cannot be run ({error}); a published study names its commit") from error
    if done.returncode:
        raise ValueError(f"git refuses {ROOT}, and a published study names its commit. It says:\n{done.stderr.strip()}")
    return done.stdout


def read_cases(folder: Path) -> pd.DataFrame:
    """Read notebook 01's table of cases, by name."""
    return pd.read_csv(folder / "cases.csv", index_col="case")


def why_not_paired(study: Published, settings: Mapping, cases: pd.DataFrame | None = None,
                   apart_from: Sequence[str] = ()) -> list[str]:
    """Say why rows with these ``settings`` (by section) and ``cases`` cannot be paired with those of ``study``.

    ``apart_from`` names settings that may differ by design, such as training.network.normalization.
    """
    here, there = by_path(settings), by_path(study.about["settings"])
    odd = compare_settings(settings, study.about["settings"], (*PER_RUN, *PLACES, *apart_from))
    reasons = [f"{path} is {here.get(path)}, in {study.name} {there.get(path)}" for path in odd]
    if cases is None:
        return reasons
    other = sorted(set(study.cases.index) ^ set(cases.index))
    if other:
        return [*reasons, f"{several(other)}: only here, or only in {study.name}"]
    cases = cases.loc[study.cases.index]
    for column in study.cases.columns.intersection(cases.columns):
        theirs, own = study.cases[column], cases[column]
        same = theirs == own if column == "role" else np.isclose(theirs, own, rtol=1e-3, equal_nan=True)
        if not same.all():
            first = theirs.index[~same][0]
            reasons.append(f"{column} of {(~same).sum()} cases: {first} has {own[first]}, "
                           f"in {study.name} {theirs[first]}")
    return reasons


def join(about: Mapping, scores: pd.DataFrame, cases: pd.DataFrame,
         apart_from: Sequence[str] = ()) -> tuple[dict, pd.DataFrame]:
    """Put the rows of the published study that ``about`` names in ``beside`` before a build's own, in one table.

    Raises ValueError that names what differs, where the two cannot be paired (``why_not_paired``).
    """
    study = read(about["beside"])
    reasons = why_not_paired(study, about["settings"], cases, apart_from)
    if reasons:
        raise ValueError(f"cannot be paired with the published study {study.name}: " + "; ".join(reasons))
    rows = [*study.about["experiments"], *about["experiments"]]
    return {**about, "experiments": rows}, pd.concat([study.scores, scores], ignore_index=True)


def summarise_findings() -> list[dict]:
    """Name each published study, the data that it stands on, and what it found: the box in a build's paper."""
    boxes = []
    for study in map(read, names()):
        about = study.about
        found = describe(study.scores, about["experiments"], load_seed_paper(), paired=about["paired"])
        boxes.append({"name": study.name, "title": about["title"], "images": about["images"], "cases": found["cases"],
                      "text": finding(found)})
    return boxes

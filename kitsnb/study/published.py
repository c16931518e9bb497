"""Studies that are kept in the repository as data: ``paper/published/NAME/``, written by ``python -m kitsnb publish``.

``scores.csv`` has a row per run and case, ``cases.csv`` volumes (ml) and median HU of each case, ``study.json`` what is
known about the study and its commit, ``figures/`` what cannot be drawn from these; ``search.csv``, written by hand from
other builds, has the trials by which its settings were chosen.
"""

import fnmatch
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kitsnb.files import PUBLISHED, ROOT, Build, read_json, write_atomic, write_json
from kitsnb.messages import nearest, several
from kitsnb.study.agreement import agreement
from kitsnb.study.claims import load_seed_paper
from kitsnb.study.findings import report
from kitsnb.study.further import describe
from kitsnb.study.runs import PER_RUN, all_scores, compare_settings, load_runs

#: What is published of a case, by which another simulator or other labels are noticed: columns of notebook 01's table.
CASE_COLUMNS = ("kidney_ml", "tumour_ml", "kidney_hu", "tumour_hu", "role")
#: Figures that need more than scores: these are published as they are.
KEPT = ("losses01_error_paths", "losses02_gradient_shares", "fig01_clipping", "training", "patients", "slices_*")


@dataclass(frozen=True)
class Published:
    """A published study: ``about`` (study.json), tidy ``scores``, and ``cases`` by name."""

    name: str
    folder: Path
    about: dict
    scores: pd.DataFrame
    cases: pd.DataFrame


def names() -> list[str]:
    """List the published studies."""
    return sorted(path.parent.name for path in PUBLISHED.glob("*/study.json"))


def papers() -> list[str]:
    """List the published studies with all rows of the seed paper: each has a paper, which tells the others, too."""
    rows = {row["experiment"] for row in load_seed_paper()["table"]}
    found = []
    for name in names():
        if rows.issubset(row["name"] for row in read_about(name)["experiments"]):
            found.append(name)
    return found


def read_about(name: str) -> dict:
    """Read study.json of a study. Raises ValueError where it is damaged."""
    file = PUBLISHED / name / "study.json"
    about = read_json(file)
    if not about.get("experiments"):
        raise ValueError(f"{file} is damaged; take it back from the repository, or publish {name} again")
    return about


def read(name: str) -> Published:
    """Read a study. Raises ValueError where there is none."""
    if name not in names():
        raise ValueError(f"there is no published study {name!r}; {nearest(name, names())}")
    folder = PUBLISHED / name
    scores = pd.read_csv(folder / "scores.csv")
    return Published(name, folder, read_about(name), scores, read_cases(folder))


def read_cases(folder: Path) -> pd.DataFrame:
    """Read notebook 01's table of cases, by name."""
    return pd.read_csv(folder / "cases.csv", index_col="case")


def write(name: str, about: Mapping, scores: pd.DataFrame, cases: pd.DataFrame) -> Path:
    """Write a study; ``cases`` is notebook 01's table. Numbers keep six digits."""
    folder = PUBLISHED / name
    kept = cases.filter(CASE_COLUMNS)
    write_atomic(folder / "scores.csv", scores.to_csv(index=False, float_format="%.6g"))
    write_atomic(folder / "cases.csv", kept.to_csv(index_label="case", float_format="%.6g"))
    write_json(folder / "study.json", about)
    return folder


def publish(name: str, build: Build) -> Path:
    """Publish the finished study of ``build`` at the present commit. That it is up to date is the caller's to check.

    Of rows beside another study only its own are kept. Raises ValueError where files differ from the commit, those of
    published studies apart.
    """
    changed = git("status", "--porcelain", "--untracked-files=all", "--", ".", ":!paper/published").splitlines()
    if changed:
        raise ValueError(f"{name} is not published, as files are not committed: {several(changed)}")
    results = read_json(build.results)
    about = results["about"]
    if about["beside"]:
        theirs = [row["name"] for row in read(about["beside"]).about["experiments"]]
        about["experiments"] = [row for row in about["experiments"] if row["name"] not in theirs]
        about["trainings"] = [run for run in about["trainings"] if run["experiment"] not in theirs]
        about["seconds"] = sum(run["seconds"] for run in about["trainings"])
    about["commit"] = git("rev-parse", "HEAD").strip()
    about["settings"]["data"].pop("folder", None)  # says where on this machine, not what
    scores = all_scores(load_runs(build, about["experiments"], about["seeds"]))
    folder = write(name, about, scores, read_cases(build.data_analysis))
    shutil.rmtree(folder / "figures", ignore_errors=True)
    for pattern in KEPT if name in papers() else ():
        for figure in fnmatch.filter(results["figures"], pattern):  # others in the build are of former runs
            drawn = build.figures / f"{figure}.svg"
            write_atomic(folder / "figures" / drawn.name, drawn.read_bytes())
    return folder


def git(*arguments: str) -> str:
    """Return what git says of the repository. Raises ValueError with git's own words where it refuses."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"a published study names its commit, but git refuses {ROOT} and says:\n{done.stderr}")
    return done.stdout


def why_not_paired(study: Published, settings: Mapping, cases: pd.DataFrame | None = None,
                   apart_from: Sequence[str] = ()) -> list[str]:
    """Say why rows with these ``settings`` (by section) and ``cases`` cannot be paired with those of ``study``.

    ``apart_from`` names settings that may differ by design, such as training.network.normalization.
    """
    allowed = (*PER_RUN, "data.folder", *apart_from)  # a folder says where, not what
    reasons = compare_settings(study.about["settings"], settings, allowed)
    if cases is None:
        return reasons
    columns = study.cases.columns
    if "data.training" in apart_from:
        columns = columns.drop("role")
    try:
        pd.testing.assert_frame_equal(cases.filter(columns), study.cases[columns], check_dtype=False, check_like=True,
                                      rtol=1e-3)
    except AssertionError as error:
        said = " ".join(str(error).split())
        reasons.append(f"cases are not those of {study.name}: {said}")
    return reasons


def join(about: Mapping, scores: pd.DataFrame, cases: pd.DataFrame) -> tuple[Mapping, pd.DataFrame]:
    """Put the rows of the published study that ``about`` names in ``beside`` before a study's own, if it names one.

    Of its seeds, those that were trained here, too. Raises ValueError that names what differs, where the two cannot be
    paired (``why_not_paired``).
    """
    if not about["beside"]:
        return about, scores
    study = read(about["beside"])
    reasons = why_not_paired(study, about["settings"], cases, about["apart_from"])
    if reasons:
        raise ValueError(f"cannot be paired with the published study {study.name}: " + "; ".join(reasons))
    seeds = set(scores.seed)
    trained = [run for run in study.about["trainings"] if run["seed"] in seeds]
    joined = dict(about)
    joined["experiments"] = study.about["experiments"] + about["experiments"]
    joined["trainings"] = trained + about["trainings"]  # the paper says where they were not made alike
    joined["seconds"] = sum(run["seconds"] for run in joined["trainings"])
    return joined, pd.concat([study.scores[study.scores.seed.isin(seeds)], scores], ignore_index=True)


def further(study: Published) -> list[dict]:
    """Describe the published studies without a paper that scored the cases of ``study``."""
    told = []
    for other in map(read, sorted(set(names()) - set(papers()))):
        if set(other.scores.case) == set(study.scores.case):
            about, scores = join(other.about, other.scores, other.cases)
            told.append(describe(about, scores, own=set(other.scores.experiment)))
    return told


def foretell(study: Published, found: Mapping) -> list[dict]:
    """Compare ``study``, and what was ``found`` in it, with published ones of CT simulated around the same labels."""
    compared = []
    for other in map(read, names()):
        if other.name != study.name and other.about["settings"]["data"]["source"] == "hybrid":
            told = agreement(found, study.scores, report(other.about, other.scores), other.scores)
            if told:
                compared.append(told)
    return compared


def summarise_findings() -> list[dict]:
    """Name each published study with a paper, its data, and what it found, for the box in a build's paper."""
    boxes = []
    for study in map(read, papers()):
        found = report(study.about, study.scores)
        boxes.append({
            "name": study.name,
            "title": study.about["title"],
            "images": study.about["images"],
            "cases": found["cases"],
            "text": found["findings"][0],
        })
    return boxes

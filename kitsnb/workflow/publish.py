"""A finished study becomes data of the repository, and rows of a profile are paired with one that was published."""

import subprocess
from pathlib import Path

from kitsnb.files import PUBLISHED, ROOT, read_json
from kitsnb.receipts import differences
from kitsnb.study import published
from kitsnb.study.runs import all_scores, load_runs
from kitsnb.study.tables import software
from kitsnb.workflow.jobs import build_jobs
from kitsnb.workflow.profile import Profile

#: Sections of a profile that a study keeps; what says where, and not what, stays out.
SECTIONS = ("data", "simulation", "preprocessing", "training", "prediction")
OUT = {"data": {"folder"}, "training": {"loss", "loss_parameters", "seed"}}


def publish(profile: Profile) -> Path:
    """Write ``paper/published/NAME/`` from the runs of ``profile``; return the folder.

    Raises ValueError that names every job that is not up to date, and every file that differs from the commit.
    """
    if profile.beside:
        raise ValueError(f"{profile.name} has rows beside {profile.beside}, so its study is not its own; publish one "
                         "without `beside`")
    if found := [*unfinished(profile), *uncommitted()]:
        raise ValueError("\n  - ".join([f"{profile.name} is not published:", *found]))
    rows = [experiment.as_json() for experiment in profile.experiments]
    runs = load_runs(profile.build, rows, profile.seeds)
    info = {
        "title": profile.title, "description": profile.description, "simulated": profile.simulated,
        "experiments": rows, "settings": settings_of(profile),
        "deviations": [deviation.as_json() for deviation in profile.deviations],
        "hypotheses": read_json(profile.build.losses / "summary.json")["hypotheses"],
        "software": software(), "commit": git("rev-parse", "HEAD").strip(),
        "trainings": [published.cost_of(run) for run in runs],
    }
    return published.write(profile.name, all_scores(runs), published.cases_of(profile.build), info)


def settings_of(profile: Profile) -> dict:
    """Return the settings that all runs of a study share, by section."""
    return profile.model_dump(mode="json", include=set(SECTIONS), exclude=OUT)


def unfinished(profile: Profile) -> list[str]:
    """List the jobs of ``profile`` that a study stands on and that are not up to date, with the reason."""
    found = []
    for job in build_jobs(profile):
        if job.stage in ("data_analysis", "preprocessing", "losses", "training"):
            if reason := job.why():
                found.append(f"{job.title}: {reason}")
    return found


def uncommitted() -> list[str]:
    """List files that are not as the commit has them, those of published studies apart."""
    lines = git("status", "--porcelain", "--untracked-files=all").splitlines()
    return [f"{line[3:]}: not committed" for line in lines if not (ROOT / line[3:]).is_relative_to(PUBLISHED)]


def git(*arguments: str) -> str:
    """Return what git says of the repository. Raises ValueError with git's own words where it refuses."""
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError as error:
        raise ValueError("git is not installed; a published study names its commit") from error
    except subprocess.CalledProcessError as error:
        raise ValueError(f"git {arguments[0]} in {ROOT} says: {error.stderr.strip()}") from error


def why_not_beside(profile: Profile) -> list[str]:
    """List why rows of ``profile`` cannot be paired with the study that it names in ``beside``.

    Settings are known at once, cases once notebook 01 has written their table.
    """
    if profile.beside not in published.names():
        return [f"that study is not published yet: run {profile.beside}, then publish it"]
    study = published.read(profile.beside)
    found = []
    allowed = tuple(f"{name}." for name in profile.apart_from)
    for line in differences(study.info["settings"], settings_of(profile)):
        if not f"{line.split()[0]}.".startswith(allowed or ("\n",)):
            found.append(line)
    there = [row["name"] for row in study.rows]
    found += [f"{row.name} is a row there already; give it another name"
              for row in profile.experiments if row.name in there]
    if (profile.build.data_analysis / "cases.csv").is_file():
        found += published.cases_apart(study, published.cases_of(profile.build))
    return found

"""A finished study becomes data of the repository, and rows of a profile are paired with one that was published."""

import subprocess
from pathlib import Path

from kitsnb.files import PUBLISHED, ROOT, read_json
from kitsnb.study import front_page, published
from kitsnb.study.runs import COSTS, all_scores, load_runs, trainings
from kitsnb.study.tables import software
from kitsnb.workflow.jobs import NEEDS, build_jobs
from kitsnb.workflow.profile import Profile
from kitsnb.workflow.stamps import Digests, reason_to_run


def publish(profile: Profile) -> Path:
    """Write ``paper/published/<name>/`` from the runs of ``profile``; for the main study, the README's first screen.

    Raises ValueError that names every job that is not up to date, and every file that differs from the commit.
    """
    if profile.beside:
        raise ValueError(f"{profile.name} has rows beside {profile.beside}, so its study is not its own; publish one "
                         "without `beside`")
    if found := [*unfinished(profile), *uncommitted()]:
        raise ValueError(f"{profile.name} is not published:\n" + "\n".join(f"  {line}" for line in found))
    rows = [experiment.model_dump() for experiment in profile.experiments]
    runs = load_runs(profile.build, rows, profile.seeds, profile.folds)
    costs = ("experiment", "seed", "fold", "machine", "threads", *COSTS)
    info = {
        "title": profile.title, "simulated": profile.simulated, "deviations": profile.summary["deviations"],
        "experiments": rows,
        "settings": {key: value for key, value in published.settings_of(runs).items() if key not in published.PLACES},
        "data_analysis": {key: value
                          for key, value in profile.parameters["data_analysis"].items() if key not in published.PLACES},
        "hypotheses": read_json(profile.build.losses / "summary.json")["hypotheses"], "software": software(),
        "training_cases": min(run.info["training_cases"] for run in trainings(runs)),
        "commit": git("rev-parse", "HEAD").strip(), "seconds": sum(run.info["seconds"] for run in trainings(runs)),
        "trainings": [{key: run.info[key] for key in costs if run.info.get(key) is not None}
                      for run in trainings(runs)],
    }
    folder = published.write(profile.name, all_scores(runs), published.cases_of(profile.build), info)
    if profile.name == published.MAIN:
        front_page.write(published.read(profile.name))
    return folder


def unfinished(profile: Profile) -> list[str]:
    """The jobs of ``profile`` that a study stands on and that are not up to date, with the reason."""
    stamps, digests = profile.build.stamps, Digests(profile.build.stamps / "digests.json")
    jobs = [job for job in build_jobs(profile) if job.stage in NEEDS["results"]]
    return [f"{job.title}: {reason}" for job in jobs if (reason := reason_to_run(job, stamps, digests))]


def uncommitted() -> list[str]:
    """Files that are not as the commit has them, those of published studies apart."""
    lines = git("status", "--porcelain", "--untracked-files=all").splitlines()
    return [f"{line[3:]}: not committed" for line in lines if not (ROOT / line[3:]).is_relative_to(PUBLISHED)]


def git(*arguments: str) -> str:
    """What git says of the repository. Raises ValueError where there is none."""
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(f"{ROOT} is no git repository ({error}); a published study names its commit") from error


def why_not_beside(profile: Profile) -> list[str]:
    """Why rows of ``profile`` cannot be paired with the study that it names in ``beside``.

    Settings are known at once, cases once notebook 01 has written their table.
    """
    if profile.beside not in published.names():
        return [f"that study is not published yet: run {profile.beside}, then publish it"]
    study, given = published.read(profile.beside), profile.parameters
    theirs, known = study.info["settings"], given["training"] | {"folds": profile.folds}
    grid = {name: given["preprocessing"].get(name) for name in theirs["preprocessing"] or {}}
    settings = {name: known.get(name, value) for name, value in theirs.items()} | {"preprocessing": grid}
    found = published.settings_apart(study, settings, profile.apart_from)
    found += [f"{row.name} is a row there already; give it another name" for row in profile.experiments
              if row.name in [there["name"] for there in study.rows]]
    if (profile.build.data_analysis / "cases.csv").is_file():
        found += published.cases_apart(study, published.cases_of(profile.build))
    return found

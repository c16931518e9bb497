"""A finished study becomes data of the repository, and rows of a profile are paired with one that was published."""

from pathlib import Path

from kitsnb.messages import nearest
from kitsnb.study import published
from kitsnb.workflow.jobs import build_jobs
from kitsnb.workflow.profile import Profile


def publish(profile: Profile) -> Path:
    """Write ``paper/published/NAME/`` from the build of ``profile``; return the folder.

    Raises ValueError that names every job that is not up to date, or every file that differs from the commit.
    """
    found = []
    if "results" not in profile.stages:
        found.append("its stages do not hold results")
    for job in build_jobs(profile):
        reason = job.why()
        if reason and job.stage != "paper":
            found.append(f"{job.title}: {reason}")
    if found:
        raise ValueError("\n  - ".join([f"{profile.name} is not published:", *found]))
    return published.publish(profile.name, profile.build)


def why_not_beside(profile: Profile, cases: bool = False) -> list[str]:
    """List why rows of ``profile`` cannot be paired with the study that it names in ``beside``, if it names one.

    Settings are known at once; ``cases``: also those in the table of notebook 01, which is up to date by now.
    """
    if not profile.beside:
        return []
    if profile.beside not in published.names():
        return [f"that study is not published yet: run {profile.beside}, then publish it"]
    study = published.read(profile.beside)
    table = published.read_cases(profile.build.data_analysis) if cases else None
    # Sections that decide what runs compute; the painter shows in the cases themselves.
    settings = profile.model_dump(mode="json", include={"data", "preprocessing", "training", "prediction"})
    found = published.why_not_paired(study, settings, table, profile.apart_from)
    there = [row["name"] for row in study.about["experiments"]]
    both = [*there, *(row.name for row in profile.experiments)]
    for row in profile.experiments:
        if row.name in there:
            found.append(f"{row.name} is a row there already; give it another name")
        other = row.compared_with
        if other not in (None, *both):
            found.append(f"{row.name}: there is no row {other!r} to be compared with; {nearest(other, both)}")
    for seed in profile.seeds:
        if seed not in study.about["seeds"]:
            found.append(f"it has no seed {seed}; give some of {study.about['seeds']}")
    return found

"""Runs a profile: one job after the other, training runs beside each other, and only what is out of date."""

from kitsnb.data.checks import missing_cases
from kitsnb.files import locked, write_json
from kitsnb.workflow.execution import Execution, refuse
from kitsnb.workflow.launch import read_launch
from kitsnb.workflow.profile import Profile


def run_profile(profile: Profile, changes: dict | None = None, *, runs_at_a_time: int | None = None,
                launch: str | None = None, dry: bool = False) -> bool:
    """Bring all that ``profile`` makes up to date (``dry``: say what would run); tell whether nothing failed.

    Raises ValueError that says all that is lacking, and InUse where another process works on the build.
    """
    execution = Execution(profile, read_launch(launch), runs_at_a_time, dry)
    found = []
    if profile.beside:
        from kitsnb.workflow.publish import why_not_beside  # imports pandas

        found += why_not_beside(profile)
    if profile.data.source != "phantom":
        found += missing_cases(profile.data)
    refuse(found)
    if dry:
        return execution.run(changes or {})
    with locked(profile.build.folder, patience=0):
        write_json(profile.build.profile, profile.model_dump(mode="json"))
        return execution.run(changes or {})

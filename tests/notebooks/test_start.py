"""The page that `make lab` opens: what it says where nothing is built, and where something is."""

import re

import IPython.display
from helpers.smoke_at_hand import SMOKE

from kitsnb.files import NOTEBOOKS, write_atomic, write_json
from kitsnb.workflow.jobs import build_jobs
from kitsnb.workflow.profile import load

START = "00_start.py"


def said(builds, monkeypatch) -> str:
    """Run the notebook as a script, with the builds of a folder; return all that it shows."""
    shown = []
    monkeypatch.setattr(IPython.display, "display", lambda *objects: shown.extend(objects))
    text = (NOTEBOOKS / START).read_text("utf-8")
    text, count = re.subn(r'(?m)^builds = "build"', f"builds = {str(builds)!r}", text)
    assert count == 1
    exec(compile(text, START, "exec"), {})
    return "\n".join(one.data for one in shown)


def test_a_build_is_a_line_that_counts_its_own_jobs_alone_and_one_of_another_version_stops_no_other(
    tmp_path, monkeypatch
):
    """All but the last training is stamped, and a run that the build lacks."""
    profile = load(SMOKE, build=tmp_path / "smoke")
    write_json(profile.build.profile, profile.model_dump(mode="json"))
    jobs = build_jobs(profile)
    for job in jobs:
        write_json(job.stamp, {})
        write_atomic(job.output, "executed")
    [job for job in jobs if job.run][-1].stamp.unlink()
    write_json(profile.build.stamps / "training-old_row-seed0.json", {})
    write_json(tmp_path / "older" / "profile.json", {"title": "Older", "epochs": 3})
    text = said(tmp_path, monkeypatch)
    line = next(line for line in text.splitlines() if "**smoke**" in line)
    assert f"{len(jobs) - 1} of {len(jobs)}" in line and "Smoke profile" in line
    assert line.count("[04]") == 1 and "smoke/paper.pdf)" in line and "05_results.ipynb)" in line
    assert "| **older** | made by another version" in text

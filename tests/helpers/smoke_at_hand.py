"""The smoke profile, the command line on it, and copies of its finished build that tests may spoil."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from pypdf import PdfReader

from kitsnb.files import ROOT, digest

SMOKE = ROOT / "tests" / "helpers" / "smoke.yml"
CONTENT = yaml.safe_load(SMOKE.read_text())


def kitsnb(*arguments) -> subprocess.CompletedProcess:
    """``python -m kitsnb`` with ``arguments``; what it said is in ``stdout``."""
    command = [sys.executable, "-m", "kitsnb", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900)


def write_profile(path: Path, **changes) -> Path:
    """The smoke profile with ``changes`` as a file."""
    path.write_text(yaml.safe_dump(CONTENT | changes))
    return path


def copy_build(build: Path, copy: Path) -> Path:
    """A copy of a finished build in which all is up to date: what names the build names the copy, digests included."""
    shutil.copytree(build, copy)
    (copy / "stamps" / "digests.json").unlink()
    report = copy / "preprocessed" / "report.json"
    changes = {digest(report): None, str(build): str(copy)}
    report.write_text(report.read_text().replace(str(build), str(copy)))
    changes[next(iter(changes))] = digest(report)
    for path in (copy / "profile.json", *copy.glob("stamps/*.json"), *copy.rglob(".made_from.json")):
        text = path.read_text()
        for old, new in changes.items():
            text = text.replace(old, new)
        path.write_text(text)
    return copy


def pages(pdf: Path) -> str:
    """The text of a paper, its lines joined."""
    return re.sub(r"\s+", " ", " ".join(page.extract_text() for page in PdfReader(pdf).pages))


def finished(said: str) -> set[str]:
    """Titles of the jobs that were executed, of what the runner said."""
    return set(re.findall(r"^(.*): done in", said, re.MULTILINE))

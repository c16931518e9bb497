"""The smoke profile, the command line on it, and copies of its finished build that tests may spoil."""

import re
import subprocess
import sys
from pathlib import Path

import yaml
from pypdf import PdfReader

from kitsnb.files import ROOT

SMOKE = ROOT / "tests" / "helpers" / "smoke.yml"
CONTENT = yaml.safe_load(SMOKE.read_text("utf-8"))


def kitsnb(*arguments) -> subprocess.CompletedProcess:
    """Run ``python -m kitsnb`` with ``arguments``; what it said is in ``stdout``."""
    command = [sys.executable, "-m", "kitsnb", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900)


def write_profile(path: Path, **changes) -> Path:
    """Write the smoke profile with ``changes`` as a file."""
    path.write_text(yaml.safe_dump(CONTENT | changes), encoding="utf-8")
    return path


def pages(pdf: Path) -> str:
    """Return the text of a paper, its lines joined."""
    return re.sub(r"\s+", " ", " ".join(page.extract_text() for page in PdfReader(pdf).pages))


def finished(said: str) -> set[str]:
    """Return the titles of the jobs that were executed, of what the runner said."""
    return set(re.findall(r"^(.*): done in", said, re.MULTILINE))

"""A whole run of the smoke profile, which the tests of this folder share."""

import subprocess
import sys
from pathlib import Path

import pytest

from kitsnb.files import ROOT

SMOKE = ROOT / "tests" / "helpers" / "smoke.yml"


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> Path:
    """The build folder of a whole run of the smoke profile."""
    folder = tmp_path_factory.mktemp("smoke")
    command = [sys.executable, "-m", "kitsnb", "run", str(SMOKE), "--build", str(folder)]
    done = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900)
    assert done.returncode == 0, done.stdout
    return folder

"""What a user does with a finished build: nothing, one change, a loss of one's own."""

import re
import time

import yaml
from helpers.smoke_at_hand import CONTENT, SMOKE, finished, kitsnb, pages, write_profile

from kitsnb.files import ROOT, read_json


def test_again_runs_nothing_and_one_change_runs_only_what_follows(build, tmp_path):
    started = time.monotonic()
    again = kitsnb("run", SMOKE, "--build", build)
    assert again.returncode == 0 and "up to date" in again.stdout and not finished(again.stdout), again.stdout
    assert time.monotonic() - started < 60

    changed = [row | {"parameters": {"exponent": 2.0}} if row["name"] == "focal_tversky" else row for row in CONTENT["experiments"]]
    profile = write_profile(tmp_path / "smoke.yml", experiments=changed)
    why = kitsnb("run", profile, "--build", build, "--why").stdout
    lines = {line.split(": ")[0]: line for line in why.splitlines() if ": " in line}
    assert "loss_parameters changed" in lines["training focal_tversky seed 0"]
    assert "up to date" in lines["training dice seed 0"] and "up to date" in lines["preprocessing"]
    done = kitsnb("run", profile, "--build", build)
    assert done.returncode == 0, done.stdout
    assert finished(done.stdout) == {"losses", "training focal_tversky seed 0", "results", "paper"}
    assert list((build / "runs" / "archive").glob("focal_tversky-seed0-*")), "the former run is kept"


def test_own_loss_as_the_readme_says_adds_a_row(build, tmp_path):
    readme = (ROOT / "README.md").read_text()
    code = re.search(r"```python title my_loss.py\n(.*?)```", readme, re.S)[1]
    entry = yaml.safe_load(re.search(r"```yaml title[^\n]*\n(.*?)```", readme, re.S)[1])
    entry = entry["experiments"] if isinstance(entry, dict) else entry
    assert len([line for line in code[code.index("def "):].splitlines() if line.strip()]) <= 10
    file = tmp_path / "my_loss.py"
    file.write_text(code)
    entry[0]["loss"] = str(file) + ":" + entry[0]["loss"].rpartition(":")[2]
    profile = write_profile(tmp_path / "own.yml", experiments=CONTENT["experiments"] + entry)
    done = kitsnb("run", profile, "--build", build)
    assert done.returncode == 0, done.stdout
    table = read_json(build / "results.json")["here"]["table"]
    assert len(table) == len(CONTENT["experiments"]) + 1 and table[-1]["experiment"] == entry[0]["name"]
    assert table[-1]["scores"]["kidney"]["mean"] is not None
    assert entry[0]["title"] in pages(build / "paper.pdf")

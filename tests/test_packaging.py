"""One truth for dependencies: pyproject.toml, the lock, environment.yml, the Makefile and the README agree."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import kitsnb
from kitsnb.files import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text().splitlines()
#: What PyTorch's CUDA builds bring along, each build its own: the lock serves the CPU build as well.
CUDA = re.compile(r"(nvidia|cuda|triton)\b")


def requirements(*extras: str) -> list[Requirement]:
    chosen = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] for extra in extras)]
    return [Requirement(line) for lines in chosen for line in lines]


def locked() -> dict[str, Version]:
    return {canonicalize_name(name): Version(version) for name, version in (line.split("==") for line in LOCK)}


def test_lock_names_all_that_is_needed():
    """From the requirements down to theirs, as the installed packages state them; without CUDA, for every build."""
    wrong = [line for line in LOCK if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line) or CUDA.match(line)]
    assert not wrong
    waiting, seen = [(requirement, "kitsnb") for requirement in requirements("paper", "test")], {}
    while waiting:
        requirement, parent = waiting.pop()
        name = canonicalize_name(requirement.name)
        extras = requirement.extras | {""}
        if extras <= seen.get(name, set()) or CUDA.match(name):
            continue
        seen[name] = seen.get(name, set()) | extras
        assert name in locked(), f"{parent} needs {name}, which requirements.lock lacks; run `make lock`"
        assert locked()[name] in requirement.specifier, f"{parent} needs {requirement}; run `make lock`"
        for line in importlib.metadata.requires(name) or []:
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append((needed, name))


def test_every_import_is_declared():
    declared = {canonicalize_name(requirement.name) for requirement in requirements("paper", "test")}
    providers = importlib.metadata.packages_distributions()
    own = {"kitsnb", *(path.stem for folder in ("notebooks", "tests", "tests/helpers") for path in (ROOT / folder).iterdir())}
    wrong = []
    for path in [file for folder in ("kitsnb", "notebooks", "tests") for file in (ROOT / folder).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for module in {name.partition(".")[0] for name in names} - own - sys.stdlib_module_names:
                if not declared & {canonicalize_name(name) for name in providers.get(module, [])}:
                    wrong.append(f"{path.relative_to(ROOT)} imports {module}, which pyproject.toml does not declare")
    assert not wrong


def test_conda_environment_and_citation_agree():
    """conda itself is not asked: its solve is not tested."""
    python, _, pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert Requirement(python).specifier == SpecifierSet(PROJECT["requires-python"])
    assert pip == {"pip": ["-r requirements.lock", "-e .[paper,test]"]}
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert PROJECT["version"] == kitsnb.__version__ == str(citation["version"])
    assert PROJECT["license"] in citation["license"]


NASTY = """my profiles/it's "mine"; touch owned $(touch owned) !cat.yml"""
LAUNCH = """srun --comment 'a "b" c' ; touch owned"""
#: In place of Python: it notes its arguments and settings.
RECORDER = """#!/bin/sh
printf '%s|' "$@" "$LAUNCH" "$KITSNB_DATA" >>calls
echo >>calls
exit ${STATUS:-0}
"""


@pytest.mark.parametrize(("profile", "data", "status", "runs"), [
    ("quick", "", 0, ["quick"]), ("quick", "/kits 19", 1, ["labels", "quick"]), ("labels", "/kits19", 0, ["labels"]),
    (NASTY, "", 0, [NASTY]),
])
def test_make_runs_the_labels_first_and_nothing_that_a_person_sets_goes_through_a_shell(
    tmp_path, profile, data, status, runs
):
    """The profile runs whatever became of the labels."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(RECORDER)
    python.chmod(0o755)
    given = {"PROFILE": profile.replace("$", "$$"), "LAUNCH": LAUNCH, "KITSNB_DATA": data, "STATUS": status}
    command = ["make", "--assume-old=.venv/.installed", *(f"{key}={value}" for key, value in given.items())]
    subprocess.run(command, cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True)
    calls = [line.split("|")[:6] for line in (tmp_path / "calls").read_text().splitlines()]
    assert calls == [["-m", "kitsnb", "run", name, LAUNCH, data] for name in runs]
    assert not (tmp_path / "owned").exists()


def test_readme_names_what_exists():
    readme = (ROOT / "README.md").read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)", readme) if "://" not in link]
    assert links and not [link for link in links if not (ROOT / link).exists()]
    targets = re.findall(r"`make ([a-z]+)", readme)
    assert set(targets) <= set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert all(re.search(rf"^{command} +#", readme, re.MULTILINE) for command in ("make", "make test"))

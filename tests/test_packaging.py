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


def test_lock_holds_plain_names_and_versions_for_every_build_of_torch():
    wrong = [line for line in LOCK if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line) or CUDA.match(line)]
    assert not wrong and len(locked()) == len(LOCK) and "torch" in locked()


def test_lock_names_all_that_is_needed():
    """From the requirements down to theirs, as the installed packages state them."""
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
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, installer, pip = environment["dependencies"]
    assert environment["name"] == PROJECT["name"] and environment["channels"] == ["conda-forge"]
    assert Requirement(python).specifier == SpecifierSet(PROJECT["requires-python"]) and installer == "pip"
    assert pip == {"pip": ["-r requirements.lock", "-e .[paper,test]"]}
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert PROJECT["version"] == kitsnb.__version__ == str(citation["version"])
    assert PROJECT["license"] in citation["license"]


def test_menu_names_every_target():
    """The install is taken as done; nothing of a ``make test`` around it is handed on."""
    environment = {name: os.environ[name] for name in os.environ.keys() - {"MAKEFLAGS", "MAKELEVEL", "PROFILE"}}
    command = ["make", "--assume-old=.venv/.installed", "help"]
    said = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout
    targets = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert re.findall(r"^  ([a-z]+) ", said, re.MULTILINE) == targets


NASTY = """my profiles/it's "mine"; touch owned $(touch owned) !cat.yml"""


@pytest.fixture
def recorded(tmp_path):
    """A copy of the Makefile whose .venv/bin/python only records its arguments and settings."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("""#!/bin/sh
printf '%s|' "$@" "$LAUNCH" "$KITSNB_DATA" >>calls
echo >>calls
exit ${STATUS:-0}
""")
    python.chmod(0o755)

    def run(target: str, **settings) -> list[list[str]]:
        (tmp_path / "calls").unlink(missing_ok=True)
        environment = {"PATH": os.environ["PATH"], "STATUS": settings.pop("STATUS", "0")}
        command = ["make", "--assume-old=.venv/.installed", target, *[f"{key}={value}" for key, value in settings.items()]]
        subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert not (tmp_path / "owned").exists()
        return [line.split("|") for line in (tmp_path / "calls").read_text().splitlines()]

    return run


@pytest.mark.parametrize(("settings", "profiles"), [
    ({}, ["quick"]), ({"KITSNB_DATA": "/kits19"}, ["labels", "quick"]),
    ({"KITSNB_DATA": "/kits19", "STATUS": "1"}, ["labels", "quick"]),
    ({"KITSNB_DATA": "/kits19", "PROFILE": "labels"}, ["labels"]),
])
def test_make_runs_the_labels_first_and_then_whatever_became_of_them_the_profile(recorded, settings, profiles):
    assert [call[:4] for call in recorded("paper", **settings)] == [["-m", "kitsnb", "run", name] for name in profiles]


def test_nothing_that_a_person_sets_goes_through_a_shell(recorded):
    name = NASTY.replace("$", "$$")  # as make wants it
    launch = """srun --comment 'a "b" c' ; touch owned"""
    (call,) = recorded("paper", PROFILE=name, LAUNCH=launch)
    assert call[3:5] == [NASTY, launch]
    assert recorded("paper", KITSNB_DATA="/with blanks/kits 19")[0][5] == "/with blanks/kits 19"
    (call,) = recorded("site", PROFILE="")
    assert call[:4] == ["-m", "kitsnb", "site", ""]


def test_readme_names_what_exists():
    readme = (ROOT / "README.md").read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)", readme) if "://" not in link]
    assert links and not [link for link in links if not (ROOT / link).exists()]
    targets = re.findall(r"`make ([a-z]+)", readme)
    assert set(targets) <= set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert all(re.search(rf"^{command} +#", readme, re.MULTILINE) for command in ("make", "make test"))


def test_no_notebook_with_output_is_committed():
    listed = subprocess.run(["git", "ls-files", "*.ipynb"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no git checkout")
    assert not listed.stdout

"""A profile's file: found by its name, read strictly, laid over what it extends, with what is changed for one time."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from kitsnb.files import NOTEBOOKS
from kitsnb.messages import nearest


class ProfileError(ValueError):
    """Everything that is wrong with a profile: ``problems`` holds one line each."""

    def __init__(self, path: Path | str, problems: list[str]):
        self.problems = list(dict.fromkeys(problems))
        super().__init__("\n  - ".join([f"{path} cannot be used:", *self.problems]))

    def _render_traceback_(self) -> list[str]:
        """Show the message alone in a notebook."""
        return [str(self)]


def find(profile: str | Path) -> Path:
    """Return the file that ``profile`` is, or that has this name among the profiles that are shipped."""
    path = Path(profile)
    is_name = path.parent == Path(".") and not path.is_file()
    return NOTEBOOKS / "profiles" / f"{path.name.removesuffix('.yml')}.yml" if is_name else path


class _StrictLoader(yaml.SafeLoader):
    """YAML that refuses a key given twice (PyYAML keeps the last) and reads 1e-4 as the number it is."""

    def construct_mapping(self, node, deep=False):
        keys = [str(key.value) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.MarkedYAMLError(problem=f"key {key!r} is given twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))


def parse(text: str, source: Path | str) -> Any:
    """Return what YAML ``text`` from ``source`` says. Raises ``ProfileError``."""
    try:
        return yaml.load(text, _StrictLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ProfileError(source, [f"is no valid YAML: {error}"]) from error


def read(path: Path) -> dict:
    """Return what a profile's file says, over what those say that it ``extends``. Raises ``ProfileError``."""
    content = _read_one(path)
    files = [path]
    while "extends" in content:
        path = path.parent / str(content.pop("extends"))
        if path in files:
            raise ProfileError(path, ["extends itself"])
        files.append(path)
        content = merged(_read_one(path), content)
    return content


def _read_one(path: Path) -> dict:
    try:
        content = parse(path.read_text("utf-8-sig"), path)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", error)
        known = sorted(file.stem for file in path.parent.glob("*.yml"))
        raise ProfileError(path, [f"cannot be read ({why}); {nearest(path.stem, known)}"]) from error
    if not isinstance(content, dict):
        raise ProfileError(path, ["holds no keys; a profile is a YAML mapping"])
    return content


def merged(below: Mapping, above: Mapping) -> dict:
    """Lay ``above`` over ``below``, mapping by mapping; lists are replaced, and an empty mapping empties."""
    both = dict(below)
    for key, value in above.items():
        inner = below.get(key)
        both[key] = merged(inner, value) if value and isinstance(value, dict) and isinstance(inner, dict) else value
    return both


def parse_changes(texts: list[str]) -> dict[str, object]:
    """Return {"training.epochs": 3} of ["training.epochs=3"]; values are YAML. Raises ``ProfileError``."""
    changes = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ProfileError(f"-p {text}", ["must read name=value, as in training.epochs=3"])
        changes[name] = parse(value, f"-p {text}")
    return changes


def with_changes(content: Mapping, changes: Mapping[str, object]) -> dict:
    """Return ``content`` with what ``changes`` says, such as {"training.epochs": 3}."""
    changed = dict(content)
    for name, value in changes.items():
        for key in reversed(name.split(".")):
            value = {key: value}
        changed = merged(changed, value)
    return changed


def expand(value: object) -> object:
    """Replace "$NAME" and "${NAME}" in the texts of ``value`` from the environment; a name that is not set stays."""
    if isinstance(value, dict):
        return {key: expand(item) for key, item in value.items()}
    if isinstance(value, list):
        return [expand(item) for item in value]
    if not isinstance(value, str):
        return value
    return re.sub(r"\$\{?(\w+)\}?", lambda name: os.environ.get(name[1]) or name[0], value)

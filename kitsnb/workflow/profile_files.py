"""A profile's file: found by its name, read strictly, laid over what it extends, with what is changed for one time."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from kitsnb.files import NOTEBOOKS
from kitsnb.messages import nearest


class ProfileError(ValueError):
    """Everything that is wrong with a profile: ``problems`` holds one line each."""

    def __init__(self, path: Path | str, problems: list[str]):
        self.path = path
        self.problems = list(dict.fromkeys(problems))
        super().__init__("\n  - ".join([f"{path} cannot be used:", *self.problems]))

    def _render_traceback_(self) -> list[str]:
        """Show the message alone in a notebook."""
        return [str(self)]


def find(profile: str | Path) -> Path:
    """Return the file that ``profile`` is, or that has this name among the profiles that are shipped."""
    path = Path(profile)
    is_name = path.parent == Path(".") and not path.is_file()
    return NOTEBOOKS / "profiles" / f"{path.stem}.yml" if is_name else path


class _StrictLoader(yaml.SafeLoader):
    """YAML that refuses a key given twice (PyYAML keeps the last) and reads 1e-4 as the number it is."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                fault = f"key {key.value!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, fault, key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))


def read(path: Path, children: tuple[Path, ...] = ()) -> dict:
    """Return what a profile's file says, over what those say that it ``extends``. Raises ``ProfileError``."""
    try:
        content = yaml.load(path.read_text("utf-8-sig"), _StrictLoader)
    except OSError as error:
        if not NOTEBOOKS.is_dir():
            raise ProfileError(path, [f"{NOTEBOOKS} is not there: profiles and notebooks are in kitsnb's repository; "
                                      "work in a checkout of it"]) from error
        known = sorted(file.stem for file in path.parent.glob("*.yml"))
        raise ProfileError(path, [f"cannot be read ({error.strerror}); {nearest(path.stem, known)}"]) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ProfileError(path, [f"is no valid YAML in UTF-8: {error}"]) from error
    if not isinstance(content, dict):
        raise ProfileError(path, ["holds no keys; a profile is a YAML mapping"])
    parent = content.pop("extends", None)
    if parent is None:
        return content
    if not isinstance(parent, str) or path.parent / parent in (*children, path):
        raise ProfileError(path, [f"extends: must name another profile's file beside this one, not {parent!r}"])
    return merged(read(path.parent / parent, (*children, path)), content)


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
        try:
            changes[name] = yaml.load(value, _StrictLoader)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ProfileError(f"-p {text}", [str(error)]) from error
    return changes


def with_changes(content: Mapping, changes: Mapping[str, object]) -> dict:
    """Return ``content`` with what ``changes`` says, such as {"training.epochs": 3}."""
    changed = dict(content)
    for name, value in changes.items():
        for key in reversed(name.split(".")):
            value = {key: value}
        changed = merged(changed, value)
    return changed


def expand(value: object, unset: set[str]) -> object:
    """Replace "$NAME" and "${NAME}" in the texts of ``value`` from the environment; missing names go to ``unset``."""
    if isinstance(value, dict):
        return {key: expand(item, unset) for key, item in value.items()}
    if isinstance(value, list):
        return [expand(item, unset) for item in value]
    if not isinstance(value, str):
        return value
    for name in re.findall(r"\$\{?(\w+)", value):
        if not os.environ.get(name):
            unset.add(name)
            return value
    return os.path.expandvars(value)

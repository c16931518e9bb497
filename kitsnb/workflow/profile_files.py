"""A profile's file: found by its name, read strictly, laid over what it extends, with what the command line changes."""

import os
import re
from pathlib import Path

import yaml

from kitsnb.files import NOTEBOOKS
from kitsnb.messages import nearest


class ProfileError(ValueError):
    """Everything that is wrong with a profile: ``problems`` holds one line each."""

    def __init__(self, path: Path | str, problems: list[str]):
        self.path, self.problems = path, list(dict.fromkeys(problems))
        count = f"{len(self.problems)} problem" + "s" * (len(self.problems) > 1)
        super().__init__("\n".join([f"{path}: {count}", *(f"  - {line}" for line in self.problems)]))


def find(path: str | Path) -> Path:
    """The file that ``path`` is, or that has this name among the profiles that are shipped."""
    path = Path(path)
    return path if path.is_file() or path.parent != Path(".") else NOTEBOOKS / "profiles" / f"{path.stem}.yml"


class _StrictLoader(yaml.SafeLoader):
    """YAML that refuses a key given twice (PyYAML keeps the last) and reads 1e-4 as the number it is."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value in seen:
                twice = isinstance(key, yaml.ScalarNode)
                fault = f"key {key.value!r} is given twice" if twice else "a key must be one word"
                raise yaml.constructor.ConstructorError(None, None, fault, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))


def read(path: Path, children: tuple[Path, ...] = ()) -> dict:
    """What a profile's file says, over what those say that it ``extends``. Raises ``ProfileError``."""
    try:
        content = yaml.load(path.read_text("utf-8-sig"), _StrictLoader)
    except OSError as error:
        known = sorted(file.stem for file in path.parent.glob("*.yml"))
        raise ProfileError(path, [f"cannot be read ({error.strerror}); {nearest(path.stem, known)}"]) from error
    except UnicodeDecodeError as error:
        raise ProfileError(path, ["is no UTF-8 text; save it as such"]) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ProfileError(path, [f"is no valid YAML: {error}"]) from error
    if not isinstance(content, dict):
        raise ProfileError(path, ["holds no keys; a profile is a YAML mapping"])
    parent = content.pop("extends", None)
    if parent is None:
        return content
    if not isinstance(parent, str) or (above := path.parent / parent) in (*children, path):
        raise ProfileError(path, [f"extends: must name another profile's file beside this one, not {parent!r}"])
    return merged(read(above, (*children, path)), content)


def merged(below: dict, above: dict) -> dict:
    """``below`` with the values of ``above``, mapping by mapping; lists are replaced."""
    both = {key: merged(below[key], value) for key, value in above.items()
            if isinstance(value, dict) and isinstance(below.get(key), dict)}
    return below | above | both


def override(text: str) -> dict:
    """{"training": {"epochs": 3}} of "training.epochs=3". Raises ``ProfileError``."""
    target, equals, value = text.partition("=")
    try:
        if not equals or "." not in target:
            raise ValueError("must read section.name=value")
        content = yaml.load(value, _StrictLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ProfileError(f"-p {text}", [str(error)]) from error
    for key in reversed(target.split(".")):
        content = {key: content}
    return content


def expand(value: object, unset: set[str]) -> object:
    """``value`` with "$NAME" and "${NAME}" in its texts replaced from the environment; notes missing names."""
    if isinstance(value, dict):
        return {key: item if key == "title" else expand(item, unset) for key, item in value.items()}
    if isinstance(value, list):
        return [expand(item, unset) for item in value]
    if not isinstance(value, str):
        return value
    unset |= {name for name in re.findall(r"\$\{?(\w+)", value) if name not in os.environ}
    return os.path.expandvars(value)

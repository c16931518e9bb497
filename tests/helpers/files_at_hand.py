"""A JSON file, changed in place."""

import json
from collections.abc import Callable
from pathlib import Path


def rewrite(path: Path, change: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))

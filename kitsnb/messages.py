"""Words for the reader of a terminal: what prints them, a bar for what takes long, the nearest valid name."""

import difflib
import json
import math
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")
#: Names, in the environment, the file in which a step that no terminal shows says how far it is.
PROGRESS = "KITSNB_PROGRESS"
#: Held by the step whose bar is shown; the steps within it show none.
_shown = threading.Lock()


def console(**settings):
    """The rich console that prints everything: no path or message that others wrote is taken for markup.

    Our own words are coloured by ``style=`` or by rich's ``Text``. Long lines are left to the terminal.
    """
    from rich.console import Console

    return Console(**{"soft_wrap": True, "highlight": False, "markup": False, "emoji": False} | settings)


def progress(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """``items`` one after the other, with a bar called ``what`` on a terminal, which goes when all are done.

    Elsewhere nothing is printed; a file that ``PROGRESS`` names in the environment says what is done.
    """
    screen, file = console(), os.environ.get(PROGRESS)
    if not (screen.is_terminal or file) or not _shown.acquire(blocking=False):
        yield from items
        return
    try:
        if screen.is_terminal:
            from rich.progress import track

            yield from track(items, what, total, console=screen, transient=True)
            return
        total = len(items) if total is None and hasattr(items, "__len__") else total
        for done, item in enumerate(items, 1):
            yield item
            Path(file).write_text(json.dumps({"description": what, "completed": done, "total": total}))
    finally:
        _shown.release()


def nearest(name: object, valid: Iterable[str]) -> str:
    """End of an error message about an unknown name: the nearest valid one, or all where none is near."""
    valid = list(map(str, valid))
    close = difflib.get_close_matches(str(name), valid, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"valid are: {', '.join(valid)}" if valid else "none is allowed here"


def several(names: list[str]) -> str:
    """The first of ``names``, and how many more there are."""
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def duration(seconds: float | None) -> str:
    """``seconds``, rounded up, as h:mm:ss or m:ss; "" for None, which is unknown."""
    if seconds is None:
        return ""
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

"""Words for the reader of a terminal: what prints them, a bar for what takes long, the nearest valid name."""

import difflib
import math
import os
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def console(**settings):
    """Return the rich console that prints everything, as it is: no path or message is taken for markup."""
    from rich.console import Console

    return Console(**{"soft_wrap": True, "highlight": False, "markup": False, "emoji": False} | settings)


def progress(items: Iterable[Item], what: str) -> Iterator[Item]:
    """Yield ``items`` one after the other, with a bar called ``what`` on a terminal; elsewhere nothing is printed."""
    from rich.progress import track

    screen = console()
    yield from track(items, what, console=screen, transient=True, disable=not screen.is_terminal)


def nearest(name: object, valid: Iterable[str]) -> str:
    """Return the end of an error message on an unknown name: the nearest valid one, or all where none is near."""
    names = [str(one) for one in valid]
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"valid are: {', '.join(names)}" if names else "there is none"


def several(names: list[str]) -> str:
    """Return the first of ``names``, and how many more there are; "" where there are none."""
    return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else "".join(names)


def duration(seconds: float | None) -> str:
    """Return ``seconds``, rounded up, as h:mm:ss or m:ss; "" for None, which is unknown."""
    if seconds is None:
        return ""
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def threads_of_environment() -> int | None:
    """Return the threads that OMP_NUM_THREADS asks for, of "3,1" the first; None if none."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    threads = int(asked) if asked.isdecimal() else 0
    return threads or None

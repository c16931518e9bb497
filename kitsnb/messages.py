"""Words for the reader of a terminal: what prints them, the nearest valid name, and how long something takes."""

import difflib
import math
from collections.abc import Iterable


def console(**settings):
    """The rich console that prints everything: square brackets and colons are text as it stands, in tables too.

    So no path or message that others wrote is taken for markup; our own words are coloured by ``style=`` or by rich's
    ``Text``. Long lines are left to the terminal.
    """
    from rich.console import Console

    return Console(**{"soft_wrap": True, "highlight": False, "markup": False, "emoji": False} | settings)


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

"""Words for the reader of a terminal: the nearest valid name, and how long something takes."""

import difflib
import math
from collections.abc import Iterable


def nearest(name: str, valid: Iterable[str]) -> str:
    """End of an error message about an unknown name: the nearest valid one, or all where none is near."""
    valid = list(valid)
    close = difflib.get_close_matches(str(name), valid, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"valid are: {', '.join(valid)}" if valid else "none is allowed here"


def duration(seconds: float) -> str:
    """``seconds`` as h:mm:ss or m:ss."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

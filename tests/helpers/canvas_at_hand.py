"""What a reader sees on a canvas, as pixels."""

import io
import time

import numpy as np
import pytest
from matplotlib.image import imread

SECONDS = 60


def picture(canvas) -> np.ndarray:
    """The canvas (a locator of playwright) as it stands on the screen, [height, width, 3], 0 to 1."""
    return imread(io.BytesIO(canvas.screenshot(animations="disabled")))[..., :3]


def settled(canvas, before: np.ndarray | None = None) -> np.ndarray:
    """The picture of ``canvas`` once it no longer changes, is not empty, and is another than ``before``."""
    deadline, last = time.monotonic() + SECONDS, picture(canvas)
    while time.monotonic() < deadline:
        now = picture(canvas)
        changed = before is None or now.shape != before.shape or (np.abs(now - before).max(-1) > 0.1).mean() > 0.002
        if np.array_equal(now, last) and now.std() > 0.05 and changed:
            return now
        last = now
    pytest.fail(f"the canvas {'is empty or restless' if before is None else 'has not changed'} after {SECONDS} s")

"""Show below some widgets what follows from the choice in them, or say why it cannot be shown.

``ipywidgets.interact`` captures what is displayed by messages to the kernel, during which whoever executes a notebook
without a browser can miss that a cell has ended, and wait for ever. Nothing is captured here.
"""

from collections.abc import Callable
from html import escape
from io import BytesIO

import ipywidgets as widgets
from matplotlib.figure import Figure


def follow(show: Callable[..., None], below: widgets.Widget, **choices: widgets.Widget) -> widgets.VBox:
    """Call ``show`` with the values of ``choices``, now and whenever one changes; ``below`` is what it changes."""
    trouble = widgets.HTML()

    def update(_=None) -> None:
        trouble.value = ""
        try:
            show(**{name: choice.value for name, choice in choices.items()})
        except Exception as error:  # whatever it is, it would be shown nowhere else
            trouble.value = escape(f"{type(error).__name__}: {error}")

    for name, choice in choices.items():
        choice.description = name
        choice.observe(update, "value")
    update()
    return widgets.VBox([*choices.values(), trouble, below])


def as_png(figure: Figure) -> bytes:
    """Draw ``figure`` for a widget that shows a picture."""
    file = BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()

"""Tables as notebooks show them: text on the left, no index, and one small table at the end."""

from collections.abc import Sequence

import pandas as pd
from pandas.io.formats.style import Styler

LEFT = {"selector": "th, td", "props": "text-align: left !important; vertical-align: top; padding-right: 1em"}


def shown(table: pd.DataFrame, digits: int = 2) -> Styler:
    """Show ``table`` without its index, numbers with ``digits`` after the point, and a dash for what is undefined."""
    return table.style.hide().format(precision=digits, na_rep="–").set_table_styles([LEFT])


def what_we_saw(rows: Sequence[tuple[str, str | int, str]]) -> Styler:
    """Close a notebook: ``rows`` of measure, value and unit."""
    return shown(pd.DataFrame(rows, columns=["measure", "value", "unit"]))

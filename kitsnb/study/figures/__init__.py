"""Figures of the paper and the notebooks: one function a figure, one style.

Every function returns a matplotlib ``Figure`` and writes nothing; ``save`` writes the SVG that the paper includes.
"""

from pathlib import Path

import matplotlib as mpl
import seaborn as sns
from matplotlib.figure import Figure

#: Widths of one and of two columns of the paper, in inches.
COLUMN, PAGE = 3.4, 7.0
#: One colour a class, readable for colour-blind eyes, used in every figure.
COLOURS = {
    "background": "#7f7f7f",
    "kidney": "#0173b2",
    "tumour": "#d55e00",
    "kidney_and_tumour": "#029e73",
    "composite": "#6a51a3",
}
#: What a score or class is called in text.
NAMES = {
    "background": "background",
    "kidney": "kidney",
    "tumour": "tumour",
    "kidney_and_tumour": "kidney and tumour",
    "composite": "composite",
}


def use_style() -> None:
    """Set the style of all figures. Equal figures give equal bytes."""
    sns.set_theme(context="paper", style="ticks", palette="colorblind", font_scale=0.85)
    mpl.rcParams.update(
        {
            "figure.dpi": 110,
            "figure.constrained_layout.use": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "font.family": "DejaVu Sans",
            "svg.fonttype": "path",
            "svg.hashsalt": "kitsnb",
        }
    )


def save(figure: Figure, path: Path) -> Path:
    """Write ``figure`` as SVG, without a date, so that equal figures are equal files."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None}, dpi=200)
    return path

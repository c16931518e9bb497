"""The paper of a published study, from the data in the repository: no training, no CT, in seconds."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from kitsnb.files import write_json
from kitsnb.study import published
from kitsnb.study.figures import save, use_style
from kitsnb.study.findings import report
from kitsnb.study.paper import compile_paper
from kitsnb.study.plots import draw


def write_article(name: str) -> Path:
    """Write paper.pdf and the central figure, rows.svg, into the folder of the published study; return the paper.

    Figures are drawn again from its scores; those that need CT are there where its folder holds them.
    """
    study = published.read(name)
    use_style()
    with TemporaryDirectory() as folder:
        figures = Path(folder)
        for path in (study.folder / "figures").glob("*.svg"):
            shutil.copy(path, figures)
        results = report(study.about, study.scores)
        for file, figure in draw(results, study.scores).items():
            save(figure, figures / f"{file}.svg")
        shutil.copy(figures / "rows.svg", study.folder)
        made = sorted(path.stem for path in figures.glob("*.svg"))
        write_json(figures / "results.json", {**results, "figures": made, "published": []})
        return compile_paper(figures / "results.json", figures, study.folder / "paper.pdf")

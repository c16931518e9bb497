"""The paper of one study: ``paper/paper.typ`` with a results.json and figures, of a build or a published study.

A key or a figure that is missing stops typst. Equal results give an equal file, byte for byte.
"""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import typst

from kitsnb.files import PAPER, Build, write_atomic, write_json


def build(build: Build) -> Path:
    """Compile the paper of a build, whole or not at all, and return its path.

    Raises ValueError with typst's own words where it refuses the results, a figure or the document.
    """
    inputs = {"results": str(build.results), "figures": str(build.figures)}
    try:
        # The root is that of the file system: a build may lie outside the repository.
        compiler = typst.Compiler(PAPER / "paper.typ", root="/", ignore_system_fonts=True, sys_inputs=inputs)
        pdf = compiler.compile(format="pdf", timestamp=0)
    except typst.TypstError as error:
        why = error.diagnostic or error.message
        raise ValueError(f"no paper could be made of {build.results}: {why}") from error
    write_atomic(build.paper, pdf)
    return build.paper


def write_article(name: str) -> Path:
    """Write paper.pdf and the central figure, rows.svg, into the folder of a published study; return the paper.

    Nothing is trained and no CT is read: figures are drawn from its scores, but for those that its folder holds.
    """
    import pandas as pd

    from kitsnb.study import figures, plots, published
    from kitsnb.study.findings import report

    study = published.read(name)
    about, scores = published.join(study.about, study.scores, study.cases)
    results = report(about, scores)
    further = published.further(study)
    figures.use_style()
    with TemporaryDirectory() as folder:
        made = Build(folder)
        made.figures.mkdir()
        for path in (study.folder / "figures").glob("*.svg"):
            shutil.copy(path, made.figures)
        for file, figure in (plots.draw(results, scores) | plots.draw_tuning(further)).items():
            figures.save(figure, made.figures / f"{file}.svg")
        results["figures"] = sorted(path.stem for path in made.figures.iterdir())
        results["published"] = []
        results["search"] = []
        if (study.folder / "search.csv").is_file():
            results["search"] = pd.read_csv(study.folder / "search.csv").to_dict("records")
        results["foretold"] = published.foretell(study, results)
        results["further"] = further
        write_json(made.results, results)
        article = study.folder / "paper.pdf"
        write_atomic(article, build(made).read_bytes())
        shutil.copy(made.figures / "rows.svg", study.folder)
    return article

"""The paper of one study: ``paper/paper.typ`` with a results.json and figures, of a build or a published study.

A key or a figure that is missing stops typst. Equal results give an equal file, byte for byte.
"""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import typst

from kitsnb.files import PAPER, Build, write_atomic, write_json


class PaperError(RuntimeError):
    """The paper could not be made; the text says why and what to do."""


def build(build: Build) -> Path:
    """Compile the paper of a build's own study, and return its path."""
    return compile_paper(build.results, build.figures, build.paper)


def compile_paper(results: Path, figures: Path, output: Path) -> Path:
    """Compile the paper with a results.json and a folder of SVG; write ``output`` whole or not at all.

    Raises ``PaperError`` where ``results`` is missing, or where typst refuses it, a figure or the document.
    """
    if not results.is_file():
        raise PaperError(f"{results} is missing: run the results notebook first (05_results), which writes it")
    source = PAPER / "paper.typ"
    inputs = {"results": str(results.resolve()), "figures": str(figures.resolve())}
    try:
        # The root is that of the file system: a build may lie outside the repository.
        compiler = typst.Compiler(source, root="/", ignore_system_fonts=True, sys_inputs=inputs)
        pdf = compiler.compile(format="pdf", timestamp=0)
    except typst.TypstError as error:
        why = error.diagnostic or error.message
        raise PaperError(f"{source} could not be compiled with {results}: {why}") from error
    write_atomic(output, pdf)
    return output


def write_article(name: str) -> Path:
    """Write paper.pdf and the central figure, rows.svg, into the folder of a published study; return the paper.

    Nothing is trained and no CT is read: figures are drawn from its scores, but for those that its folder holds.
    """
    from kitsnb.study import figures, plots, published
    from kitsnb.study.findings import report

    study = published.read(name)
    about, scores = published.whole(study)
    results = report(about, scores)
    further = published.further(study)
    figures.use_style()
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for path in (study.folder / "figures").glob("*.svg"):
            shutil.copy(path, folder)
        for file, figure in (plots.draw(results, scores) | plots.draw_tuning(further)).items():
            figures.save(figure, folder / f"{file}.svg")
        shutil.copy(folder / "rows.svg", study.folder)
        made = sorted(path.stem for path in folder.glob("*.svg"))
        results |= {"figures": made, "published": [], "search": published.read_search(study.folder),
                    "foretold": published.foretell(study, results), "further": further}
        write_json(folder / "results.json", results)
        return compile_paper(folder / "results.json", folder, study.folder / "paper.pdf")

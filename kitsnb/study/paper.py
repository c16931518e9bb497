"""The paper: ``paper/paper.typ`` and the numbers and figures of one build become ``paper.pdf``.

typst reads ``results.json`` and the figures itself; a key or a figure that is missing stops it. Fonts are those that
typst brings along and the date is fixed, so that equal results give an equal file, byte for byte.
"""

import json
from pathlib import Path

import typst

from kitsnb.files import PAPER, Build, write_atomic

#: Time of creation that is written into the PDF: none that means anything, the same for all.
TIMESTAMP = 0


class PaperError(RuntimeError):
    """The paper could not be made; the text says why and what to do."""


def build(build: Build, source: Path = PAPER / "paper.typ") -> Path:
    """Compile ``source`` with what ``build`` holds, write ``build.paper`` whole or not at all, and return its path.

    Raises ``PaperError`` where ``results.json`` is missing or no JSON, or where typst refuses the document.
    """
    check_results(build.results)
    try:
        # The root is that of the file system: a build may lie outside the repository.
        pdf = typst.Compiler(
            source.resolve(), root="/", ignore_system_fonts=True, sys_inputs={"build": str(build.folder.resolve())}
        ).compile(format="pdf", timestamp=TIMESTAMP)
    except typst.TypstError as error:
        parts = [error.message, *(f"hint: {hint}" for hint in error.hints or []), error.diagnostic or ""]
        why = "\n".join(dict.fromkeys(part.strip() for part in parts if part.strip()))
        raise PaperError(f"{source} could not be compiled with {build.results}: {why}") from error
    write_atomic(build.paper, pdf)
    return build.paper


def check_results(path: Path) -> None:
    """Raise ``PaperError`` unless ``path`` is there and is JSON without NaN (which JSON does not have)."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON value; an undefined score is null")

    if not path.is_file():
        raise PaperError(f"{path} is missing: run the results notebook first (05_results), which writes it")
    try:
        json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    except ValueError as error:
        raise PaperError(f"{path} is not JSON ({error}): run the results notebook (05_results) again") from error

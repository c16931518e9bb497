"""A page to share: findings and table of a build, its worst and best cases, notebooks and paper, as static files."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import nbformat
import pandas as pd
from latex2mathml.converter import convert
from markupsafe import Markup
from matplotlib.figure import Figure
from nbconvert import HTMLExporter

from kitsnb.drawing import alternative
from kitsnb.files import Build, read_json, write_atomic
from kitsnb.metric.score import SCORES
from kitsnb.study.figures import NAMES, use_style
from kitsnb.study.tables import number, plural
from kitsnb.viewing.page import render, write_page
from kitsnb.viewing.scan import Scan, find_scans, read_scan
from kitsnb.viewing.show import cases_of, data_of
from kitsnb.viewing.still import extreme_scans, gallery

#: Voxels of a case in the viewer, so that a site stays small enough to send.
MOST = 4e6
LINKS = [("paper.pdf", "Paper (PDF)"), ("#table", "Table 1"), ("#cases", "Cases"), ("#viewer", "Viewer"),
         ("#notebooks", "Notebooks")]
#: TeX in the text of a notebook: displayed, or within a line.
TEX = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+?)\$", re.DOTALL)
#: Code that says nothing to a reader begins so: imports, and settings of IPython.
PLUMBING = re.compile(r"\s*(#.*\n\s*)*(import |from |%)")
#: Template of notebooks: the code of a cell is folded.
FOLDED = """{% extends "basic/index.html.j2" %}
{% block input_group %}{% if cell.source %}<details><summary>code</summary>{{ super() }}</details>{% endif %}
{% endblock %}"""


def write_site(build: Build, address: str = "") -> Path:
    """Write ``site/`` of ``build`` again and return its first page; nothing else of the build changes.

    ``address`` is where it will lie: those who preview links ask for the picture by its whole address.
    Raises FileNotFoundError, naming what is missing, where the build is not finished.
    """
    for wanted in (build.results, build.paper, build.profile):
        if not wanted.is_file():
            raise FileNotFoundError(f"{wanted}: missing; the build is not finished: run make first")
    results = read_json(build.results)
    profile = read_json(build.profile)
    scans, figure = draw_extremes(build, results["table"])
    folder = build.folder / "site"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copyfile(build.paper, folder / "paper.pdf")
    figure.savefig(folder / "cases.png", dpi=160)
    write_page(
        folder, [(f"{scan.name}: {text}", scan.thinned(MOST)) for text, scan in scans],
        title=profile["title"], about=profile["description"], simulated=data_of(build).simulated, links=LINKS,
        findings=[_bold(line) for line in results.get("findings", [])], **_table(results["table"]),
        picture={"file": "cases.png", "alt": alternative(figure)}, preview=f"{address.rstrip('/')}/cases.png".lstrip("/"),
        notebooks=[write_notebook(path, folder) for path in sorted(build.notebooks.glob("*.ipynb"))])
    return folder / "index.html"


def draw_extremes(build: Build, table: list[Mapping]) -> tuple[list[tuple[str, Scan]], Figure]:
    """Draw the worst, the median and the best case of the row with the highest composite, by its first run.

    Returns the scans, each with its text, and the figure. Raises FileNotFoundError where nothing was trained.
    """
    runs = {path.name.rpartition("-seed")[0]: path for path in sorted(build.runs.glob("*-seed*"), reverse=True)}
    trained = [row for row in table if row["experiment"] in runs]
    if not trained:
        raise FileNotFoundError(f"{build.runs}: holds no run of Table 1; the build is not finished: run make first")
    best = max(trained, key=lambda row: row["scores"]["composite"]["mean"] or 0)
    run = runs[best["experiment"]]
    data = data_of(build)
    given = find_scans(cases_of(build), prediction=run)
    scores = pd.read_csv(run / "scores.csv", index_col="case")
    scans = extreme_scans(scores, lambda name: read_scan(given[name], data.accept))
    use_style()
    return scans, gallery(scans, f"{best['title']}, seed {run.name.rpartition('-seed')[2]}", data.simulated)


def _table(table: list[Mapping]) -> dict:
    """Return Table 1 for the page: each cell's text, and the value that it is sorted by."""
    rows = []
    for row in table:
        cells = [(row["title"], row["title"])]
        for score in SCORES:
            here = row["scores"][score]
            wide = "crossed_" if here["crossed_low"] is not None else ""  # over cases and seeds, where there are seeds
            text = f"{number(here['mean'])} [{number(here[f'{wide}low'])}, {number(here[f'{wide}high'])}]"
            printed = (row.get("paper") or {}).get(score)
            text += "" if printed is None else f"\nseed paper {number(printed)}"
            cells.append((text, -1 if here["mean"] is None else here["mean"]))
        rows.append(cells)
    cases = plural(max(row["scores"]["kidney"]["n"] for row in table), "held-out case")
    return {"columns": ["loss", *(NAMES[score] for score in SCORES)], "rows": rows,
            "caption": f"Mean Dice over {cases} with its 95 % interval."}


def write_notebook(path: Path, folder: Path) -> tuple[str, str]:
    """Write an executed notebook as a page, its code folded; return the address, and the name with that of its run."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = TEX.sub(_mathml, cell.source)
        elif "parameters" in str(cell.metadata.get("tags")) or PLUMBING.match(cell.source):  # injected ones, too
            cell.source = ""
    body = HTMLExporter(raw_template=FOLDED).from_notebook_node(notebook)[0]
    body = body.replace("<pre>", '<pre tabindex="0">')  # so that a key can scroll it
    body = re.sub("<table.*?</table>", r'<div class="scroll" tabindex="0">\g<0></div>', body, flags=re.DOTALL)
    heads = re.findall(r'<h[12] id="([^"]+)">(.*?)<a class="anchor-link"', body, re.DOTALL)
    names = [(f"#{key}", Markup(text).striptags()) for key, text in heads]
    run = path.stem.partition("-")[2]
    title = names[0][1] + (f" ({run})" if run else "")
    body = re.sub("<h1.*?</h1>", "", body, count=1, flags=re.DOTALL)  # the page has it as its own
    file = f"notebooks/{path.stem}.html"
    write_atomic(folder / file, render(title=title, links=[("../index.html", "Back"), *names[1:]], body=Markup(body),
                                       root="../"))
    return file, title


def _mathml(found: re.Match) -> str:
    displayed, inline = found.groups()
    return convert((displayed or inline).strip(), display="block" if displayed else "inline")


def _bold(line: str) -> Markup:
    return Markup(re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", str(Markup.escape(line))))

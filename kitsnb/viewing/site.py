"""A page to share: findings and table of a build, its worst and best cases, notebooks and paper, as static files."""

import html
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from nbconvert import HTMLExporter

from kitsnb.drawing import alternative
from kitsnb.files import Build, read_json, write_atomic
from kitsnb.metric.score import SCORES
from kitsnb.study.figures import NAMES, use_style
from kitsnb.study.statistics import bounds
from kitsnb.study.tables import extremes, number, plural
from kitsnb.viewing.page import render, write_page
from kitsnb.viewing.scan import Scan, find_scans, read_scan
from kitsnb.viewing.show import cases_of
from kitsnb.viewing.still import gallery

LINKS = {"paper.pdf": "Paper (PDF)", "#table": "Table 1", "#cases": "Cases", "#viewer": "Viewer",
         "#notebooks": "Notebooks"}
#: Template of notebooks: code is folded, and what says nothing to a reader (parameters, imports) left out.
FOLDED = """{% extends "basic/index.html.j2" %}
{% block input_group %}
{% if not cell.source.startswith(("import ", "from ")) and "parameters" not in cell.metadata.tags | join %}
<details><summary>code</summary>{{ super() }}</details>
{% endif %}
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
    table = results["table"]
    rows = [(row["title"], write_cells(row["scores"])) for row in table]
    scans, figure = draw_extremes(build, table)
    folder = build.folder / "site"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copyfile(build.paper, folder / "paper.pdf")
    figure.savefig(folder / "cases.png", dpi=160)
    write_page(
        folder, scans, title=profile["title"], about=profile["description"], simulated=cases_of(build)[1].simulated,
        links=LINKS, findings=results.get("findings"), columns=["loss", *(NAMES[score] for score in SCORES)],
        rows=rows,
        held_out=plural(max(row["scores"]["kidney"]["n"] for row in table), "held-out case"),
        alt=alternative(figure), preview=f"{address.rstrip('/')}/cases.png".lstrip("/"),
        notebooks=dict(write_notebook(path, folder) for path in sorted(build.notebooks.glob("*.ipynb"))))
    return folder / "index.html"


def draw_extremes(build: Build, table: list[Mapping]) -> tuple[list[tuple[str, Scan]], Figure]:
    """Draw the worst, the median and the best case of the row with the highest composite, by its first run.

    Returns the scans, each with its title, and the figure. Raises FileNotFoundError where nothing was trained.
    """
    means = {}
    for row in table:
        for run in sorted(build.runs.glob(f"{row['experiment']}-seed*"))[:1]:
            means[run] = row["scores"]["composite"]["mean"] or 0, row["title"]
    if not means:
        raise FileNotFoundError(f"{build.runs}: holds no run of Table 1; the build is not finished: run make first")
    best = max(means, key=means.get)
    folder, data = cases_of(build)
    given = find_scans(folder, prediction=best)
    scores = pd.read_csv(best / "scores.csv", index_col="case")
    measure = "tumour" if scores.tumour.notna().any() else "kidney"
    scans = []
    for place, name in extremes(scores).items():
        text = f"{place}, {measure} Dice {scores[measure][name]:.2f}"
        scans.append((text, read_scan(given[name], data.accept)))
    use_style()
    seed = best.name.rpartition("-seed")[2]
    figure = gallery(scans, f"{means[best][1]}, seed {seed}", data.simulated)
    return [(f"{scan.name}: {text}", scan) for text, scan in scans], figure


def write_cells(scores: Mapping) -> list[str]:
    """Write the means of a row of Table 1, each with its 95 % interval."""
    cells = []
    for score in SCORES:
        low, high = bounds(scores[score])
        cells.append(f"{number(scores[score]['mean'])} [{number(low)}, {number(high)}]")
    return cells


def write_notebook(path: Path, folder: Path) -> tuple[str, str]:
    """Write an executed notebook as a page with a list of contents; return its address, and its title with its run."""
    body, _ = HTMLExporter(raw_template=FOLDED).from_filename(path)
    for tag in ("<pre", "<table"):
        body = body.replace(tag, f'{tag} tabindex="0"')  # so that a key can scroll it
    heads = {"../index.html": "Back"}
    for key, text in re.findall(r'<h[12] id="([^"]+)">(.*?)<a class="anchor-link"', body, re.DOTALL):
        heads[f"#{key}"] = html.unescape(re.sub("<.*?>", "", text))
    title = list(heads.values())[1]
    if "-" in path.stem:
        title = f"{title} ({path.stem.partition('-')[2]})"
    file = f"notebooks/{path.stem}.html"
    write_atomic(folder / file, render(title=title, links=heads, body=body, root="../"))
    return file, title

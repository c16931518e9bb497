"""A page to share: the story of a build with its table, figures, notebooks, paper and a viewer, as static files."""

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import nbformat
import pandas as pd
from latex2mathml.converter import convert
from markupsafe import Markup
from nbconvert import HTMLExporter

from kitsnb.data.cases import Case
from kitsnb.data.checks import Accept
from kitsnb.drawing import alternative, heading
from kitsnb.files import Build, read_json, write_atomic
from kitsnb.messages import progress
from kitsnb.metric.score import SCORES
from kitsnb.study.figures import NAMES, use_style
from kitsnb.study.findings import sentences
from kitsnb.study.statistics import ends
from kitsnb.study.tables import number, plural
from kitsnb.viewing.page import PAGES, render, write_viewer
from kitsnb.viewing.scan import Scan, read_scan
from kitsnb.viewing.still import extreme_scans, gallery

#: Voxels of a case in the viewer, so that a site stays small enough to send.
MOST = 1.5e6
#: TeX in the text of a notebook: displayed, or within a line.
TEX = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+?)\$", re.DOTALL)


def write_site(build: Build, address: str = "") -> Path:
    """Write ``site/`` of ``build`` anew and return its first page; nothing else of the build changes.

    ``address`` is where it will lie: those who preview links ask for the picture by its whole address.
    Raises FileNotFoundError, naming what is missing, where the build is not finished.
    """
    for wanted in (build.results, build.paper, build.profile):
        if not wanted.is_file():
            raise FileNotFoundError(f"{wanted}: missing; the build is not finished: run make first")
    results, folder = read_json(build.results), build.folder / "site"
    shutil.rmtree(folder, ignore_errors=True)
    found = results["published"][results["main"]] if results["main"] else results["here"]
    simulated = results["data"]["simulated"]
    central = build.figures / ("study_rows.svg" if results["main"] else "rows.svg")
    folder.mkdir(parents=True)
    use_style()
    for source, name in ((build.paper, "paper.pdf"), (central, "central.svg"), (PAGES / "style.css", "style.css"),
                         (PAGES / "sort.js", "sort.js")):
        shutil.copyfile(source, folder / name)
    galleries, scans = [], []
    for experiment in _shown(build, results):
        picture, chosen = _gallery(build, folder, results, experiment, simulated)
        galleries.append(picture)
        scans += chosen
    shutil.copyfile(folder / galleries[0]["file"], folder / "preview.png")
    title = f"{results['profile']['title']}: which losses find kidney tumours?"
    write_viewer(folder / "viewer", scans, "Held-out cases", simulated=simulated, most=MOST, back="../index.html")
    write_atomic(folder / "index.html", render(
        "story.html", title=title, description=results["profile"]["description"], simulated=simulated,
        findings=[_emphasis(line) for line in sentences(found)], cases=found["cases"],
        seeds=plural(found["seeds"], "seed"),
        central_alt=re.search("<title>([^<]*)</title>", central.read_text())[1],
        caption=heading("Rows of Table 1 with their intervals, differences and ranks", simulated) + ".",
        columns=["loss", *(NAMES[score] for score in SCORES)], rows=[_cells(row) for row in found["table"]],
        address=f"{address.rstrip('/')}/" if address else "", galleries=galleries,
        notebooks=_write_notebooks(build, folder / "notebooks")))
    return folder / "index.html"


def _emphasis(line: str) -> Markup:
    return Markup(re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", str(Markup.escape(line))))


def _cells(row: dict) -> list[tuple[str, object]]:
    """Texts of a row of Table 1, and the values that it is sorted by."""
    cells = [(row["title"], row["title"])]
    for score in SCORES:
        here, paper = row["scores"][score], (row["paper"] or {}).get(score)
        text = f"{number(here['mean'])} [{', '.join(map(number, ends(here)))}]"
        text += f"\npaper {number(paper)}" if paper is not None else ""
        cells.append((text, -1 if here["mean"] is None else here["mean"]))
    return cells


def _runs(build: Build, experiment: str) -> list[Path]:
    return sorted(build.runs.glob(f"{experiment}-seed*"))


def _shown(build: Build, results: dict) -> list[str]:
    """The row with the highest composite of those that were trained here, and the baseline."""
    trained = [row for row in results["here"]["table"] if _runs(build, row["experiment"])]
    best = max(trained, key=lambda row: row["scores"]["composite"]["mean"])["experiment"]
    return [best] + [row["experiment"] for row in trained if row["experiment"] == results["reference"] != best]


def _gallery(build: Build, folder: Path, results: dict, experiment: str, simulated: bool) -> tuple[dict, list[Scan]]:
    """Picture and scans of the worst, the median and the best case of a row's first run."""
    run = _runs(build, experiment)[0]
    settings = read_json(build.profile)["parameters"]["data_analysis"]
    accept = Accept(settings["label_map"] or {}, bool(settings["accept_affine"]))
    cases = build.cases(settings["source"], settings["folder"])
    chosen = extreme_scans(pd.read_csv(run / "scores.csv", index_col="case"), lambda name: read_scan(
        Case(cases / name), None, run / "predictions" / f"{name}.nii.gz", accept))
    title = next(row["title"] for row in results["here"]["table"] if row["experiment"] == experiment)
    figure = gallery(chosen, f"{title}, {run.name.removeprefix(f'{experiment}-').replace('seed', 'seed ')}", simulated)
    figure.savefig(folder / f"{experiment}.png", dpi=160)
    scans = [replace(scan, name=f"{scan.name}-{experiment}") for _, scan in chosen]
    caption = heading(f"{title}: label, prediction, and where they differ, in one axial slice of each case", simulated)
    return {"file": f"{experiment}.png", "alt": alternative(figure), "caption": f"{caption}.",
            "first": scans[0].name}, scans


def _write_notebooks(build: Build, folder: Path) -> list[tuple[str, str]]:
    """Executed notebooks as pages of their own; names of the files, and their headings."""
    exporter, written = HTMLExporter(template_name="basic"), []
    for path in progress(sorted(build.notebooks.glob("*.ipynb")), "notebooks"):
        notebook = nbformat.read(path, as_version=4)
        title = _title(notebook.cells, path.stem)
        for content, key in _texts(notebook.cells):
            content[key] = TEX.sub(_mathml, content[key])
        body = exporter.from_notebook_node(notebook)[0].replace("<pre>", '<pre tabindex="0">')  # else no key scrolls it
        write_atomic(folder / f"{path.stem}.html", render("notebook.html", title=title, body=body))
        written.append((f"{path.stem}.html", title))
    return written


def _title(cells: Sequence[dict], stem: str) -> str:
    """The first heading of a notebook, with the run where one notebook is executed for many."""
    first = next((cell["source"] for cell in cells if cell["cell_type"] == "markdown"), stem)
    _, _, run = stem.partition("-")
    return first.splitlines()[0].lstrip("# ") + (f" ({run})" if run else "")


def _texts(cells: Sequence[dict]) -> Iterator[tuple[dict, str]]:
    """Where Markdown stands in a notebook: its own cells, and what code displayed."""
    for cell in cells:
        if cell["cell_type"] == "markdown":
            yield cell, "source"
        for output in cell.get("outputs", []):
            if "text/markdown" in output.get("data", {}):
                yield output["data"], "text/markdown"


def _mathml(found: re.Match) -> str:
    displayed, inline = found.groups()
    return convert((displayed or inline).strip(), display="block" if displayed else "inline")

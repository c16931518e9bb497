"""A page to share: findings and table of a build, its worst, median and best case, notebooks and paper."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from nbconvert import HTMLExporter

from kitsnb.files import Build, read_json, write_atomic
from kitsnb.metric.score import SCORES
from kitsnb.study.figures import NAMES
from kitsnb.study.statistics import bounds
from kitsnb.study.tables import extremes, number
from kitsnb.viewing.scan import Scan, find_scans, read_scan
from kitsnb.viewing.show import cases_of, render, write_page


def write_site(build: Build) -> Path:
    """Write ``site/`` of ``build`` again and return its first page; nothing else of the build changes.

    Raises FileNotFoundError where the build is not finished.
    """
    for wanted in (build.results, build.paper, build.profile):
        if not wanted.is_file():
            raise FileNotFoundError(f"{wanted}: missing; the build is not finished: run make first")
    profile = read_json(build.profile)
    results = read_json(build.results)
    pictured = results["about"]["pictured"]
    scans, simulated = find_extremes(build, build.run(pictured["row"], pictured["seed"]))
    folder = build.folder / "site"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copyfile(build.paper, folder / "paper.pdf")
    notebooks = sorted(build.notebooks.glob("0[!4]*.ipynb"))  # without those of single trainings
    for path in notebooks:
        write_notebook(path, folder / "notebooks" / f"{path.stem}.html")
    write_page(
        folder, scans, title=profile["title"], about=profile["description"], simulated=simulated,
        findings=results.get("findings"), columns=["loss", *(NAMES[score] for score in SCORES)],
        rows=[(row["title"], write_cells(row["scores"])) for row in results["table"]],
        notebooks=[path.stem for path in notebooks])
    return folder / "index.html"


def find_extremes(build: Build, run: Path) -> tuple[list[tuple[str, Scan]], bool]:
    """Read the worst, the median and the best case of a run, each with its title; say whether the CT is simulated."""
    folder, data = cases_of(build)
    given = find_scans(folder, prediction=run)
    scores = pd.read_csv(run / "scores.csv", index_col="case")
    scans = []
    for place, name in extremes(scores).items():
        text = f"{name}: {place}, tumour Dice {number(scores.tumour[name], 2)}"
        scans.append((text, read_scan(given[name], data.accept)))
    return scans, data.simulated


def write_cells(scores: Mapping) -> list[str]:
    """Write the means of a row of Table 1, each with its 95 % interval."""
    cells = []
    for score in SCORES:
        low, high = bounds(scores[score])
        cells.append(f"{number(scores[score]['mean'])} [{number(low)}, {number(high)}]")
    return cells


def write_notebook(path: Path, page: Path) -> None:
    """Write an executed notebook, without its code, as a page."""
    body, _ = HTMLExporter(template_name="basic", exclude_input=True).from_filename(path)
    body = re.sub("<(pre|table)", r'<\1 tabindex="0"', body)  # so that a key can scroll it
    write_atomic(page, render(title=path.stem, body=body, root="../"))

"""A page for any browser, in a folder of static files; ``show`` serves it to this machine alone."""

import shutil
import tempfile
import webbrowser
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jinja2
import numpy as np
from isal import igzip

from kitsnb.data.checks import Accept
from kitsnb.data.settings import DataSettings
from kitsnb.drawing import COLOURS, ENDS
from kitsnb.files import Build, read_json, resolve, write_atomic
from kitsnb.messages import console
from kitsnb.viewing.scan import Scan, find_scans, read_scan

PAGES = Path(__file__).parent / "pages"
CLASSES = ("kidney", "tumour")
#: Letters, names and colours of the viewer, which are those of the figures.
LOOK = {"ends": ENDS, "names": CLASSES, "colours": [COLOURS[name] for name in CLASSES]}
#: Cases of a folder that one page holds, those with a prediction first: more would take minutes to write.
MOST_CASES = 8


def show(source: Path, prediction: Path | None = None, accept: Accept | None = None, port: int = 0) -> None:
    """Write the page of ``source`` for a while; open a browser on it; serve it until Ctrl-C.

    ``source`` is as in ``find_scans``, or a build's folder. Raises OSError and ValueError, CaseError among them, for
    what cannot be shown and for a port that is taken.
    """
    with tempfile.TemporaryDirectory(prefix="kitsnb-") as folder, suppress(KeyboardInterrupt):
        with ThreadingHTTPServer(("127.0.0.1", port), partial(SimpleHTTPRequestHandler, directory=folder)) as server:
            with console().status(f"reading {source}"):
                show_page(Path(folder), source.expanduser().resolve(), prediction, accept)
            address = f"http://127.0.0.1:{server.server_port}/"
            console().print(f"{address} shows {source} until Ctrl-C")
            webbrowser.open(address)
            server.serve_forever()


def show_page(folder: Path, source: Path, prediction: Path | None, accept: Accept | None) -> None:
    """Write the page of the first cases of ``source`` to ``folder``; its title says how many there are."""
    name = source.name
    builds = [Build(folder) for folder in (source, *source.parents) if Build(folder).profile.is_file()]
    if builds:
        cases, data = cases_of(builds[0])
        if source == builds[0].folder:
            source = cases
            label_map = accept.label_map if accept else {}
            accept = replace(data.accept, label_map={**data.accept.label_map, **label_map})
    found = find_scans(source, prediction)
    if prediction and not any(given.prediction for given in found.values()):
        raise ValueError(f"{prediction} holds no prediction of {next(iter(found))}; give that of this CT")
    first = sorted(found.values(), key=lambda given: given.prediction is None)[:MOST_CASES]
    title = first[0].name if len(found) == 1 else f"{name}: {len(first)} of {len(found)} cases"
    ours = prediction and any((folder / "run.json").is_file() for folder in (prediction, *prediction.parents[:2]))
    # The labels of a run are 0, 1, 2 already.
    scans = ((given.name, read_scan(given, accept, None if ours else accept)) for given in first)
    write_page(folder, scans, title=title, simulated=bool(builds) and data.simulated)


def cases_of(build: Build) -> tuple[Path, DataSettings]:
    """Return the folder of the cases of ``build``, below it where their CT is simulated, and their settings."""
    data = DataSettings(**read_json(build.profile)["data"])
    return resolve(data.folder) if data.source == "folder" else build.data, data


def render(**values: object) -> str:
    """Fill in the page, escaped; parts without a value are left out."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(PAGES), autoescape=True)
    return environment.get_template("page.html").render(values)


def write_page(folder: Path, scans: Iterable[tuple[str, Scan]], **values: object) -> None:
    """Write the page that shows ``scans``, each with its title, and all that it needs, to ``folder``.

    A generator keeps memory small.
    """
    cases = []
    for title, scan in scans:
        about, arrays = for_viewer(scan)
        files = {}
        for kind, array in arrays.items():
            files[kind] = f"cases/{len(cases)}-{kind}.bin"  # some servers would unpack a .gz
            write_atomic(folder / files[kind], igzip.compress(array.tobytes(), 1))
        cases.append({"title": title, "facts": scan.facts, "files": files, **about})
    for file in PAGES.glob("*.[cj]s*"):
        shutil.copyfile(file, folder / file.name)
    write_atomic(folder / "index.html", render(cases=cases, look=LOOK, **values))


def for_viewer(scan: Scan) -> tuple[dict, dict[str, np.ndarray]]:
    """Return what the viewer must know of ``scan``, and its arrays: HU as int16, labels as uint8."""
    about = {"shape": scan.imaging.shape, "spacing": scan.spacing.tolist(), "centre": scan.centre}
    imaging = scan.imaging
    if imaging.dtype.kind == "f":
        imaging = np.rint(imaging).clip(-32768, 32767)
    return about, {"imaging": imaging.astype(np.int16), **scan.layers}

"""The page that ``show`` and ``site`` share: a folder of static files that any browser opens from a web server."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import jinja2
import numpy as np
from isal import igzip
from matplotlib.colors import to_rgb

from kitsnb.drawing import COLOURS, ENDS
from kitsnb.files import write_atomic
from kitsnb.viewing.scan import Scan

PAGES = Path(__file__).parent / "pages"
#: What a page that has less than a site leaves out.
NOTHING = {"about": "", "simulated": False, "links": [], "findings": [], "rows": [], "columns": [], "caption": "",
           "pictures": [], "cases": [], "given": {}, "notebooks": [], "body": "", "preview": "", "root": ""}


def look() -> dict:
    """Return letters, names and colours (0 to 255) of the viewer, which are those of the figures."""
    names = ["kidney", "tumour"]
    colours = [[round(255 * part) for part in to_rgb(COLOURS[name])] for name in names]
    return {"ends": ENDS, "names": names, "colours": colours}


def render(**values: object) -> str:
    """Fill in the page, escaped; raise for a value that the page does not know, or lacks."""
    loader = jinja2.FileSystemLoader(PAGES)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.get_template("page.html").render(NOTHING | values)


def write_page(folder: Path, scans: Iterable[tuple[str, Scan]], most: float = np.inf, **values: object) -> None:
    """Write the page that shows ``scans``, each with its title, and all that it needs, to ``folder``.

    A volume of more than ``most`` voxels is thinned. Scans are read one after the other, so a generator keeps memory
    small. Raises ValueError where there is none.
    """
    cases = [_write_case(folder, number, title, thin(scan, most)) for number, (title, scan) in enumerate(scans)]
    if not cases:
        raise ValueError("there is no case to show; give one at least")
    for file in PAGES.iterdir():
        if file.suffix != ".html":
            shutil.copyfile(file, folder / file.name)
    page = render(cases=cases, given={"cases": cases, "look": look()}, **values)
    write_atomic(folder / "index.html", page)


def thin(scan: Scan, most: float) -> Scan:
    """Keep every n-th voxel of ``scan``, first along its finest axis, so that at most ``most`` voxels are left."""
    steps = np.ones(3, int)
    while np.prod(-(-np.array(scan.imaging.shape) // steps)) > most:
        steps[np.argmin(scan.spacing * steps)] += 1
    kept = tuple(slice(None, None, step) for step in steps)
    arrays = {kind: array[kept] for kind, array in scan.layers.items() if kind != "errors"}
    return Scan(scan.name, scan.imaging[kept], scan.spacing * steps, **arrays)


def as_arrays(scan: Scan) -> dict[str, bytes]:
    """Return the arrays as the viewer reads them: HU as int16, labels as uint8, the last axis fastest."""
    hu = np.clip(np.rint(scan.imaging), -32768, 32767) if scan.imaging.dtype.kind == "f" else scan.imaging
    arrays = {"imaging": hu.astype(np.int16), "label": scan.label, "prediction": scan.prediction}
    return {kind: array.tobytes() for kind, array in arrays.items() if array is not None}


def about(scan: Scan) -> dict:
    """Return what the viewer must know of ``scan`` beside its arrays."""
    return {"shape": scan.imaging.shape, "spacing": scan.spacing.tolist(), "centre": scan.centre}


def _write_case(folder: Path, number: int, title: str, scan: Scan) -> dict:
    files = {}
    for kind, content in as_arrays(scan).items():
        files[kind] = f"cases/{number}-{kind}.bin"  # not .gz: some servers would unpack it on the way
        write_atomic(folder / files[kind], igzip.compress(content, 1))
    return {"title": title, "facts": scan.facts, "files": files, **about(scan)}

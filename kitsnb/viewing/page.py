"""The page that ``show`` and ``site`` share: a folder of static files, for any browser and web server."""

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


def look() -> dict:
    """Return letters, names and colours (0 to 255) of the viewer, which are those of the figures."""
    names = ["kidney", "tumour"]
    colours = [[round(255 * part) for part in to_rgb(COLOURS[name])] for name in names]
    return {"ends": ENDS, "names": names, "colours": colours}


def render(**values: object) -> str:
    """Fill in the page, escaped; parts without a value are left out."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(PAGES), autoescape=True)
    return environment.get_template("page.html").render(values)


def write_page(folder: Path, scans: Iterable[tuple[str, Scan]], **values: object) -> None:
    """Write the page that shows ``scans``, each with its title, and all that it needs, to ``folder``.

    Scans are read one after the other, so a generator keeps memory small. Raises ValueError where there is none.
    """
    cases = [_write_case(folder, number, title, scan) for number, (title, scan) in enumerate(scans)]
    if not cases:
        raise ValueError("there is no case to show; give one at least")
    for file in PAGES.iterdir():
        if file.suffix != ".html":
            shutil.copyfile(file, folder / file.name)
    write_atomic(folder / "index.html", render(cases=cases, given={"cases": cases, "look": look()}, **values))


def as_arrays(scan: Scan) -> dict[str, bytes]:
    """Return the arrays as the viewer reads them: HU as int16, labels as uint8, the last axis fastest."""
    hu = scan.imaging
    if hu.dtype.kind == "f":
        hu = np.clip(np.rint(hu), -32768, 32767)
    arrays = {"imaging": hu.astype(np.int16), **scan.layers}
    return {kind: array.tobytes() for kind, array in arrays.items()}


def geometry(scan: Scan) -> dict:
    """Return what the viewer must know of the arrays."""
    return {"shape": scan.imaging.shape, "spacing": scan.spacing.tolist(), "centre": scan.centre}


def _write_case(folder: Path, number: int, title: str, scan: Scan) -> dict:
    files = {}
    for kind, content in as_arrays(scan).items():
        files[kind] = f"cases/{number}-{kind}.bin"  # not .gz: some servers would unpack it on the way
        write_atomic(folder / files[kind], igzip.compress(content, 1))
    return {"title": title, "facts": scan.facts, "files": files, **geometry(scan)}

"""The page that ``show`` and ``site`` share: a folder of static files, for any browser and web server."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import jinja2
import numpy as np
from isal import igzip

from kitsnb.drawing import COLOURS, ENDS
from kitsnb.files import write_atomic
from kitsnb.viewing.scan import Scan

PAGES = Path(__file__).parent / "pages"
CLASSES = ("kidney", "tumour")
#: Letters, names and colours of the viewer, which are those of the figures.
LOOK = {"ends": ENDS, "names": CLASSES, "colours": [COLOURS[name] for name in CLASSES]}


def render(**values: object) -> str:
    """Fill in the page, escaped; parts without a value are left out."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(PAGES), autoescape=True)
    return environment.get_template("page.html").render(values)


def write_page(folder: Path, scans: Iterable[tuple[str, Scan]], **values: object) -> None:
    """Write the page that shows ``scans``, each with its title, and all that it needs, to ``folder``.

    Scans are read one after the other, so a generator keeps memory small.
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

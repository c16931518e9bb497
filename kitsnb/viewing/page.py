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
CLASSES = ("kidney", "tumour")
#: Letters, names and colours (0 to 255) of the viewer, which are those of the figures.
LOOK = {"ends": ENDS, "names": CLASSES,
        "colours": [[round(255 * part) for part in to_rgb(COLOURS[name])] for name in CLASSES]}


def render(**values: object) -> str:
    """Fill in the page, escaped; parts without a value are left out."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(PAGES), autoescape=True)
    return environment.get_template("page.html").render(values)


def write_page(folder: Path, scans: Iterable[tuple[str, Scan]], **values: object) -> None:
    """Write the page that shows ``scans``, each with its title, and all that it needs, to ``folder``.

    Scans are read one after the other, so a generator keeps memory small.
    """
    cases = []
    for number, (title, scan) in enumerate(scans):
        about, arrays = for_viewer(scan)
        first_fastest = all(array.flags.f_contiguous for array in arrays.values())
        order = "F" if first_fastest else "C"  # as in KiTS19's files: to turn a large volume takes seconds
        strides = np.empty(scan.imaging.shape, np.uint8, order).strides
        files = {kind: f"cases/{number}-{kind}.bin" for kind in arrays}  # some servers would unpack a .gz
        for kind, array in arrays.items():
            write_atomic(folder / files[kind], igzip.compress(array.tobytes(order), 1))
        cases.append({"title": title, "facts": scan.facts, "files": files, "strides": strides, **about})
    for file in PAGES.glob("*.[cj]s*"):
        shutil.copyfile(file, folder / file.name)
    write_atomic(folder / "index.html", render(cases=cases, given={"cases": cases, "look": LOOK}, **values))


def for_viewer(scan: Scan) -> tuple[dict, dict[str, np.ndarray]]:
    """Return what the viewer must know of ``scan``, and its arrays: HU as int16, labels as uint8."""
    hu = scan.imaging
    if hu.dtype.kind == "f":
        hu = np.clip(np.rint(hu), -32768, 32767)
    about = {"shape": hu.shape, "spacing": scan.spacing.tolist(), "centre": scan.centre}
    return about, {"imaging": hu.astype(np.int16), **scan.layers}

"""A folder of static files that shows cases in any browser: niivue, taken from ipyniivue, and the NIfTI files."""

import gzip
import shutil
from collections.abc import Iterable
from pathlib import Path

import ipyniivue
import jinja2
from matplotlib.colors import to_rgb

from kitsnb.drawing import alternative, heading, three_views
from kitsnb.files import write_atomic, write_json
from kitsnb.viewing.scan import LEGENDS, MOST, WINDOWS, Scan, as_nifti, in_short, thinned

PAGES = Path(__file__).parent / "pages"
NIIVUE = Path(ipyniivue.__file__).parent / "static" / "widget.js"


def write_viewer(
    folder: Path, scans: Iterable[Scan], title: str, *, simulated: bool = False, most: float = MOST, back: str = ""
) -> None:
    """Write a page that shows ``scans``, with all that it needs, to ``folder``.

    Volumes keep at most ``most`` voxels. ``back`` is the address of a page that the viewer belongs to.
    Scans are read one after the other, so a generator keeps memory small. ValueError where there is none.
    """
    cases = [_write_scan(folder, scan, simulated, most) for scan in scans]
    if not cases:
        raise ValueError("there is no case to show; give one at least")
    legends = {layer: [[name, [round(255 * part) for part in to_rgb(colour)]] for name, colour in legend.values()]
               for layer, legend in LEGENDS.items()}
    write_json(folder / "cases.json", {"cases": cases, "windows": WINDOWS, "legends": legends})
    shutil.copyfile(NIIVUE, folder / "niivue.js")
    shutil.copyfile(PAGES / "viewer.js", folder / "viewer.js")
    patches = [*LEGENDS["label"].values(), *LEGENDS["errors"].values()]
    write_atomic(folder / "index.html", render("viewer.html", title=heading(title, simulated), back=back,
                                               legends=list(LEGENDS), patches=patches))


def render(template: str, **values) -> str:
    """One of ``pages/`` with ``values`` in it, escaped; a value that is missing is an error."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(PAGES), autoescape=True,
                                     undefined=jinja2.StrictUndefined)
    return environment.get_template(template).render(values)


def _write_scan(folder: Path, scan: Scan, simulated: bool, most: float) -> dict:
    """The files of one case; what the page has to know of it."""
    for kind in ("imaging", *scan.layers):
        content = gzip.compress(as_nifti(*thinned(scan, kind, most)), 6, mtime=0)
        write_atomic(folder / scan.name / f"{kind}.nii.gz", content)
    still = three_views(scan.imaging, scan.layers, scan.spacing, scan.name, simulated)
    still.savefig(folder / scan.name / "still.png", dpi=100)
    title = heading(scan.name, simulated)
    return {
        "name": scan.name, "title": title, "centre": scan.fraction(scan.centre), "facts": in_short(scan, most),
        "still": f"{scan.name}/still.png", "alt": alternative(still), "imaging": f"{scan.name}/imaging.nii.gz",
        "layers": {kind: f"{scan.name}/{kind}.nii.gz" for kind in scan.layers},
    }

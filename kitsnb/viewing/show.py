"""A look at CT from a terminal: ``python -m kitsnb show CASE`` serves the page to this machine alone."""

import tempfile
import webbrowser
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from kitsnb.data.checks import Accept
from kitsnb.data.settings import DataSettings
from kitsnb.files import Build, read_json, resolve
from kitsnb.messages import console
from kitsnb.viewing.page import write_page
from kitsnb.viewing.scan import find_scans, read_scan

#: Cases of a folder that one page holds, those with a prediction first: more would take minutes to write.
MOST_CASES = 8


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        """Print no line per request: the terminal is the reader's."""


def show(source: Path, label: Path | None = None, prediction: Path | None = None, accept: Accept | None = None, *,
         output: Path | None = None, port: int = 0, opened: bool = True) -> None:
    """Write the page of ``source``, in ``output`` or for a while; open a browser on it; serve it until Ctrl-C.

    ``source`` is as in ``find_scans``, or a build's folder. Raises OSError and ValueError, CaseError among them, for
    what cannot be shown and for a port that is taken.
    """
    screen = console()
    with tempfile.TemporaryDirectory(prefix="kitsnb-") as passing:
        folder = output or Path(passing)
        with ThreadingHTTPServer(("127.0.0.1", port), partial(_Quiet, directory=folder)) as server:
            with screen.status(f"reading {source}"):
                show_page(folder, source.expanduser().resolve(), label, prediction, accept)
            address = f"http://127.0.0.1:{server.server_port}/"
            try:
                screen.print(f"{address} shows {source} until Ctrl-C")
                if opened:
                    webbrowser.open(address)
                server.serve_forever()
            except KeyboardInterrupt:
                pass


def show_page(folder: Path, source: Path, label: Path | None, prediction: Path | None, accept: Accept | None) -> None:
    """Write the page of the first cases of ``source`` to ``folder``; its title says how many there are."""
    title = source.name
    builds = [Build(folder) for folder in (source, *source.parents) if Build(folder).profile.is_file()]
    if builds:
        cases, data = cases_of(builds[0])
        if source == builds[0].folder:
            source = cases
            accept = accept if accept and accept.label_map else data.accept
    found = find_scans(source, label, prediction)
    if prediction and not any(given.prediction for given in found.values()):
        raise ValueError(f"{prediction} holds no prediction of {next(iter(found))}; give that of this CT")
    first = sorted(found.values(), key=lambda given: given.prediction is None)[:MOST_CASES]
    if len(first) < len(found):
        title = f"{title}: {len(first)} of {len(found)} cases"
    ours = prediction and (prediction / "run.json").is_file()  # its labels are 0, 1, 2 already
    scans = ((given.name, read_scan(given, accept, None if ours else accept)) for given in first)
    write_page(folder, scans, title=title, simulated=bool(builds) and data.simulated)


def cases_of(build: Build) -> tuple[Path, DataSettings]:
    """Return the folder of the cases of ``build``, which is below it where their CT is simulated, and their settings."""
    data = DataSettings(**read_json(build.profile)["data"])
    return resolve(data.folder) if data.source == "folder" else build.data, data

"""A look at CT from a terminal: ``python -m kitsnb show CASE`` serves a viewer page to this machine alone."""

import tempfile
import webbrowser
from contextlib import ExitStack
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from kitsnb.data.checks import Accept
from kitsnb.files import Build, read_json
from kitsnb.messages import console
from kitsnb.viewing.page import write_viewer
from kitsnb.viewing.scan import find_scans, read_scan

#: Cases of a folder that one page holds, those with a prediction first: more would take minutes to write.
MOST_CASES = 8


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        """No line a request: the terminal is the reader's."""


def show(
    source: Path, label: Path | None = None, prediction: Path | None = None, accept: Accept | None = None, *,
    output: Path | None = None, port: int = 0, opened: bool = True,
) -> None:
    """Write the viewer page of ``source``, in ``output`` or for a while; open a browser on it; serve it until Ctrl-C.

    ``source`` and ``prediction`` as ``find_scans`` has them; ``source`` may be a build's folder, too. Raises OSError
    and ValueError, CaseError among them, for what cannot be shown and for a port that is taken.
    """
    screen = console()
    with ExitStack() as stack:
        folder = output or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kitsnb-")))
        server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", port), partial(_Quiet, directory=folder)))
        with screen.status(f"reading {source}"):
            left_out = write_page(folder, source, label, prediction, accept)
        if left_out:
            screen.print(f"{left_out} more cases are there; give the folder of one to see it")
        address = f"http://127.0.0.1:{server.server_port}/"
        screen.print(f"{address} shows {source} until Ctrl-C")
        if opened:
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass


def write_page(folder: Path, source: Path, label: Path | None, prediction: Path | None, accept: Accept | None) -> int:
    """Write the page of the first cases of ``source``; how many others are left out."""
    build = Build(source.resolve())
    if profile := read_json(build.profile):
        made = profile["parameters"]["data_analysis"]
        source = build.cases(made["source"], made["folder"])
    found = find_scans(source, prediction)
    if label and len(found) > 1:
        raise ValueError(f"{label} is the label of one CT, and {source} holds {len(found)}; give one of them")
    if prediction and not any(labels for _, labels in found.values()):
        raise ValueError(f"{prediction} holds no prediction of {next(iter(found))}; give that of this CT")
    first = sorted(found.values(), key=lambda pair: pair[1] is None)[:MOST_CASES]
    simulated = any(read_json(Build(parent).profile).get("simulated") for parent in source.resolve().parents)
    scans = (read_scan(ct, label, labels, accept) for ct, labels in first)
    write_viewer(folder, scans, build.folder.name, simulated=simulated)
    return len(found) - len(first)

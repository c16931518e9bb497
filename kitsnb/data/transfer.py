"""One file over HTTP: resumed where the server can, retried while that helps, and never taken from an error page.

pooch knows addresses and hashes, but its own transfer starts anew each time; a CT volume of 200 MB should not.
"""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar
from urllib.parse import urlsplit

import requests
import urllib3

from kitsnb import __version__

CHUNK = 1 << 16
GZIP = b"\x1f\x8b"
GO_ON = "run the same command again: it goes on where this stopped"
CHECK_ADDRESS = "check the address {url}"
#: Statuses that the same request may not get a second time; all other 4xx are final.
PASSING = {408, 425, 429}
Verified = TypeVar("Verified")


class Fault(Exception):
    """Why a transfer failed and what to do; ``again``: another attempt may help, not before ``wait`` s."""

    def __init__(self, reason: str, advice: str = GO_ON, again: bool = True, wait: float = 0.0):
        super().__init__(reason)
        self.reason, self.advice, self.again, self.wait = reason, advice, again, wait


class WrongContent(Fault):
    """All bytes came, but they are not the file."""


class Stopped(Exception):
    """The transfer was told to stop; what came so far is kept."""


@dataclass(frozen=True)
class Patience:
    """How long to bear with a server.

    ``timeout`` s without a byte, or without a connection, end an attempt; ``attempts`` in a row that bring the file no
    further end the transfer. Between them lie ``pause`` s, doubled each time up to ``longest``, or what the server asks for.
    """

    attempts: int = 6
    timeout: float = 30.0
    pause: float = 1.0
    longest: float = 60.0

    def before(self, attempt: int, asked: float) -> float:
        """Seconds to wait before ``attempt`` (the second has number 1); no server may ask for more than ten ``longest``."""
        return max(min(self.pause * 2 ** (attempt - 1), self.longest), min(asked, 10 * self.longest))


@dataclass(frozen=True)
class Remote:
    """What the server says of a file: its size in bytes and its SHA-256, None where it does not say."""

    size: int | None
    sha256: str | None


class Watcher:
    """Hears how a transfer goes; this one ignores it."""

    def begin(self, size: int | None, offset: int) -> None:
        """An attempt brings a file of ``size`` bytes, of which ``offset`` are here."""

    def receive(self, count: int) -> None:
        """``count`` bytes more are here."""


def fetch(
    url: str,
    part: Path,
    verify: Callable[[Path, Remote], Verified],
    patience: Patience = Patience(),
    watcher: Watcher = Watcher(),
    stop: threading.Event | None = None,
) -> Verified:
    """Bring ``url`` to ``part``, going on from the bytes that are there, and return what ``verify`` says of it.

    ``verify`` may raise WrongContent; then ``part`` is deleted and fetched afresh, once: what comes wrong twice is wrong at
    its source. Raises Fault when it gives up, and Stopped once ``stop`` is set; ``part`` then stays for the next call.
    """
    stop = stop or threading.Event()
    tries, wrong, furthest = 0, 0, _size(part)
    while True:
        try:
            return verify(part, _attempt(url, part, patience.timeout, watcher, stop))
        except Fault as error:
            fault = error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            invalid = isinstance(error, ValueError)  # requests calls addresses so that it cannot read
            fault = Fault(_explain(error, url, patience.timeout), CHECK_ADDRESS if invalid else GO_ON, again=not invalid)
        except OSError as error:
            raise Fault(f"cannot be written: {error.strerror or error}", "check permissions and disk", again=False) from error
        if isinstance(fault, WrongContent):
            part.unlink(missing_ok=True)
            wrong, furthest = wrong + 1, 0
        reached = _size(part)
        tries = 1 if reached > furthest else tries + 1  # a bad line that brings some bytes each time gets there
        furthest = max(reached, furthest)
        if not fault.again or wrong == 2 or tries >= patience.attempts:
            fault.advice = fault.advice.format(url=url)
            raise fault
        stop.wait(patience.before(tries, fault.wait))


def _attempt(url: str, part: Path, timeout: float, watcher: Watcher, stop: threading.Event) -> Remote:
    """One request, its bytes appended to ``part`` (or in its place, where the server starts from the beginning)."""
    if stop.is_set():
        raise Stopped
    offset = _size(part)
    headers = {"Accept-Encoding": "identity", "User-Agent": f"kitsnb/{__version__}"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
        if response.status_code != 416:
            return _receive(response, part, offset, watcher, stop)
        remote = _remote(response, offset)
        if offset and remote.size == offset:  # all was here; only the verification had not been reached
            return remote
    if not offset:
        raise Fault("the server answers 416 to a request without range", CHECK_ADDRESS, again=False)
    part.unlink()  # longer than the file
    return _attempt(url, part, timeout, watcher, stop)


def _receive(response: requests.Response, part: Path, offset: int, watcher: Watcher, stop: threading.Event) -> Remote:
    _check_status(response)
    resumed = response.status_code == 206
    begins = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if resumed and not (begins and int(begins[1]) == offset):
        part.unlink(missing_ok=True)
        raise Fault("the server sent another range than the one asked for")
    offset = offset if resumed else 0
    remote = _remote(response, offset)
    watcher.begin(remote.size, offset)
    stream = response.raw.stream(CHUNK, decode_content=False)  # some servers call a .gz file an encoding, and would unpack it
    first = b"" if resumed else next(stream, b"")
    if not resumed:
        _check_start(first, gzipped=".gz" in part.name)
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("ab" if resumed else "wb") as file:
        _write(file, first, watcher)
        for chunk in stream:
            if stop.is_set():
                raise Stopped
            _write(file, chunk, watcher)
    _check_size(part, remote)
    return remote


def _write(file: BinaryIO, chunk: bytes, watcher: Watcher) -> None:
    file.write(chunk)
    watcher.receive(len(chunk))


def _check_status(response: requests.Response) -> None:
    status = response.status_code
    if status in PASSING or status >= 500:
        asked = response.headers.get("Retry-After", "")
        raise Fault(f"the server answers {status} {response.reason}", wait=float(asked) if asked.isdecimal() else 0.0)
    if status not in (200, 206):
        raise Fault(f"the server answers {status} {response.reason}", CHECK_ADDRESS, again=False)
    if "html" in response.headers.get("Content-Type", "").lower():
        raise Fault("the server sent a web page instead of the file", CHECK_ADDRESS)


def _check_start(first: bytes, gzipped: bool) -> None:
    if first.lstrip().startswith(b"<"):
        raise Fault("the server sent a web page instead of the file", CHECK_ADDRESS)
    if gzipped and first and not first.startswith(GZIP):
        raise Fault("the server sent no gzip file", CHECK_ADDRESS)


def _check_size(part: Path, remote: Remote) -> None:
    size = _size(part)
    if remote.size is not None and size < remote.size:
        raise Fault(f"cut short: {size} of {remote.size} bytes came")
    if not size or (remote.size is not None and size > remote.size):
        raise WrongContent(f"{size} bytes came instead of {remote.size or 'some'}")


def _remote(response: requests.Response, offset: int) -> Remote:
    """Size and hash from the headers. Hugging Face gives both where it redirects to its store, not in the last answer."""
    answers = [*response.history, response]
    linked = [answer.headers.get("X-Linked-ETag", "") for answer in answers]
    hashes = [match[1].lower() for etag in linked if (match := re.fullmatch(r'(?:W/)?"?([0-9a-fA-F]{64})"?', etag.strip()))]
    if response.status_code in (206, 416):
        total = re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
        size = int(total[1]) if total else None
    else:
        length = response.headers.get("Content-Length", "")
        size = int(length) + offset if length.isdecimal() else None
    return Remote(size, hashes[-1] if hashes else None)


def _explain(error: Exception, url: str, timeout: float) -> str:
    if isinstance(error, (requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError)):
        return f"stalled: no byte came for {timeout:g} s"
    if isinstance(error, (requests.ConnectionError, requests.Timeout)):
        return f"no connection to {urlsplit(url).netloc} ({_innermost(error)})"
    if isinstance(error.__cause__, urllib3.exceptions.IncompleteRead):
        return f"cut short: the connection ended {error.__cause__.expected} bytes too early"
    return f"transfer failed: {_innermost(error)}"


def _innermost(error: Exception) -> str:
    """The last cause: what requests and urllib3 wrap around it is longer than a line."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return f"{getattr(error, 'strerror', None) or error or type(error).__name__}"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0

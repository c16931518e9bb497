"""A server on this machine that answers as badly as servers do: each way to answer is a function of handler and file."""

import hashlib
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Serves ``files``; ``plans[path]`` says how it answers, the first for the first GET, the last for all others.

    A HEAD is answered as the next GET will be.
    """

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = dict(files)
        self.plans: dict[str, list[Callable]] = defaultdict(lambda: [whole])
        self.asked: dict[str, list[int]] = defaultdict(list)

    @contextmanager
    def running(self) -> Iterator["Server"]:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        yield self
        self.shutdown()
        self.server_close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_) -> None:
        """Clients that hang up are what these tests are about."""


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.offset = 0
        self.server.plans[self.path][0](self, self.server.files[self.path])

    def do_GET(self) -> None:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        self.offset = int(match[1]) if match else 0
        self.server.asked[self.path].append(self.offset)
        plan = self.server.plans[self.path]
        answer = plan.pop(0) if len(plan) > 1 else plan[0]
        answer(self, self.server.files[self.path])

    def log_message(self, *_) -> None:
        pass

    def head(self, status: int, length: int, **headers: str) -> None:
        self.send_response(status)
        etag = hashlib.sha256(self.server.files[self.path]).hexdigest()
        headers |= {"Content-Length": str(length), "ETag": f'"{etag}"', "X-Repo-Commit": "0" * 40}
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def begin(self, data: bytes) -> bytes:
        """The right head for the range that was asked for; returns the bytes that should follow."""
        rest = data[self.offset :]
        ranged = {"Content_Range": f"bytes {self.offset}-{len(data) - 1}/{len(data)}"} if self.offset else {}
        self.head(206 if self.offset else 200, len(rest), **ranged)
        return b"" if self.command == "HEAD" else rest


def whole(handler: Handler, data: bytes) -> None:
    handler.wfile.write(handler.begin(data))


def drop(handler: Handler, data: bytes) -> None:
    """Ends in the middle of what remains."""
    rest = handler.begin(data)
    handler.wfile.write(rest[: len(rest) * 3 // 4])


def truncate(handler: Handler, data: bytes) -> None:
    """A file that is short and, as far as the header goes, whole."""
    handler.offset = 0
    handler.wfile.write(handler.begin(data[: len(data) * 3 // 4]))


def damaged(handler: Handler, data: bytes) -> None:
    """The right length, and one byte in the middle of the packed voxels is another."""
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 0xFF
    handler.wfile.write(handler.begin(bytes(flipped)))


def missing(handler: Handler, _) -> None:
    handler.head(404, 0)


def page(handler: Handler, _) -> None:
    body = b"\n<!DOCTYPE html><html><body>Please log in</body></html>"
    handler.head(200, len(body))
    handler.wfile.write(body)

"""A server on this machine that answers as badly as servers do: each way to answer is a function of handler and file."""

import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Serves ``files``; ``plans[path]`` says how it answers, the first for the first request, the last for all others."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = dict(files)
        self.plans: dict[str, list[Callable]] = defaultdict(lambda: [whole])
        self.asked: dict[str, list[int]] = defaultdict(list)
        self.released = threading.Event()

    @contextmanager
    def running(self) -> Iterator["Server"]:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        yield self
        self.released.set()
        self.shutdown()
        self.server_close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_) -> None:
        """Clients that hang up are what these tests are about."""

    def requests(self) -> int:
        return sum(map(len, self.asked.values()))


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        self.offset = int(match[1]) if match else 0
        self.server.asked[self.path].append(self.offset)
        plan = self.server.plans[self.path]
        (plan.pop(0) if len(plan) > 1 else plan[0])(self, self.server.files.get(self.path, b""))

    def log_message(self, *_) -> None:
        pass

    def head(self, status: int, length: int | None, kind: str = "application/octet-stream", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def begin(self, data: bytes, **headers: str) -> bytes:
        """The right head for the range that was asked for; returns the bytes that should follow."""
        if self.offset >= len(data):
            self.head(416, 0, Content_Range=f"bytes */{len(data)}")
            return b""
        rest = data[self.offset :]
        ranged = {"Content_Range": f"bytes {self.offset}-{len(data) - 1}/{len(data)}"} if self.offset else {}
        self.head(206 if self.offset else 200, len(rest), **ranged, **headers)
        return rest


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


def endless(handler: Handler, data: bytes) -> None:
    """No length is given, and the connection ends in the middle."""
    handler.head(200, None)
    handler.wfile.write(data[: len(data) // 2])


def stall(handler: Handler, data: bytes) -> None:
    rest = handler.begin(data)
    handler.wfile.write(rest[: len(rest) * 3 // 4])
    handler.wfile.flush()
    handler.server.released.wait(10)


def mute(handler: Handler, _) -> None:
    handler.server.released.wait(10)


def whole_again(handler: Handler, data: bytes) -> None:
    """Ignores the range."""
    handler.offset = 0
    whole(handler, data)


def drop_again(handler: Handler, data: bytes) -> None:
    handler.offset = 0
    drop(handler, data)


def other_range(handler: Handler, data: bytes) -> None:
    handler.head(206, 10, Content_Range=f"bytes 5-14/{len(data)}")
    handler.wfile.write(data[5:15])


def piece(handler: Handler, data: bytes) -> None:
    """A correct range, and less of it than was asked for."""
    rest = data[handler.offset :][:50000]
    last = handler.offset + len(rest) - 1
    handler.head(206, len(rest), Content_Range=f"bytes {handler.offset}-{last}/{len(data)}")
    handler.wfile.write(rest)


def labelled(handler: Handler, data: bytes) -> None:
    """Calls the packing an encoding, as some servers do with every .gz."""
    handler.wfile.write(handler.begin(data, Content_Encoding="gzip"))


def damaged(handler: Handler, data: bytes) -> None:
    """The right length, and one byte in the middle of the packed voxels is another."""
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 0xFF
    handler.wfile.write(handler.begin(bytes(flipped)))


def status(code: int, **headers: str) -> Callable:
    return lambda handler, _: handler.head(code, 0, **headers)


def page(kind: str, body: bytes = b"\n<!DOCTYPE html><html><body>Please log in</body></html>") -> Callable:

    def answer(handler: Handler, _) -> None:
        handler.head(200, len(body), kind)
        handler.wfile.write(body)

    return answer

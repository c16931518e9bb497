"""One file over HTTP: resuming, retrying, giving up, from a server on this machine that misbehaves."""

import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.server_at_hand import (
    Handler,
    Server,
    damaged,
    drop,
    drop_again,
    endless,
    mute,
    other_range,
    page,
    piece,
    stall,
    status,
    whole,
    whole_again,
)

from kitsnb.data.transfer import CHUNK, GZIP, Fault, Patience, Remote, Stopped, Watcher, WrongContent, fetch

#: Only its first bytes matter here; ``verify`` knows it by its content.
DATA = GZIP + np.random.default_rng(0).bytes(3 * CHUNK)
PATH = "/case_00001.nii.gz"
QUICK = Patience(attempts=3, timeout=5, pause=0.01, longest=0.02)
STALL = Patience(attempts=2, timeout=0.3, pause=0.01, longest=0.02)


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server({PATH: DATA}).running() as server:
        yield server


@pytest.fixture
def part(tmp_path) -> Path:
    return tmp_path / ".imaging.nii.gz.part"


def verify(path: Path, remote: Remote) -> Remote:
    if path.read_bytes() != DATA:
        raise WrongContent("other bytes")
    return remote


def bring(server: Server, part: Path, patience: Patience = QUICK, watcher: Watcher = Watcher()) -> Remote:
    return fetch(f"{server.address}{PATH}", part, verify, patience, watcher)


@pytest.mark.parametrize("left", [0, 1000, CHUNK, -1, None, 5000])
@pytest.mark.parametrize("answer", [whole, whole_again, other_range, drop, endless])
def test_whatever_was_left_the_file_is_right(server, part, left, answer):
    """Less than the file, all of it (None), more than it (5000 bytes), with servers that know ranges, or do not."""
    part.write_bytes(DATA + bytes(5000) if left == 5000 else DATA[:left])
    server.plans[PATH] = [answer, whole]
    bring(server, part)
    assert part.read_bytes() == DATA


def test_no_byte_is_fetched_twice(server, part):
    server.plans[PATH] = [drop, drop, whole]
    bring(server, part)
    first, second, third = server.asked[PATH]
    assert first == 0 and CHUNK < second < third < len(DATA)


def test_all_was_here_and_only_the_verification_was_missing(server, part):
    part.write_bytes(DATA)
    assert bring(server, part) == Remote(len(DATA), None)
    assert server.asked[PATH] == [len(DATA)]


def test_a_server_that_never_knows_ranges_is_asked_once(server, part):
    part.write_bytes(DATA[:1000])
    server.plans[PATH] = [whole_again]
    assert bring(server, part).size == len(DATA) and len(server.asked[PATH]) == 1


def test_a_server_that_gives_less_than_was_asked_for(server, part):
    part.write_bytes(DATA[:1000])
    server.plans[PATH] = [piece]
    bring(server, part)
    assert server.asked[PATH] == [1000, 51000, 101000, 151000]


def test_another_range_than_the_one_asked_for_is_not_used(server, part):
    part.write_bytes(DATA[:1000])
    server.plans[PATH] = [other_range]
    with pytest.raises(Fault, match="the server sent another range than the one asked for"):
        bring(server, part)
    assert not part.exists()


def test_a_part_that_is_too_long_is_no_fault_of_the_source(server, part):
    part.write_bytes(DATA + b"more")
    server.plans[PATH] = [whole, damaged, whole]
    bring(server, part)
    assert server.asked[PATH] == [len(DATA) + 4, 0, 0]


def test_a_line_that_brings_something_each_time_gets_there(server, part):
    """Six requests, where three in a row without a new byte would end the transfer."""
    server.plans[PATH] = [lambda handler, data: handler.wfile.write(handler.begin(data)[: len(data) // 6 + 1])]
    bring(server, part)
    assert len(server.asked[PATH]) == 6 > QUICK.attempts


def test_a_line_that_never_gets_further_is_given_up(server, part):
    server.plans[PATH] = [drop_again]
    with pytest.raises(Fault, match="cut short: the connection ended 49153 bytes too early") as caught:
        bring(server, part)
    assert caught.value.advice == "run the same command again: it goes on where this stopped"
    assert len(server.asked[PATH]) == QUICK.attempts and DATA.startswith(part.read_bytes())


@pytest.mark.parametrize("answer", [stall, mute])
def test_a_stall_ends_an_attempt(server, part, answer):
    server.plans[PATH] = [answer, whole]
    bring(server, part, STALL)
    server.plans[PATH] = [mute]
    with pytest.raises(Fault, match=r"stalled: no byte came for 0\.3 s"):
        bring(server, part.with_name("other"), STALL)


def test_no_server_at_all(part):
    with pytest.raises(Fault, match=r"no connection to 127\.0\.0\.1:1 \(Connection refused\)"):
        fetch("http://127.0.0.1:1/file", part, verify, QUICK)


@pytest.mark.parametrize("address", ["example/file", "ftp://example/file", "http://"])
def test_an_address_that_is_none_is_not_tried_again(part, address):
    with pytest.raises(Fault) as caught:
        fetch(address, part, verify, Patience(pause=60))
    assert caught.value.advice == f"check the address {address}"


@pytest.mark.parametrize(("code", "requests"), [(500, 3), (503, 3), (429, 3), (404, 1), (403, 1), (416, 1), (204, 1)])
def test_statuses_that_may_pass_are_retried(server, part, code, requests):
    server.plans[PATH] = [status(code)]
    with pytest.raises(Fault, match=f"the server answers {code}"):
        bring(server, part)
    assert len(server.asked[PATH]) == requests and not part.exists()


def test_waits_grow_and_respect_what_the_server_asks_for():
    patience = Patience(pause=1, longest=5)
    assert [patience.before(attempt, 0) for attempt in (1, 2, 3, 4, 9)] == [1, 2, 4, 5, 5]
    assert patience.before(1, asked=20) == 20 and patience.before(1, asked=1e9) == 50


def test_retry_after_is_waited_for(server, part):
    server.plans[PATH] = [status(429, Retry_After="1"), whole]
    started = time.monotonic()
    bring(server, part, Patience(attempts=2, timeout=5, pause=0.01, longest=0.04))
    assert 0.4 <= time.monotonic() - started  # ten times ``longest``


@pytest.mark.parametrize("answer", [page("text/html"), page("application/octet-stream"), status(500)])
def test_what_is_no_file_does_not_harm_what_is_here(server, part, answer):
    server.plans[PATH] = [drop, answer, whole]
    bring(server, part)
    assert server.asked[PATH][1] > 0 and part.read_bytes() == DATA


def test_a_web_page_is_known_by_its_type(server, part):
    server.plans[PATH] = [page("text/html", body=b"Please log in")]
    with pytest.raises(Fault, match="the server sent a web page instead of the file"):
        bring(server, part)


def test_text_instead_of_a_gzip_file(server, part):
    server.files[PATH] = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    with pytest.raises(Fault, match="the server sent no gzip file"):
        bring(server, part)
    assert not part.exists()


@pytest.mark.parametrize("empty", [b"", GZIP])
def test_what_comes_wrong_twice_is_wrong_at_its_source(server, part, empty):
    server.files[PATH] = empty
    server.plans[PATH] = [lambda handler, data: (handler.head(200, len(data)), handler.wfile.write(data))]
    with pytest.raises(WrongContent):
        bring(server, part)
    assert server.asked[PATH] == [0, 0] and not part.exists()


@pytest.mark.parametrize("style", ['"{}"', 'W/"{}"', "{}"])
def test_size_and_hash_are_handed_on(server, part, style):
    digest = hashlib.sha256(DATA).hexdigest()
    server.files["/store"] = DATA
    server.plans[PATH] = [status(302, Location="/store", X_Linked_ETag=style.format(digest))]
    assert bring(server, part) == Remote(len(DATA), digest)
    server.plans[PATH] = [status(302, Location="/store", X_Linked_ETag='"da39a3ee5e6b4b0d3255bfef95601890afd80709"')]
    part.unlink()
    assert bring(server, part) == Remote(len(DATA), None)  # of small files, Hugging Face sends git's hash


def test_a_watcher_hears_of_every_byte(server, part):
    heard = []

    class Listener(Watcher):
        def begin(self, size, offset):
            heard.append([size, offset])

        def receive(self, count):
            heard[-1].append(count)

    server.plans[PATH] = [drop, whole]
    bring(server, part, watcher=Listener())
    (size, offset, *counts), (again, reached, *rest) = heard
    assert size == again == len(DATA) == sum(counts) + sum(rest) and (offset, reached) == (0, sum(counts))


def test_a_stop_keeps_what_came(server, part):
    stop = threading.Event()

    def half(handler: Handler, data: bytes) -> None:
        rest = handler.begin(data)
        handler.wfile.write(rest[: CHUNK + 1000])
        handler.wfile.flush()
        stop.set()
        handler.wfile.write(rest[CHUNK + 1000 :])

    server.plans[PATH] = [half]
    with pytest.raises(Stopped):
        fetch(f"{server.address}{PATH}", part, lambda *_: pytest.fail("not all is here"), QUICK, stop=stop)
    assert 0 < part.stat().st_size < len(DATA) and DATA.startswith(part.read_bytes())


def test_a_disk_that_refuses_is_not_tried_again(server, part):
    part.mkdir()
    with pytest.raises(Fault, match="cannot be written: Is a directory") as caught:
        bring(server, part)
    assert caught.value.advice == "check permissions and disk" and len(server.asked[PATH]) == 1

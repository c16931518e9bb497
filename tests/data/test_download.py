"""Downloads, from a server on this machine that misbehaves; nothing here needs the internet."""

import errno
import gzip
import hashlib
import io
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.server_at_hand import Handler, Server, damaged, drop, page, status, truncate, whole, whole_again
from huggingface_hub import file_download
from rich.console import Console

from kitsnb.data import download as subject
from kitsnb.data.cases import discover
from kitsnb.data.checks import check_cases
from kitsnb.data.download import download, parse_cases
from kitsnb.data.nifti import CaseError

SHAPE = (40, 48, 50)
CASES = (0, 1, 2)
LABEL, IMAGE = "/labels/case_00001/segmentation.nii.gz", "/imaging/case_00001.nii.gz"


def volume(number: int, labels: bool, shape: tuple[int, ...] = SHAPE) -> bytes:
    """A ``.nii.gz``; imaging is noise, so that it stays long when packed."""
    rng = np.random.default_rng(number)
    array = rng.integers(-1000, 1000, shape).astype(np.int16)
    array = (array > 900).astype(np.uint8) if labels else array
    return gzip.compress(nib.Nifti1Image(array, np.diag([3, 3, 3, 1])).to_bytes(), 1, mtime=0)


@pytest.fixture(scope="module")
def published() -> dict[str, bytes]:
    """What the server has, by path."""
    files = {"/labels/kits.json": json.dumps([{"case_id": f"case_{number:05d}"} for number in CASES]).encode()}
    for number in CASES:
        files[f"/labels/case_{number:05d}/segmentation.nii.gz"] = volume(number, labels=True)
        files[f"/imaging/case_{number:05d}.nii.gz"] = volume(number, labels=False)
    return files


@pytest.fixture
def server(published, monkeypatch) -> Iterator[Server]:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    monkeypatch.setattr(file_download.time, "sleep", lambda _: None)  # between attempts
    monkeypatch.setattr(file_download.constants, "DOWNLOAD_CHUNK_SIZE", 4096)  # what comes of a chunk is lost: 10 MB otherwise
    with Server(published).running() as server:
        yield server


@pytest.fixture
def registry(published, tmp_path) -> Path:
    path = tmp_path / "registry.txt"
    names = [name for name in published if name.startswith("/labels/")]
    path.write_text("".join(f"{name[8:]} {hashlib.sha256(published[name]).hexdigest()}\n" for name in names))
    return path


@pytest.fixture
def bring(server, registry, tmp_path) -> Callable[..., tuple[list[CaseError], str]]:
    """Downloads from the server to ``tmp_path/to``; returns the failures and what was printed."""

    def run(**options) -> tuple[list[CaseError], str]:
        printed = io.StringIO()
        addresses = {"labels_address": f"{server.address}/labels", "imaging_address": f"{server.address}/imaging/"}
        failures = download(tmp_path / "to", registry=registry, console=Console(file=printed, width=300),
                            **{**addresses, "retries": 2, **options})
        return failures, printed.getvalue()

    return run


def check_landed(folder: Path, published: dict[str, bytes], but: tuple[str, ...] = ()) -> None:
    """All files are there, byte for byte; of those in ``but`` none."""
    for source, data in published.items():
        if source in but:
            assert not landed(folder, source).exists(), source
        else:
            assert landed(folder, source).read_bytes() == data, source
    assert bool(but) or not (folder / ".arriving").exists()


def landed(folder: Path, source: str) -> Path:
    kind, name = source[1:].split("/", 1)
    return folder / (name if kind == "labels" else f"{name.removesuffix('.nii.gz')}/imaging.nii.gz")


def part(folder: Path, source: str) -> Path:
    return landed(folder / ".arriving", source)


def test_all_files_land_and_a_second_call_costs_nothing(bring, server, published, tmp_path, monkeypatch):
    failures, printed = bring()
    assert not failures and "7 of 7 files" in printed
    check_landed(tmp_path / "to", published)
    reports = check_cases(discover(tmp_path / "to"))
    assert [report.case for report in reports] == [f"case_{number:05d}" for number in CASES]
    assert not [report for report in reports if report.status == "refused"]
    monkeypatch.setattr(subject, "read_nifti", lambda *_: pytest.fail("read again"))
    monkeypatch.setattr(subject.pooch, "file_hash", lambda _: pytest.fail("hashed again"))
    assert server.requests() == 7
    assert bring()[0] == [] and server.requests() == 7


def test_some_cases_and_labels_only(bring, server, tmp_path):
    assert bring(cases=[1], labels_only=True)[0] == []
    assert sorted(server.asked) == [LABEL, "/labels/kits.json"]
    assert sorted(path.name for path in (tmp_path / "to").rglob("*") if path.is_file()) == [
        ".download.json", "kits.json", "segmentation.nii.gz"]


@pytest.mark.parametrize("source", [LABEL, IMAGE])
@pytest.mark.parametrize("answer", [drop, damaged, truncate, status(429), status(503)])
def test_what_goes_wrong_once_is_made_good(bring, server, published, tmp_path, source, answer):
    server.plans[source] = [answer, whole]
    assert bring()[0] == []
    check_landed(tmp_path / "to", published)


def test_imaging_goes_on_within_a_call_and_in_the_next(bring, server, published, tmp_path):
    server.plans[IMAGE] = [drop, drop, whole]
    assert bring()[0] == []
    assert sorted(set(server.asked[IMAGE])) == sorted(server.asked[IMAGE]) and len(server.asked[IMAGE]) == 3
    check_landed(tmp_path / "to", published)


def test_a_transfer_that_is_always_cut_is_reported_and_goes_on_next_time(bring, server, published, tmp_path):
    cut = len(published[IMAGE]) // 3
    server.plans[IMAGE] = [lambda handler, data: handler.wfile.write(handler.begin(data)[: max(0, cut - handler.offset)])]
    failures, printed = bring()
    assert [(error.case, error.file) for error in failures] == [("case_00001", "imaging.nii.gz")]
    assert len(server.asked[IMAGE]) < 12
    assert "transfer failed" in failures[0].reason and "run the same command again" in failures[0].advice
    assert "failed: case_00001: imaging.nii.gz: transfer failed" in printed and "6 of 7 files" in printed
    check_landed(tmp_path / "to", published, but=(IMAGE,))
    kept = part(tmp_path / "to", IMAGE).stat().st_size
    assert 0 < kept <= cut
    server.plans[IMAGE] = [whole]
    before = server.requests()
    assert bring()[0] == []
    assert server.asked[IMAGE][-1] == kept and server.requests() == before + 1
    check_landed(tmp_path / "to", published)


def test_a_missing_file_is_reported_and_the_rest_lands(bring, server, published, tmp_path):
    server.plans[IMAGE] = [status(404)]
    failures, _ = bring()
    assert [(error.case, error.file, error.reason) for error in failures] == [
        ("case_00001", "imaging.nii.gz", "the server answers 404 Not Found")]
    assert f"check {server.address}{IMAGE}" in failures[0].advice
    check_landed(tmp_path / "to", published, but=(IMAGE,))


@pytest.mark.parametrize("source", [LABEL, IMAGE, "/labels/kits.json"])
def test_a_web_page_is_never_taken_for_a_file(bring, server, published, tmp_path, source):
    server.plans[source] = [page]
    failures, _ = bring(retries=0)
    assert "web page" in failures[0].reason
    if source == LABEL:
        assert failures[1].reason == "not fetched, as it is checked against segmentation.nii.gz"
    check_landed(tmp_path / "to", published, but=(source, IMAGE) if source == LABEL else (source,))


def redirect(location: str, digest: str | None = None) -> Callable:
    """As Hugging Face answers: the hash comes with the redirect, the bytes from a store."""
    linked = {"X_Linked_ETag": f'"{digest}"'} if digest else {}
    return lambda handler, data: handler.head(302, 0, Location=location, **linked)


@pytest.mark.parametrize("right", [True, False])
def test_a_hash_that_comes_with_a_redirect_decides(bring, server, published, tmp_path, right):
    server.files["/store"] = published[IMAGE] if right else volume(7, labels=False)  # a fine volume, but another
    server.plans[IMAGE] = [redirect(f"http://localhost:{server.server_port}/store", hashlib.sha256(published[IMAGE]).hexdigest())]
    failures, _ = bring()
    assert [error.reason.partition(" is ")[0] for error in failures] == ([] if right else ["SHA-256"])
    check_landed(tmp_path / "to", published, but=() if right else (IMAGE,))


@pytest.mark.parametrize("source", [LABEL, IMAGE])
@pytest.mark.parametrize("location", ["http://[bad", "http://nowhere:port/", "ftp://elsewhere/file"])
def test_a_malformed_redirect_is_a_failure_of_that_file(bring, server, published, tmp_path, source, location):
    server.plans[source] = [redirect(location)]
    failures, printed = bring(retries=0)
    assert failures[0].reason.startswith("transfer failed (") and "Traceback" not in printed
    check_landed(tmp_path / "to", published, but=(LABEL, IMAGE) if source == LABEL else (IMAGE,))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(volume(1, labels=False)[:-2000], "corrupt: "), (volume(1, labels=False)[:-8] + bytes(8), "corrupt: "),
     (gzip.compress(b"no volume" * 100, mtime=0), "corrupt: no valid NIfTI header"),
     (volume(1, labels=False, shape=(40, 50, 48)), "shape (40, 50, 48) differs from segmentation.nii.gz's (40, 48, 50)")],
    ids=["truncated", "wrong checksum", "no volume", "another shape"],
)
def test_imaging_without_hash_is_read_to_its_end(bring, server, published, tmp_path, content, reason):
    server.files[IMAGE] = content
    failures, _ = bring()
    assert len(failures) == 1 and failures[0].reason.startswith(reason)
    check_landed(tmp_path / "to", published, but=(IMAGE,))


@pytest.mark.parametrize("answers", [[whole], [whole_again]])
def test_a_part_of_something_else_is_found_out(bring, server, published, tmp_path, answers):
    server.plans[IMAGE] = answers
    path = part(tmp_path / "to", IMAGE)
    path.parent.mkdir(parents=True)
    path.write_bytes(volume(9, labels=False)[:5000])
    assert bring(cases=[1])[0] == []
    assert server.asked[IMAGE] == ([5000, 0] if answers == [whole] else [5000])
    assert landed(tmp_path / "to", IMAGE).read_bytes() == published[IMAGE]


def test_files_that_were_there_before_are_verified_not_fetched(bring, server, published, tmp_path):
    for source in (LABEL, IMAGE):
        landed(tmp_path / "to", source).parent.mkdir(parents=True, exist_ok=True)
        landed(tmp_path / "to", source).write_bytes(published[source])
    assert bring(cases=[1])[0] == [] and list(server.asked) == ["/labels/kits.json"]


@pytest.mark.parametrize("source", [LABEL, IMAGE])
def test_a_file_that_was_changed_is_fetched_and_kept_aside(bring, server, published, tmp_path, source):
    bring()
    path = landed(tmp_path / "to", source)
    path.write_bytes(published[source][:-100])
    server.plans[source] = [status(404)]
    assert len(bring(retries=0)[0]) in (1, 2) and path.read_bytes() == published[source][:-100]
    server.plans[source] = [whole]
    assert bring()[0] == []
    check_landed(tmp_path / "to", published)
    assert path.with_name(f"{path.name}.replaced").read_bytes() == published[source][:-100]


def test_a_spoilt_note_costs_only_time(bring, server, tmp_path):
    bring()
    (tmp_path / "to" / ".download.json").write_text("{")
    asked = server.requests()
    assert bring()[0] == [] and server.requests() == asked


def test_all_failures_are_reported_by_case(bring, server, published, tmp_path):
    server.plans["/imaging/case_00002.nii.gz"] = [status(404)]
    server.plans[LABEL] = [page]
    server.plans["/labels/kits.json"] = [status(403)]
    failures, printed = bring(retries=0)
    assert [(error.case, error.file) for error in failures] == [
        ("all cases", "kits.json"), ("case_00001", "segmentation.nii.gz"), ("case_00001", "imaging.nii.gz"),
        ("case_00002", "imaging.nii.gz")]
    assert [line for line in printed.splitlines() if line.startswith("failed: ")] == [f"failed: {error}" for error in failures]
    check_landed(tmp_path / "to", published, but=(LABEL, IMAGE, "/labels/kits.json", "/imaging/case_00002.nii.gz"))


def test_a_disk_that_refuses_is_reported(bring, server, tmp_path):
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "case_00001").write_text("a file where the folder should be")
    failures, _ = bring()
    assert [(error.case, error.advice) for error in failures[:1]] == [("case_00001", "check permissions and disk")]
    assert {error.case for error in failures} == {"case_00001"}


def test_a_full_disk_is_reported_by_case(bring, monkeypatch):
    def full(*_) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(subject, "write_json", full)
    failures, _ = bring(cases=[1], labels_only=True)
    assert [f"{error.case}: {error.reason}" for error in failures] == [
        "all cases: No space left on device", "case_00001: No space left on device"]


def test_too_little_memory_is_no_fault_of_the_file(bring, server, tmp_path, monkeypatch):
    def small(path, case) -> None:
        raise CaseError(case, path.name, "too large for this machine's memory", "free some memory", "memory")

    monkeypatch.setattr(subject, "read_nifti", small)
    failures, _ = bring(cases=[1])
    assert [str(error) for error in failures] == [
        "case_00001: imaging.nii.gz: too large for this machine's memory; free some memory"]
    assert len(server.asked[IMAGE]) == 1 and part(tmp_path / "to", IMAGE).exists()


def test_cases_are_fetched_beside_each_other(bring, server):
    together = threading.Barrier(3, timeout=10)

    def meet(handler: Handler, data: bytes) -> None:
        if handler.command == "GET":
            together.wait()
        whole(handler, data)

    for number in CASES:
        server.plans[f"/imaging/case_{number:05d}.nii.gz"] = [meet]
    assert bring(workers=3)[0] == []


def test_an_interrupt_stops_the_threads_and_is_passed_on(bring, server, published, tmp_path, monkeypatch):
    started = threading.Event()

    def slow(handler: Handler, data: bytes) -> None:
        rest = handler.begin(data)
        for first in range(0, len(rest), 1000):
            handler.wfile.write(rest[first : first + 1000])
            started.set() if first > 20000 else None
            threading.Event().wait(0.01)

    def interrupt(_) -> Iterator:
        assert started.wait(10)
        raise KeyboardInterrupt

    server.plans[IMAGE] = [slow]
    monkeypatch.setattr(subject, "as_completed", interrupt)
    with pytest.raises(KeyboardInterrupt):
        bring(cases=[1])
    assert not landed(tmp_path / "to", IMAGE).exists()
    assert 0 < part(tmp_path / "to", IMAGE).stat().st_size < len(published[IMAGE])


@pytest.mark.parametrize(
    ("text", "numbers"), [("7", [7]), ("0-3", [0, 1, 2, 3]), ("9, 0-2,1", [0, 1, 2, 9]), ("00012", [12])])
def test_cases_are_named_by_numbers_and_ranges(text, numbers):
    assert parse_cases(text) == numbers


@pytest.mark.parametrize("text", ["", "a", "3-1", "1-", "-3", "1,,2", "1-2-3", "0.5", "²"])
def test_other_names_of_cases_are_refused(text):
    with pytest.raises(ValueError, match="names no cases; give numbers and ranges such as 0-9,15"):
        parse_cases(text)


def test_cases_that_kits19_lacks_are_refused(bring, server):
    with pytest.raises(ValueError, match="case_00003, case_00210: KiTS19 has labels for 3 cases, the last 2"):
        bring(cases=[0, 3, 210])
    assert not server.requests()

"""KiTS19 from its official sources into KiTS19's folder format, every file verified before it appears under its name.

Labels and ``kits.json`` come from the official repository at a pinned commit; the SHA-256 of each is in
``kits19_registry.txt`` and was computed from the blobs of that commit. Imaging comes from the Hugging Face data set that the
official repository names, at a pinned revision; its SHA-256 is the one that Hugging Face sends along, where it does. In
addition each volume is read to the end of its gzip stream, and imaging must have the shape of its label.

``.download.json`` in the target folder notes size and time of change of every verified file. While these hold, a file is
neither read nor fetched again; a file without note is verified where it lies, and fetched only if it fails.
"""

import json
import threading
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import pooch
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from kitsnb.data.cases import Case
from kitsnb.data.nifti import CaseError, read_header, read_nifti
from kitsnb.data.transfer import CHECK_ADDRESS, GO_ON, Fault, Patience, Stopped, Watcher, WrongContent, fetch
from kitsnb.files import write_json

COMMIT = "456b293435b25303bbc7995f094f83a0afdff0eb"
REVISION = "65f1f295873a326230153c7e1de0c7dba10f0b29"
LABELS_ADDRESS = f"https://raw.githubusercontent.com/neheller/kits19/{COMMIT}/data"
IMAGING_ADDRESS = f"https://huggingface.co/datasets/neheller/KiTS-Challenge-Imaging/resolve/{REVISION}/images"
REGISTRY = Path(__file__).with_name("kits19_registry.txt")
CLINICAL, SEGMENTATION, IMAGING = "kits.json", "segmentation.nii.gz", "imaging.nii.gz"
STAMPS = ".download.json"


def parse_cases(text: str) -> list[int]:
    """The numbers that ``0-9,15`` names, sorted. Raises ValueError for what is neither a number nor a range."""
    numbers = set()
    for item in text.split(","):
        first, dash, last = item.strip().partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)) or int(first) > int(last or first):
            raise ValueError(f"{item.strip()!r} names no cases; give numbers and ranges such as 0-9,15")
        numbers |= set(range(int(first), int(last or first) + 1))
    return sorted(numbers)


def download(
    to: str | Path,
    cases: Iterable[int] | None = None,
    labels_only: bool = False,
    labels_address: str = LABELS_ADDRESS,
    imaging_address: str = IMAGING_ADDRESS,
    registry: Path = REGISTRY,
    patience: Patience = Patience(),
    workers: int = 4,
    console: Console | None = None,
) -> list[CaseError]:
    """Bring ``cases`` (None: all 210) to ``to``/case_XXXXX and ``kits.json`` to ``to``, ``workers`` cases at a time.

    Returns what failed, sorted by case, after printing it; all else is complete, verified and stays. What arrived of a file
    that failed stays too, as a hidden ``.part``, and the next call goes on from there. An own file that differs from the
    published one is not lost: it gets the name ``*.replaced``. Raises ValueError for a case that the registry lacks.
    """
    to, console = Path(to).expanduser(), console or Console(soft_wrap=True, highlight=False)
    sources = Sources(to, labels_address, imaging_address, registry)
    names = [f"case_{number:05d}" for number in (sources.numbers if cases is None else cases)]
    sources.check(names)
    jobs = {name: [f"{name}/{file}" for file in ((SEGMENTATION,) if labels_only else (SEGMENTATION, IMAGING))] for name in names}
    jobs = {"all cases": [CLINICAL], **jobs}
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
               TimeRemainingColumn(elapsed_when_finished=True))
    with Progress(*columns, console=console, speed_estimate_period=120) as progress:
        meter = Meter(progress, [file for files in jobs.values() for file in files])
        failures = _run(jobs, Downloader(sources, patience, meter), workers, console)
    _report(console, to, jobs, failures)
    return failures


def _run(jobs: dict[str, list[str]], downloader: "Downloader", workers: int, console: Console) -> list[CaseError]:
    failures = []
    with ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(downloader.bring_all, case, files): case for case, files in jobs.items()}
        try:
            for future in as_completed(futures):
                failures += future.result()
                if not console.is_terminal:  # a log shows no bar until the end
                    console.print(f"{futures[future]}: {'failed' if future.result() else 'done'}")
        except BaseException:  # Ctrl-C above all: threads end at their next chunk, and keep what they have
            downloader.stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return sorted(failures, key=lambda error: error.case)


def _report(console: Console, to: Path, jobs: dict[str, list[str]], failures: list[CaseError]) -> None:
    wanted = sum(map(len, jobs.values()))
    console.print(f"{to}: {wanted - len(failures)} of {wanted} files are there and verified")
    for error in failures:
        console.print(f"failed: {error}", markup=False)


class Sources:
    """Where each file comes from, and its SHA-256 where it is known; names are relative to the folder ``to``."""

    def __init__(self, to: Path, labels_address: str, imaging_address: str, registry: Path):
        self.known = pooch.create(to, labels_address)
        self.known.load_registry(registry)
        self.to = to
        self.numbers = [Case(Path(name).parent).number for name in self.known.registry_files if name != CLINICAL]
        for number in self.numbers:
            name = f"case_{number:05d}/{IMAGING}"
            self.known.registry[name] = None
            self.known.urls[name] = f"{imaging_address.rstrip('/')}/case_{number:05d}.nii.gz"

    def check(self, names: Iterable[str]) -> None:
        """Raise ValueError unless KiTS19 has the cases ``names``."""
        unknown = [name for name in names if f"{name}/{SEGMENTATION}" not in self.known.registry]
        if unknown:
            raise ValueError(f"{', '.join(unknown[:5])}: KiTS19 has labels for {len(self.numbers)} cases, the last "
                             f"{max(self.numbers)}; ask for these")

    def verify(self, name: str, path: Path, sha256: str | None) -> str:
        """SHA-256 of the file ``name``, which lies at ``path``; ``sha256`` is what its server says, None if nothing.

        Raises WrongContent unless it is whole and the right one, and Fault where that cannot be found out.
        """
        digest = pooch.file_hash(str(path))
        expected = self.known.registry[name] or sha256
        if expected and digest != expected:
            raise WrongContent(f"SHA-256 is {digest[:12]}..., not {expected[:12]}... as published", CHECK_ADDRESS)
        if name != CLINICAL:
            self._verify_volume(name, path)
        return digest

    def _verify_volume(self, name: str, path: Path) -> None:
        try:
            shape = read_nifti(path)[0].shape
            expected = read_header((self.to / name).with_name(SEGMENTATION)).shape if name.endswith(IMAGING) else shape
        except MemoryError as error:
            raise Fault("too large to be read in this memory", "free some memory", again=False) from error
        except ValueError as error:  # a CaseError, or what numpy says to an impossible header
            raise WrongContent(getattr(error, "reason", f"corrupt: {error}"), CHECK_ADDRESS) from error
        if shape != expected:
            raise WrongContent(f"shape {shape} differs from {SEGMENTATION}'s {expected}", CHECK_ADDRESS)


class Stamps:
    """Which files below a folder were verified: name to [bytes, time of change in ns, SHA-256]."""

    def __init__(self, folder: Path):
        self.folder, self.lock = folder, threading.Lock()
        try:
            self.known = json.loads((folder / STAMPS).read_text())
        except (FileNotFoundError, ValueError):  # without notes all is verified anew
            self.known = {}

    def holds(self, name: str, sha256: str | None) -> bool:
        """Is ``name`` as it was when verified, and verified to be ``sha256`` (None: any)?"""
        path, stamp = self.folder / name, self.known.get(name)
        return stamp is not None and path.is_file() and stamp == [*_mark(path), sha256 or stamp[2]]

    def note(self, name: str, digest: str) -> None:
        with self.lock:
            self.known[name] = [*_mark(self.folder / name), digest]
            write_json(self.folder / STAMPS, self.known)


def _mark(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


class Downloader:
    """Brings files to their places; may be used by several threads, one a case."""

    def __init__(self, sources: Sources, patience: Patience, meter: "Meter"):
        self.sources, self.patience, self.meter = sources, patience, meter
        self.to, self.stamps = sources.to, Stamps(sources.to)
        self.stop, self.reading = threading.Event(), threading.Lock()

    def bring_all(self, case: str, names: list[str]) -> list[CaseError]:
        """The failures of one case. A label comes before its imaging, which is checked against it."""
        failures = []
        for name in names:
            file = Path(name).name
            try:
                if failures:
                    raise Fault(f"not fetched, as it is checked against {failures[0].file}", GO_ON)
                self.bring(name)
            except Fault as fault:
                failures.append(CaseError(case, file, fault.reason, fault.advice))
            except OSError as error:
                failures.append(CaseError(case, file, f"{error.strerror or error}", "check permissions and disk"))
            except Stopped:
                break
            self.meter.end(name)
        return failures

    def bring(self, name: str) -> None:
        """Make sure that ``name`` is there and verified. Raises Fault, OSError or Stopped."""
        target = self.to / name
        if self.stamps.holds(name, self.sources.known.registry[name]):
            return
        if target.is_file():
            try:
                self.stamps.note(name, self._verify(name, target))
                return
            except WrongContent:
                pass  # cut short by another program, or changed by hand; it stays until a better one is there
        part = target.with_name(f".{target.name}.part")
        digest = fetch(self.sources.known.get_url(name), part, lambda path, remote: self._verify(name, path, remote.sha256),
                       self.patience, FileWatcher(self.meter, name), self.stop)
        if target.exists():
            target.replace(target.with_name(f"{target.name}.replaced"))
        part.replace(target)
        self.stamps.note(name, digest)

    def _verify(self, name: str, path: Path, sha256: str | None = None) -> str:
        with self.reading:  # the largest volumes take 2 GB of memory; one at a time
            return self.sources.verify(name, path, sha256)


class Meter:
    """One bar for all files. Sizes are known once a server answers; until then a file counts as the mean of its kind."""

    def __init__(self, progress: Progress, names: list[str]):
        self.progress, self.lock = progress, threading.Lock()
        self.waiting, self.count = dict.fromkeys(names), len(names)
        self.left: dict[str, int] = {}
        self.sizes: dict[str, list[int]] = {}
        self.ended = self.received = 0
        self.task = progress.add_task("", total=None)

    def begin(self, name: str, size: int | None, offset: int) -> None:
        """``name`` has ``size`` bytes (None: unknown), of which ``offset`` need not be fetched."""
        with self.lock:
            if name in self.waiting and size is not None:
                self.sizes.setdefault(_kind(name), []).append(size)
            self.waiting.pop(name, None)
            self.left[name] = (size or offset) - offset
            self._show()

    def receive(self, name: str, count: int) -> None:
        with self.lock:
            self.received += count
            self.left[name] = max(self.left[name] - count, 0)
            self.progress.update(self.task, completed=self.received)

    def end(self, name: str) -> None:
        with self.lock:
            self.waiting.pop(name, None)
            self.left.pop(name, None)
            self.ended += 1
            self._show()

    def expected(self) -> float | None:
        """Bytes of this call, fetched and to be fetched; None while nothing is known of a kind that is still waiting."""
        waiting = Counter(map(_kind, self.waiting))
        if waiting.keys() - self.sizes.keys():
            return None
        guesses = (number * sum(self.sizes[kind]) / len(self.sizes[kind]) for kind, number in waiting.items())
        return self.received + sum(self.left.values()) + sum(guesses)

    def _show(self) -> None:
        self.progress.update(self.task, description=f"{self.ended} of {self.count} files", completed=self.received,
                             total=self.expected())


class FileWatcher(Watcher):
    """Tells a Meter of one file."""

    def __init__(self, meter: Meter, name: str):
        self.meter, self.name = meter, name

    def begin(self, size: int | None, offset: int) -> None:
        self.meter.begin(self.name, size, offset)

    def receive(self, count: int) -> None:
        self.meter.receive(self.name, count)


def _kind(name: str) -> str:
    return Path(name).name

"""KiTS19 from its official sources into KiTS19's folder format, every file verified before it appears under its name.

Labels and ``kits.json`` come from the official repository at a pinned commit, by pooch; ``kits19_registry.txt`` has
the SHA-256 of each. Imaging comes from the Hugging Face data set that the official repository names, at a pinned
revision, by huggingface_hub, which goes on with a file where it stopped; its SHA-256 is the one that the server sends,
and it is read to its end and must have its label's shape.

What is on its way lies in ``.arriving``. ``.download.json`` notes size and time of change of every verified file, which
is then neither read nor fetched again; one without note is verified where it lies.
"""

import re
import shutil
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from io import BufferedWriter
from pathlib import Path

import pooch
from rich.console import Console

from kitsnb.data.nifti import CaseError, read_header, read_nifti
from kitsnb.files import file_state, read_json, write_json
from kitsnb.messages import progress

COMMIT = "456b293435b25303bbc7995f094f83a0afdff0eb"
REVISION = "65f1f295873a326230153c7e1de0c7dba10f0b29"
LABELS_ADDRESS = f"https://raw.githubusercontent.com/neheller/kits19/{COMMIT}/data"
IMAGING_ADDRESS = f"https://huggingface.co/datasets/neheller/KiTS-Challenge-Imaging/resolve/{REVISION}/images"
REGISTRY = Path(__file__).with_name("kits19_registry.txt")
CLINICAL, SEGMENTATION, IMAGING = "kits.json", "segmentation.nii.gz", "imaging.nii.gz"
ARRIVING, NOTES = ".arriving", ".download.json"
GO_ON = "check {url}, or run the same command again: it goes on where this stopped"


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
    workers: int = 4,
    console: Console | None = None,
    retries: int = 3,
) -> list[CaseError]:
    """Bring ``cases`` (None: all 210) to ``to``/case_XXXXX and ``kits.json`` to ``to``, ``workers`` cases at a time.

    Returns what failed, sorted by case, after printing it. What arrived of imaging that failed stays, and the next call
    goes on from there; a label is fetched ``retries`` times more. An own file that differs from the published one gets
    the name ``*.replaced``. Raises ValueError for a case that KiTS19 lacks, OSError where ``to`` cannot be a folder.
    """
    to, console = Path(to).expanduser(), console or Console(soft_wrap=True, highlight=False)
    sources = Sources(to, labels_address, imaging_address, registry, retries)
    names = sources.numbers if cases is None else list(cases)
    if unknown := [f"case_{number:05d}" for number in sorted(set(names) - set(sources.numbers))]:
        raise ValueError(f"{', '.join(unknown[:5])}: KiTS19 has labels for {len(sources.numbers)} cases, the last "
                         f"{max(sources.numbers)}; ask for these")
    to.mkdir(parents=True, exist_ok=True)
    jobs = {name: [f"{name}/{file}" for file in (SEGMENTATION, IMAGING)[: 1 if labels_only else 2]]
            for name in (f"case_{number:05d}" for number in names)}
    jobs = {"all cases": [CLINICAL], **jobs}
    failures = _bring(sources, jobs, workers, console)
    wanted = sum(map(len, jobs.values()))
    console.print(f"{to}: {wanted - len(failures)} of {wanted} files are there and verified", markup=False)
    for error in failures:
        console.print(f"failed: {error}", markup=False)
    if not failures:
        shutil.rmtree(to / ARRIVING, ignore_errors=True)
    return failures


def _bring(sources: "Sources", jobs: dict[str, list[str]], workers: int, console: Console) -> list[CaseError]:
    """Bring the files of every case, under a bar; what failed, sorted by case."""
    failures: list[CaseError] = []
    with ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(sources.bring_all, case, files): case for case, files in jobs.items()}
        try:
            for future in progress(as_completed(futures), "downloading", len(jobs)):
                failures += future.result()
                if not console.is_terminal:  # a log shows no bar until the end
                    console.print(f"{futures[future]}: {'failed' if future.result() else 'done'}")
        except BaseException:  # Ctrl-C above all: threads end at their next chunk, and keep what they have
            sources.stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return sorted(failures, key=lambda error: error.case)


class Arriving(BufferedWriter):
    """A file on its way, added to where it stopped; nothing more is written to it once ``stop`` is set."""

    def __init__(self, path: Path, stop: threading.Event):
        super().__init__(path.open("ab", buffering=0))
        self.stop = stop

    def write(self, content: bytes) -> int:
        if self.stop.is_set():
            raise InterruptedError("stopped")
        return super().write(content)


class Sources:
    """Where each file comes from, and how it gets to its place below ``to``. Threads may share it, one a case."""

    def __init__(self, to: Path, labels_address: str, imaging_address: str, registry: Path, retries: int = 0):
        self.to, self.imaging_address = to, imaging_address.rstrip("/")
        self.labels = pooch.create(to / ARRIVING, labels_address, retry_if_failed=retries)
        self.labels.load_registry(registry)
        self.numbers = [int(name[5:10]) for name in self.labels.registry_files if name != CLINICAL]
        self.stop, self.lock = threading.Event(), threading.Lock()
        self.notes = read_json(to / NOTES)  # without notes all is verified anew

    def url(self, name: str) -> str:
        return f"{self.imaging_address}/{name[:10]}.nii.gz" if name.endswith(IMAGING) else self.labels.get_url(name)

    def bring_all(self, case: str, names: list[str]) -> list[CaseError]:
        """The failures of one case. A label comes before its imaging, which is checked against it."""
        failures: list[CaseError] = []
        for name in names:
            try:
                if failures:
                    raise CaseError(case, "", f"not fetched, as it is checked against {failures[0].file}", GO_ON)
                self.bring(name)
            except Exception as error:  # whatever a server makes a client raise: the other files go on
                reason, advice = _explain(error)
                failures.append(CaseError(case, Path(name).name, reason, advice.format(url=self.url(name))))
        return failures

    def bring(self, name: str) -> None:
        """Make sure that ``name`` is there and verified."""
        target, part = self.to / name, self.to / ARRIVING / name
        if target.is_file() and self.notes.get(name) == file_state(target):
            return
        try:
            self.verify(name, target)
        except CaseError as error:
            if error.code == "memory":
                raise
            self._fetch_imaging(name, part) if name.endswith(IMAGING) else self.labels.fetch(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():  # cut short by another program, or changed by hand
                target.replace(target.with_name(f"{target.name}.replaced"))
            part.replace(target)
        with self.lock:
            self.notes[name] = file_state(target)
            write_json(self.to / NOTES, self.notes)

    def _fetch_imaging(self, name: str, part: Path) -> None:
        """Bring ``part``, going on from the bytes that are there; what is wrong at its end is fetched afresh, once."""
        from huggingface_hub import get_hf_file_metadata, utils
        from huggingface_hub.file_download import http_get

        utils.logging.set_verbosity_error()
        utils.disable_progress_bars()
        part.parent.mkdir(parents=True, exist_ok=True)
        for afresh in (True, False):
            remote = get_hf_file_metadata(self.url(name), retry_on_errors=True)
            if part.exists() and part.stat().st_size > (remote.size or 0):
                part.unlink()
            with Arriving(part, self.stop) as file:
                http_get(remote.location, file, resume_size=file.tell(), expected_size=remote.size)
            try:
                return self.verify(name, part, remote.etag)
            except CaseError as error:
                if error.code != "memory":
                    part.unlink()
                if error.code == "memory" or not afresh:
                    raise

    def verify(self, name: str, path: Path, etag: str | None = None) -> None:
        """Raise CaseError unless ``path`` is ``name``: by SHA-256, from registry or ``etag``; imaging is read, too."""
        case, file = Path(name).parent.name, Path(name).name
        expected = self.labels.registry.get(name) or (etag if re.fullmatch("[0-9a-f]{64}", etag or "") else None)
        if not path.is_file():
            raise CaseError(case, file, "missing", GO_ON)
        if expected and (digest := pooch.file_hash(str(path))) != expected:
            raise CaseError(case, file, f"SHA-256 is {digest[:12]}..., not {expected[:12]}... as published", GO_ON)
        if file == IMAGING:
            with self.lock:  # the largest volumes take 2 GB of memory; one at a time
                shape = read_nifti(path, case)[0].shape
            if shape != (wanted := read_header(self.to / case / SEGMENTATION).shape):
                raise CaseError(case, file, f"shape {shape} differs from {SEGMENTATION}'s {wanted}", GO_ON)


def _explain(error: Exception) -> tuple[str, str]:
    """Reason and advice, in a line each, of what pooch, huggingface_hub, a checked file or the disk raise."""
    if isinstance(error, CaseError):
        return error.reason, error.advice
    if (response := getattr(error, "response", None)) is not None:
        phrase = getattr(response, "reason_phrase", None) or response.reason
        return f"the server answers {response.status_code} {phrase}", GO_ON
    if isinstance(error, OSError) and error.errno:
        return error.strerror, "check permissions and disk"
    if "hash of downloaded file" in str(error):
        return "SHA-256 is not the published one: a cut file, or a web page in its place", GO_ON
    return f"transfer failed ({type(error).__name__}: {' '.join(str(error).split())[:200]})", GO_ON

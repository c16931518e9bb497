"""KiTS19 from its official sources into its folder format; every file is verified before it appears under its name.

Labels and ``kits.json`` come by pooch from the official repository at a pinned commit (``kits19_registry.txt`` has
their SHA-256), imaging by huggingface_hub from the data set that it names, or a mirror (``HF_ENDPOINT``).
"""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pooch

from kitsnb.data.cases import Case, for_each_case
from kitsnb.data.nifti import CaseError, read_header, read_nifti

COMMIT = "456b293435b25303bbc7995f094f83a0afdff0eb"
REVISION = "65f1f295873a326230153c7e1de0c7dba10f0b29"
LABELS_ADDRESS = f"https://raw.githubusercontent.com/neheller/kits19/{COMMIT}/data/"
IMAGING_DATA_SET = "neheller/KiTS-Challenge-Imaging"
REGISTRY = Path(__file__).with_name("kits19_registry.txt")
CASES = 210
GO_ON = "run the same command again: what is there is kept"


def parse_cases(text: str) -> list[int]:
    """Return the numbers that ``0-9,15`` names, sorted. Raises ValueError for what is no number, range or case."""
    numbers = set()
    for item in text.split(","):
        first, _, last = item.strip().partition("-")
        last = last if "-" in item else first
        if not (first.isdecimal() and last.isdecimal()) or not int(first) <= int(last) < CASES:
            raise ValueError(f"{item.strip()!r} names no cases; give numbers and ranges such as 0-9,15, up to 209")
        numbers.update(range(int(first), int(last) + 1))
    return sorted(numbers)


def download(
    to: str | Path, cases: Iterable[int] | None = None, labels_only: bool = False, workers: int = 4
) -> list[CaseError]:
    """Bring ``cases`` (None: all) to ``to``/case_XXXXX and ``kits.json`` to ``to``, ``workers`` cases at a time.

    Returns what failed, after printing it. A transfer that is cut goes on where it stopped; files that are there are
    not fetched again.
    """
    to = Path(to).expanduser()
    to.mkdir(parents=True, exist_ok=True)
    labels = pooch.create(to, LABELS_ADDRESS, retry_if_failed=3)
    labels.load_registry(REGISTRY)
    pooch.get_logger().setLevel("WARNING")
    wanted = [Case(to / f"case_{number:05d}") for number in (range(CASES) if cases is None else cases)]
    failures = _attempt("all cases", "kits.json", lambda: _bring_published(labels, "kits.json"))

    def bring(case: Case) -> list[CaseError]:
        name = f"{case.name}/segmentation.nii.gz"
        failed = _attempt(case.name, "segmentation.nii.gz", lambda: _bring_published(labels, name))
        if failed or labels_only:  # imaging is checked against the label
            return failed
        return _attempt(case.name, "imaging.nii.gz", lambda: _bring_imaging(case))

    done, _ = for_each_case(bring, wanted, workers, "downloading")
    failed = [error for errors in done.values() for error in errors]
    print(f"{to}: {len(wanted) - len(failed)} of {len(wanted)} cases are there")
    failures += failed
    for error in failures:
        print(f"failed: {error}")
    if not failures:
        shutil.rmtree(to / ".arriving", ignore_errors=True)
    return failures


def _attempt(case: str, file: str, work: Callable[[], None]) -> list[CaseError]:
    """Call ``work``; return what it raised, whatever a server or the disk made a client raise, by case and file."""
    try:
        work()
    except CaseError as error:
        return [CaseError(case, file, error.reason, error.advice, error.code)]
    except Exception as error:
        cause = error.__cause__ or error
        reason = f"transfer failed ({type(cause).__name__}: {' '.join(str(cause).split())[:300]})"
        return [CaseError(case, file, reason, GO_ON)]
    return []


def _bring_published(labels: pooch.Pooch, name: str) -> None:
    """Fetch a file that the registry knows; one that is there and differs is left, as it may be somebody's work."""
    path = Path(labels.path) / name
    if path.is_file() and pooch.file_hash(str(path)) != labels.registry[name]:
        raise CaseError("", path.name, "is not the published file", "move it away, and run the same command again")
    labels.fetch(name)


def _bring_imaging(case: Case) -> None:
    """Fetch imaging that is not there, read it to its end, and compare its shape with the label's."""
    from huggingface_hub import hf_hub_download

    if case.imaging.exists():
        return
    arriving = case.folder.parent / ".arriving"
    name = f"images/{case.name}.nii.gz"
    path = Path(hf_hub_download(IMAGING_DATA_SET, name, repo_type="dataset", revision=REVISION, local_dir=arriving))
    try:
        volume, _ = read_nifti(path, case.name)
        wanted = read_header(case.segmentation).shape
        if volume.shape != wanted:
            raise CaseError(case.name, path.name, f"shape {volume.shape} differs from the label's {wanted}", GO_ON)
    except CaseError as error:
        if error.code != "memory":
            path.unlink()
        raise
    path.replace(case.imaging)

"""KiTS19 into its folder format, verified: labels and ``kits.json`` from the official repository at a pinned commit,
imaging from the data set on Hugging Face that it names, or a mirror (``HF_ENDPOINT``).
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

import pooch

from kitsnb.data.cases import Case, for_each_case
from kitsnb.data.nifti import CaseError, read_nifti

COMMIT = "456b293435b25303bbc7995f094f83a0afdff0eb"
REVISION = "65f1f295873a326230153c7e1de0c7dba10f0b29"
LABELS_ADDRESS = f"https://raw.githubusercontent.com/neheller/kits19/{COMMIT}/data/"
IMAGING_DATA_SET = "neheller/KiTS-Challenge-Imaging"
REGISTRY = Path(__file__).with_name("kits19_registry.txt")


def parse_cases(text: str) -> list[int]:
    """Return the numbers that ``0-9,15`` names, sorted. Raises ValueError for what is no number, range or case."""
    numbers = set()
    for item in text.split(","):
        first, dash, last = item.strip().partition("-")
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last) < 210):
            raise ValueError(f"{item!r} names no cases; give numbers and ranges such as 0-9,15, up to 209")
        numbers.update(range(int(first), int(last) + 1))
    return sorted(numbers)


def download(to: Path, cases: Iterable[int], labels_only: bool = False) -> dict[str, str]:
    """Bring ``cases`` and ``kits.json`` to the folder ``to``; return what failed, by name, after printing it.

    What is there is not fetched again. Raises OSError or ValueError where ``kits.json`` fails.
    """
    to.mkdir(parents=True, exist_ok=True)
    published = pooch.create(to, LABELS_ADDRESS, retry_if_failed=3)
    published.load_registry(REGISTRY)
    pooch.get_logger().setLevel("WARNING")

    def bring(case: Case) -> None:
        try:
            _bring_published(published, f"{case.name}/segmentation.nii.gz")
            if not labels_only:
                _bring_imaging(case)
        except Exception as error:  # whatever a server or the disk makes a client raise: the other cases go on
            advice = "run the same command again: what is there is kept"
            raise CaseError(case.name, "download", f"failed ({error.__cause__ or error})", advice) from error

    wanted = [Case(to / f"case_{number:05d}") for number in cases]
    done, failures = for_each_case(bring, wanted, 4, "downloading")
    print(f"{to}: {len(done)} of {len(wanted)} cases are there")
    for name, reason in failures.items():
        print(f"failed: {name}: {reason}")
    _bring_published(published, "kits.json")
    if not failures:
        shutil.rmtree(to / ".arriving", ignore_errors=True)
    return failures


def _bring_published(published: pooch.Pooch, name: str) -> None:
    """Fetch a file that the registry knows; one that is there and differs is left, as it may be somebody's work."""
    path = Path(published.path) / name
    if path.is_file() and pooch.file_hash(str(path)) != published.registry[name]:
        raise ValueError(f"{path} is not the published file; move it away")
    published.fetch(name)


def _bring_imaging(case: Case) -> None:
    """Fetch imaging that is not there, and read it to its end before it gets its name."""
    from huggingface_hub import hf_hub_download

    if case.imaging.exists():
        return
    name = f"images/{case.name}.nii.gz"
    arriving = case.folder.parent / ".arriving"
    path = Path(hf_hub_download(IMAGING_DATA_SET, name, repo_type="dataset", revision=REVISION, local_dir=arriving))
    try:
        read_nifti(path, case.name)
    except CaseError:
        path.unlink()
        raise
    path.replace(case.imaging)

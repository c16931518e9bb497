"""What a case is: its files in KiTS19's folder format, its name, discovery, and which cases are held out."""

import os
import re
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from kitsnb.data.nifti import CaseError
from kitsnb.messages import progress

if TYPE_CHECKING:
    from kitsnb.data.settings import DataSettings

Result = TypeVar("Result")

CONFIRMED = "annotation confirmed faulty by the organizers of the challenge"
DOUBTED = "annotation doubted by the winners of the challenge"
#: Cases that the seed paper leaves out (its reference 13), by number. Four of the six were corrected upstream in
#: December 2019; they stay out to keep the split.
EXCLUDED = {15: CONFIRMED, 23: DOUBTED, 37: CONFIRMED, 68: DOUBTED, 125: DOUBTED, 133: DOUBTED}
#: Seed of the one shuffle before cases are cut into folds: the same for every run, so that comparisons stay paired.
FOLD_SEED = 0
_FOLDER = re.compile(r"case_\d{5}")
_SUFFIX = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)


@dataclass(frozen=True, order=True)
class Case:
    """One folder ``case_XXXXX`` with ``imaging`` and ``segmentation``, as .nii.gz or .nii; neither need exist yet."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def number(self) -> int:
        return int(self.name.removeprefix("case_"))

    @property
    def imaging(self) -> Path:
        return self._file("imaging")

    @property
    def segmentation(self) -> Path:
        return self._file("segmentation")

    @property
    def organs(self) -> Path:
        """The organ map of a simulated case; no other has one."""
        return self._file("organs")

    def _file(self, kind: str) -> Path:
        packed = self.folder / f"{kind}.nii.gz"
        if packed.exists() or not self.folder.is_dir():
            return packed
        others = sorted(path for path in self.folder.iterdir() if is_nifti(path) and stem(path).lower() == kind)
        return others[0] if others else packed


@dataclass(frozen=True)
class Split:
    """Training and validation cases, and the names that the ranges ask for but the folder lacks."""

    training: list[Case]
    validation: list[Case]
    missing: list[str]


def is_nifti(path: Path) -> bool:
    """Does ``path`` end as NIfTI files do, in small letters or capitals?"""
    return bool(_SUFFIX.search(path.name))


def stem(path: Path) -> str:
    """Return the name of a NIfTI file without its end."""
    return _SUFFIX.sub("", path.name)


def case_name(path: Path) -> str:
    """Return the name of the case that a file belongs to, as KiTS19, nnU-Net and ``predict`` name files.

    ``case_00210/segmentation.nii.gz`` and ``prediction_00210.nii.gz`` are of case_00210; ``prediction_anna.nii.gz``
    and nnU-Net's first channel ``anna_0000.nii.gz`` are of anna. Of any other name the whole stem counts, never a
    number within it.
    """
    own = stem(path)
    if own.lower() in ("imaging", "segmentation"):
        return path.parent.name
    own = own.removesuffix("_0000") or own
    bare = own.removeprefix("prediction_") or own
    return f"case_{bare}" if bare != own and re.fullmatch(r"\d{5}", bare) else bare


def discover(folder: str | Path) -> list[Case]:
    """Find all cases below ``folder``, sorted by number.

    Raises FileNotFoundError where ``folder`` is missing or holds no ``case_XXXXX`` folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; give the folder that holds case_00000, case_00001, ...")
    found = _case_folders(folder)
    if not found:
        inner = [child for child in sorted(folder.iterdir()) if child.is_dir() and _case_folders(child)]
        advice = f"did you mean {inner[0]}?" if inner else "give the folder that holds them"
        raise FileNotFoundError(f"{folder}: holds no folder named case_XXXXX (five digits); {advice}")
    return [Case(path) for path in found]


def skipped(folder: str | Path) -> list[str]:
    """List what ``discover`` passes over in ``folder``, but for hidden names and KiTS19's clinical table."""
    names = {path.name for path in Path(folder).iterdir() if not path.name.startswith(".")}
    return sorted(names - {path.name for path in _case_folders(Path(folder))} - {"kits.json"})


def _case_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _FOLDER.fullmatch(path.name) and path.is_dir())


def hold_out(cases: Iterable[Case], settings: "DataSettings", seed: int = 0) -> Split:
    """Split ``cases`` by the ranges of ``settings``; with ``folds``, hold out group ``seed`` modulo ``folds``.

    Raises ValueError where no case is left to train on, or none to hold out.
    """
    there = {case.number: case for case in cases}
    first, last = settings.training
    training = sorted(set(range(first, last + 1)) - set(settings.excluded))
    first, last = settings.validation
    validation = sorted(set(range(first, last + 1)) - set(settings.excluded))
    asked = {*training, *validation}
    if settings.folds:
        validation = cut_into_folds(asked, settings.folds)[seed % settings.folds]
        training = sorted(asked - set(validation))
    missing = [f"case_{number:05d}" for number in sorted(asked - set(there))]
    split = Split([there[n] for n in training if n in there], [there[n] for n in validation if n in there], missing)
    for part, purpose in ((split.training, "train on"), (split.validation, "hold out")):
        if not part:
            raise ValueError(f"no case is left to {purpose}; widen training and validation, or get the cases")
    return split


def cut_into_folds(numbers: Iterable[int], folds: int) -> list[list[int]]:
    """Cut ``numbers``, shuffled once, into ``folds`` sorted groups, as MIScnn does, with a seed that never changes.

    The cut follows the numbers asked for, not the files at hand, so a missing case moves no other.
    """
    # RandomState's stream is frozen, that of newer generators may change with numpy's version.
    shuffled = np.random.RandomState(FOLD_SEED).permutation(sorted(numbers))
    return [sorted(group.tolist()) for group in np.array_split(shuffled, folds)]


def for_each_case(
    work: Callable[[Case], Result], cases: Iterable[Case], workers: int | None = None, what: str = "cases"
) -> tuple[dict[str, Result], dict[str, str]]:
    """Call ``work`` for each case in ``workers`` threads (None: one per core); return results and refusals by name.

    A case for which it raises CaseError is refused with a warning, and the others go on. Any other error ends all,
    and so does Ctrl-C, as soon as the cases that are being worked on are done.
    """
    done, refused = {}, {}
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        jobs = {case.name: pool.submit(work, case) for case in cases}
        try:
            for name, job in progress(jobs.items(), what):
                try:
                    done[name] = job.result()
                except CaseError as error:
                    warnings.warn(f"refused: {error}", stacklevel=2)
                    refused[name] = f"{error.file}: {error.reason}; {error.advice}"
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return done, refused

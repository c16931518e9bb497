"""What a case is: its files in KiTS19's folder format, discovery, split and exclusions."""

import os
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from kitsnb.data.nifti import CaseError
from kitsnb.messages import progress

Result = TypeVar("Result")

#: Cases that the seed paper leaves out: two that the challenge confirmed faulty, four that Isensee and others doubted
#: (its reference 13). Four of the six were corrected upstream in December 2019; they stay out to keep the split.
EXCLUDED = {number: "annotation confirmed faulty by the organizers of the challenge" if number in (15, 37)
            else "annotation doubted by the winners of the challenge" for number in (15, 23, 37, 68, 125, 133)}
#: Seed of the one shuffle before cases are cut into folds: the same for every run, so that comparisons stay paired.
FOLD_SEED = 0
_NAME = re.compile(r"case_\d{5}")


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
        packed, plain = self.folder / f"{kind}.nii.gz", self.folder / f"{kind}.nii"
        return plain if plain.is_file() and not packed.exists() else packed


@dataclass(frozen=True)
class Files:
    """Files that lie in no folder ``case_XXXXX``, under the name of their case."""

    name: str
    imaging: Path | None
    segmentation: Path


def stem(path: Path) -> str:
    """The name of a NIfTI file without its end."""
    return path.name.removesuffix(".gz").removesuffix(".nii")


@dataclass(frozen=True)
class Split:
    """Training and validation cases, and the names that the ranges ask for but the folder lacks."""

    training: list[Case]
    validation: list[Case]
    missing: list[str]


def discover(folder: str | Path) -> list[Case]:
    """All cases below ``folder``, sorted by number.

    Raises FileNotFoundError where ``folder`` is missing or holds no ``case_XXXXX`` folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; give the folder that holds case_00000, case_00001, ...")
    found = _case_folders(folder)
    if not found:
        inner = [child.name for child in sorted(folder.iterdir()) if child.is_dir() and _case_folders(child)]
        advice = f"did you mean {folder / inner[0]}?" if inner else "give the folder that holds them"
        raise FileNotFoundError(f"{folder}: holds no folder named case_XXXXX (five digits); {advice}")
    return [Case(path) for path in found]


def skipped(folder: str | Path) -> list[str]:
    """Names in ``folder`` that ``discover`` passes over, but for hidden ones and KiTS19's clinical table."""
    names = {path.name for path in Path(folder).iterdir() if not path.name.startswith(".")}
    return sorted(names - {path.name for path in _case_folders(Path(folder))} - {"kits.json"})


def _case_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir())


def select(cases: Iterable[Case], training: Sequence[int] = (0, 165), validation: Sequence[int] = (166, 209),
           excluded: Iterable[int] | None = None, fold: int | None = None, folds: int | None = None) -> Split:
    """Split ``cases`` by inclusive ranges of numbers; the defaults are the seed paper's split.

    ``excluded`` None leaves out ``EXCLUDED``, an empty list leaves out nothing. With ``folds``, the cases of both
    ranges are shuffled together and cut into so many groups (``cut_into_folds``); the group number ``fold`` (from 0)
    is held out, and the others are trained on. Raises ValueError for a range that is not [first, last], for ranges
    that share a case, since validation cases must not be trained on, and for a fold that does not exist.
    """
    ranges = {"training": training, "validation": validation}
    for name, limits in ranges.items():
        if len(limits) != 2 or limits[0] > limits[1]:
            raise ValueError(f"{name}: {list(limits)} is no range; give [first, last], both included")
    if max(training[0], validation[0]) <= min(training[1], validation[1]):
        both = f"training {list(training)} and validation {list(validation)}"
        raise ValueError(f"{both} share cases; give disjoint ranges")
    left_out = set(EXCLUDED if excluded is None else excluded)
    wanted = {name: [number for number in range(first, last + 1) if number not in left_out]
              for name, (first, last) in ranges.items()}
    if (fold is None) != (folds is None):
        raise ValueError(f"fold {fold} of {folds} folds: give both or neither")
    if folds is not None:
        groups = cut_into_folds([number for numbers in wanted.values() for number in numbers], folds)
        if fold not in range(folds):
            raise ValueError(f"fold: there is no fold {fold} of {folds}; the first is 0, the last {folds - 1}")
        others = [number for index, group in enumerate(groups) if index != fold for number in group]
        wanted = {"training": sorted(others), "validation": groups[fold]}
    there = {case.number: case for case in cases}
    chosen = {name: [there[number] for number in numbers if number in there] for name, numbers in wanted.items()}
    missing = [f"case_{number:05d}" for numbers in wanted.values() for number in numbers if number not in there]
    return Split(**chosen, missing=sorted(missing))


def cut_into_folds(numbers: Sequence[int], folds: int) -> list[list[int]]:
    """``numbers``, shuffled once and cut into ``folds`` sorted groups, as MIScnn does, with a seed that never changes.

    The cut follows the numbers asked for, not the files at hand, so a missing case moves no other. Raises ValueError
    for fewer than two folds and for more folds than numbers.
    """
    if type(folds) is not int or not 2 <= folds <= len(numbers):
        raise ValueError(f"folds: {len(numbers)} cases can be cut into 2 to {len(numbers)} folds, not {folds!r}")
    # RandomState's stream is frozen, that of newer generators may change with numpy's version.
    shuffled = np.random.RandomState(FOLD_SEED).permutation(sorted(numbers))
    return [sorted(group.tolist()) for group in np.array_split(shuffled, folds)]


def for_each_case(
    work: Callable[[Case], Result], cases: Iterable[Case], workers: int | None = None, what: str = "cases"
) -> tuple[dict[str, Result], dict[str, str]]:
    """What ``work`` returns for each case, by name, done by ``workers`` threads (None: one a core); and the refused.

    A case for which it raises CaseError is refused with a warning, the reason is kept by its name, and the others go
    on. Any other error ends all, and so does Ctrl-C, as soon as the cases that are being worked on are done.
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

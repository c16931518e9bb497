"""What a case is: its files in KiTS19's folder format, its name, discovery, and which cases are held out."""

import os
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kitsnb.data.nifti import CaseError
from kitsnb.data.settings import DataSettings, numbers_of
from kitsnb.files import resolve
from kitsnb.messages import progress

_SUFFIX = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)


@dataclass(frozen=True, order=True)
class Case:
    """One folder ``case_XXXXX`` with ``imaging`` and ``segmentation``, as .nii.gz or .nii; neither need exist yet."""

    folder: Path
    mark: str = ""  # behind the name of a case from a further folder, "-2": both may hold the same number

    @property
    def name(self) -> str:
        return self.folder.name + self.mark

    @property
    def number(self) -> int:
        return int(self.name[5:10])

    @property
    def imaging(self) -> Path:
        return self._file("imaging")

    @property
    def segmentation(self) -> Path:
        return self._file("segmentation")

    def _file(self, kind: str) -> Path:
        packed = self.folder / f"{kind}.nii.gz"
        plain = self.folder / f"{kind}.nii"
        return plain if plain.exists() and not packed.exists() else packed


@dataclass(frozen=True)
class Split:
    """Training and validation cases, and the names that the ranges ask for but the folder lacks."""

    training: list[Case]
    validation: list[Case]
    missing: list[str]


def is_nifti(path: Path) -> bool:
    """Does ``path`` end as NIfTI files do, in small letters or capitals?"""
    return stem(path) != path.name


def stem(path: Path) -> str:
    """Return the name of a NIfTI file without its end."""
    return _SUFFIX.sub("", path.name)


def case_name(path: Path) -> str:
    """Return the case that a file is of: case_00210 for ``prediction_00210.nii.gz``, anna for ``anna_0000.nii.gz``."""
    own = stem(path)
    if own.lower() in ("imaging", "segmentation"):
        return path.parent.name
    bare = own.removeprefix("prediction_").removesuffix("_0000")  # nnU-Net's first channel
    predicted = own.startswith("prediction_") and re.fullmatch(r"\d{5}", bare)
    return f"case_{bare}" if predicted else bare


def discover(folder: str | Path) -> list[Case]:
    """Find all cases below ``folder``, sorted by number; FileNotFoundError where there is none."""
    folder = Path(folder)
    found = [Case(path) for path in sorted(folder.glob("case_" + "[0-9]" * 5)) if path.is_dir()]
    if not found:
        problem = "holds no folder named case_XXXXX (five digits)" if folder.is_dir() else "no such folder"
        raise FileNotFoundError(f"{folder}: {problem}; give the folder that holds case_00000, case_00001, ...")
    return found


def further_cases(settings: DataSettings) -> list[Case]:
    """Find the cases of ``more_training``, marked "-2" in the first of its folders. Raises as ``discover``."""
    found = []
    for position, folder in enumerate(settings.more_training, start=2):
        found += [Case(case.folder, f"-{position}") for case in discover(resolve(folder))]
    return found


def hold_out(cases: Iterable[Case], settings: DataSettings, seed: int = 0, further: Iterable[Case] = ()) -> Split:
    """Split ``cases`` by ranges, or hold out fold ``seed`` modulo ``folds``. ValueError where a part is empty.

    Of ``further_cases`` all train whose number is neither held out nor excluded.
    """
    there = {case.number: case for case in cases}
    training, validation = numbers_of(settings)
    asked = training | validation
    if settings.folds:
        validation = set(cut_into_folds(asked, settings.folds)[seed % settings.folds])
        training = asked - validation
    split = Split(
        [there[number] for number in sorted(training & there.keys())],
        [there[number] for number in sorted(validation & there.keys())],
        [f"case_{number:05d}" for number in sorted(asked - there.keys())],
    )
    split.training.extend(case for case in further if case.number not in validation.union(settings.excluded))
    if not split.training or not split.validation:
        raise ValueError("no case is left to train on, or to hold out; widen training and validation, or get the cases")
    return split


def cut_into_folds(numbers: Iterable[int], folds: int) -> list[list[int]]:
    """Cut ``numbers``, shuffled once, into ``folds`` sorted groups; the same for ever, so a missing case moves none."""
    # RandomState's stream is frozen, that of newer generators may change with numpy's version.
    shuffled = np.random.RandomState(0).permutation(sorted(numbers))
    return [sorted(group.tolist()) for group in np.array_split(shuffled, folds)]


def for_each_case(work: Callable, cases: Iterable[Case], workers: int | None = None, what="cases") -> tuple[dict, dict]:
    """Call ``work`` for each case in threads (None: one per core, at most four, as each holds a case).

    Returns results, and refusals (CaseError), by name.

    Any other error, and Ctrl-C, ends all when the cases in work are done.
    """
    done = {}
    refused = {}
    with ThreadPoolExecutor(workers or min(4, os.cpu_count() or 1)) as pool:
        jobs = {case.name: pool.submit(work, case) for case in cases}
        try:
            for name, job in progress(jobs.items(), what):
                try:
                    done[name] = job.result()
                except CaseError as error:
                    refused[name] = error.message
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return done, refused

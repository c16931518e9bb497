"""Preprocessed cases as tensors: kept on the device that trains, in memory, or in mapped files, whichever has room first.

A voxel takes three bytes: imaging is float16 (a z-score needs digits more than range) and the segmentation uint8.
"""

import errno
import math
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kitsnb.data.cases import Case
from kitsnb.data.nifti import CaseError, read_header, read_nifti

#: Foreground voxels remembered a class and case: enough to centre patches on, few enough to keep for every case.
MAX_CENTRES = 4096
#: Dtype of each file of a case, as it is kept.
KEPT = {"imaging": torch.float16, "segmentation": torch.uint8}
BYTES_A_VOXEL = sum(dtype.itemsize for dtype in KEPT.values())
STORAGES = ("auto", "device", "memory", "disk")
#: Left free for network, activations and optimizer unless the caller says more or less: a step of the paper's network on one
#: patch of 80 x 80 x 80 in float32, rounded up.
RESERVE = 4 << 30


class StorageError(MemoryError):
    """The volumes do not fit where they were asked to be kept; the message has the numbers."""


@dataclass
class Volume:
    """One case: imaging [D, H, W] float16, segmentation [D, H, W] uint8, and centres, one [n, 3] a label > 0.

    The first two are on the device, in memory or in a mapped file. Centres (voxels, int16) are always on the CPU, so that a
    place is drawn without waiting for the device.
    """

    name: str
    imaging: Tensor
    segmentation: Tensor
    centres: dict[int, Tensor]


def cases_below(folder: Path, wanted: Iterable[Case]) -> list[Case]:
    """The preprocessed counterparts of ``wanted`` in ``folder``; refused ones, which have none, are left out."""
    return [Case(folder / case.name) for case in wanted if (folder / case.name / "imaging.nii.gz").exists()]


def load_volumes(
    cases: Iterable[Case],
    device: str | torch.device = "cpu",
    seed: int = 0,
    storage: str = "auto",
    scratch: Path | None = None,
    reserve_bytes: int | None = None,
) -> list[Volume]:
    """Preprocessed cases as ``Volume``s, with up to ``MAX_CENTRES`` foreground coordinates a class, drawn from ``seed``.

    ``storage`` is "device", "memory", "disk" (files below ``scratch``, mapped into memory; several processes can share them)
    or "auto": the first of these that has room. Sizes come from the headers, before any voxel is read. ``reserve_bytes`` of
    the place stay free for the training step (None: ``RESERVE``, at most half of what is free). Prints one line: what is
    needed, what is free, where the volumes are, and why not in the place before.

    Cases are read one after the other, so the most that is held is all volumes and one case as its file has it.
    Raises StorageError where they do not fit, ValueError for another ``storage`` or "disk" without ``scratch``, OSError where
    the disk is too full, CaseError for a file that cannot be read.
    """
    cases, device = list(cases), torch.device(device)
    if not cases:
        return []
    shapes = [_shape(case) for case in cases]
    needed = BYTES_A_VOXEL * sum(map(math.prod, shapes))
    place, message = choose_storage(needed, len(cases), device, storage, scratch, reserve_bytes)
    if place == "disk":
        _check_disk(cases, shapes, scratch)
    print(message, flush=True)
    parts = _mapped(cases, shapes, scratch) if place == "disk" else _loaded(cases, shapes, device if place == "device" else "cpu")
    room = torch.empty(len(cases), 2, MAX_CENTRES, 3, dtype=torch.int16)  # for the reason that _loaded gives
    return [Volume(case.name, imaging, segmentation, _centres(segmentation, seed * 100_003 + case.number, own))
            for case, own, (imaging, segmentation) in zip(cases, room, parts)]


def load_split(
    training: list[Case], validation: list[Case], device: str | torch.device = "cpu", **options
) -> tuple[list[Volume], list[Volume]]:
    """``load_volumes`` with these ``options`` of both parts at once, so that they fit together or not at all."""
    volumes = load_volumes([*training, *validation], device, **options)
    return volumes[: len(training)], volumes[len(training) :]


def choose_storage(
    needed: int, count: int, device: torch.device, storage: str = "auto", scratch: Path | None = None, reserve: int | None = None
) -> tuple[str, str]:
    """Where ``needed`` bytes of ``count`` cases are kept ("device", "memory" or "disk"), and the line that says so.

    Raises as ``load_volumes``. On the CPU, "device" is "memory".
    """
    if storage not in STORAGES:
        raise ValueError(f"storage must be one of {', '.join(STORAGES)}, got {storage!r}")
    if storage == "disk" and scratch is None:
        raise ValueError('storage "disk" needs the folder that the mapped files go to (scratch)')
    places = ["memory", "disk"] if device.type == "cpu" else ["device", "memory", "disk"]
    if storage != "auto":
        places = ["memory" if storage == "device" and device.type == "cpu" else storage]
    names = {"device": f"on {device}", "memory": "in memory", "disk": f"in mapped files below {scratch}"}
    head, full = f"{count} cases need {_amount(needed)}", []
    for place in places:
        if place == "disk":
            if scratch is None:
                continue
            return place, "; ".join([head, *full, f"kept {names[place]}"])
        free = free_bytes(device if place == "device" else torch.device("cpu"))
        kept = min(RESERVE, free // 2) if reserve is None else reserve
        room = f"{_amount(free)} free {names[place]}, {_amount(kept)} of it for the training step"
        if needed <= free - kept:
            return place, "; ".join([head, *full, room, f"kept {names[place]}"])
        full.append(f"no room {names[place]}: {room}")
    advice = 'use storage = "auto" or "disk", which keeps them in mapped files, or fewer cases'
    if storage == "auto":
        advice = "give a folder for mapped files (scratch), or use fewer cases"
    raise StorageError(f"{'; '.join([head, *full])}; {advice}")


def _amount(size: float) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def free_bytes(device: torch.device) -> int:
    """Free memory of a CUDA device, or of this machine: what is available, within the limit of the process's control group."""
    if device.type == "cuda":
        # What torch holds and does not use is as good as free.
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    except (OSError, StopIteration):  # no Linux: all that the machine has is all that can be known
        available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([available, *_group_limits(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))])


def _group_limits(groups: Path, root: Path) -> list[int]:
    """What the control groups (version 1 or 2) of this process, and those above them, leave free; none without a limit."""
    try:
        entries = [line.split(":", 2) for line in groups.read_text().splitlines()]
    except OSError:
        return []
    found = []
    for _, controllers, path in entries:
        if not controllers:  # version 2
            top, limit, used, cache = root, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            top, limit, used, cache = root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        folder = top / path.strip("/")
        for level in [folder, *folder.parents]:
            if not level.is_relative_to(top):
                break
            try:
                most, now = int((level / limit).read_text()), int((level / used).read_text())
                statistics = dict(line.split() for line in (level / "memory.stat").read_text().splitlines())
            except (OSError, ValueError):  # no such group here (a container shows its own as the root), or "max"
                continue
            found.append(max(0, most - now + int(statistics.get(cache, 0))))  # files that were read give way
    return found


def _shape(case: Case) -> tuple[int, ...]:
    imaging, segmentation = (read_header(path).shape for path in (case.imaging, case.segmentation))
    if imaging != segmentation:
        reason = f"imaging and segmentation differ in shape, {imaging} and {segmentation}"
        raise CaseError(case.name, "segmentation.nii.gz", reason, "preprocess it anew")
    return imaging


def _centres(segmentation: Tensor, seed: int, room: Tensor) -> dict[int, Tensor]:
    """Coordinates of some voxels of each label, written into ``room`` [2, MAX_CENTRES, 3]."""
    random, centres = torch.Generator().manual_seed(seed), {}
    for label in (1, 2):
        found = torch.nonzero(segmentation == label).cpu()
        if len(found):
            chosen = found[torch.randperm(len(found), generator=random)[:MAX_CENTRES]]
            centres[label] = room[label - 1, : len(chosen)].copy_(chosen)
    return centres


def _loaded(cases: list[Case], shapes: Sequence[Sequence[int]], device: str | torch.device) -> Iterator[list[Tensor]]:
    """Imaging and segmentation of each case on ``device``, in one block a kind that is there before the first is read.

    One a case would lie between what reading needs for a while, and leave holes in the memory that nothing else fits into.
    """
    blocks = {kind: torch.empty(sum(map(math.prod, shapes)), dtype=dtype, device=device) for kind, dtype in KEPT.items()}
    start = 0
    for case, shape in zip(cases, shapes):
        stop = start + math.prod(shape)
        yield [block[start:stop].view(shape).copy_(_read(case, kind)) for kind, block in blocks.items()]
        start = stop


def _read(case: Case, kind: str) -> Tensor:
    return torch.from_numpy(read_nifti(getattr(case, kind))[0]).to(KEPT[kind]).contiguous()  # a file has the first axis fastest


def mapped_file(case: Case, kind: str, scratch: Path) -> Path:
    """Where ``kind`` of ``case`` is mapped: the name holds size and time of change of its source, so it is never out of date."""
    status = getattr(case, kind).stat()
    return scratch / f"{case.name}-{kind}-{status.st_size}-{status.st_mtime_ns}.raw"


def _mapped(cases: list[Case], shapes: Sequence[Sequence[int]], scratch: Path) -> Iterator[list[Tensor]]:
    return ([_map(case, kind, shape, scratch) for kind in KEPT] for case, shape in zip(cases, shapes))


def _map(case: Case, kind: str, shape: Sequence[int], scratch: Path) -> Tensor:
    """``kind`` of ``case`` from a mapped file, written first where it is not there; runs beside this one may do the same."""
    path, dtype = mapped_file(case, kind, scratch), KEPT[kind]
    if not _is_mapped(path, shape, dtype):
        scratch.mkdir(parents=True, exist_ok=True)
        partial = scratch / f".{uuid.uuid4().hex}-{path.name}"
        try:
            _read(case, kind).numpy().tofile(partial)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        for old in scratch.glob(f"{case.name}-{kind}-*.raw"):  # of a source that was changed; who has it mapped keeps it
            if old != path:
                old.unlink(missing_ok=True)
    return torch.from_file(str(path), shared=False, size=math.prod(shape), dtype=dtype).view(shape)


def _is_mapped(path: Path, shape: Sequence[int], dtype: torch.dtype) -> bool:
    return path.is_file() and path.stat().st_size == math.prod(shape) * dtype.itemsize


def _check_disk(cases: list[Case], shapes: Sequence[Sequence[int]], scratch: Path) -> None:
    """Raise OSError where the files that are not there yet have no room below ``scratch``."""
    needed = sum(math.prod(shape) * dtype.itemsize for case, shape in zip(cases, shapes) for kind, dtype in KEPT.items()
                 if not _is_mapped(mapped_file(case, kind, scratch), shape, dtype))
    existing = next(folder for folder in (scratch.absolute(), *scratch.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        reason = f"mapped files of {len(cases)} cases need {_amount(needed)} here, {_amount(free)} are free"
        raise OSError(errno.ENOSPC, f"{reason}; make room or give another folder", str(scratch))

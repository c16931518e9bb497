"""Our scores against plain ways to compute them, on labels of full size: time, memory, and whether they are the same numbers."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kitsnb.data.cases import discover
from kitsnb.data.nifti import read_nifti
from kitsnb.metric.score import kits19_score
from kitsnb.metric.surface import REGIONS, TOLERANCES_MM, foreground_box, surface_scores
from kitsnb.simulation.phantom import simulate_case
from peers.measure import median_seconds, one_thread, peak_process_bytes

_DICE, _SURFACES = "boolean arrays of full size", "surface-distance"


def plain_score(prediction: NDArray, reference: NDArray) -> dict[str, float]:
    """The challenge's two Dice scores as its own code has them: boolean arrays of the volume's size. Not for empty regions."""
    pairs = {"kidney_and_tumour": (prediction > 0, reference > 0), "tumour": (prediction == 2, reference == 2)}
    return {name: float(2 * np.logical_and(a, b).sum() / (a.sum() + b.sum())) for name, (a, b) in pairs.items()}


def plain_surface_scores(prediction: NDArray, reference: NDArray, spacing: tuple[float, float, float]) -> dict[str, float]:
    """``surface_scores`` through the package surface-distance, on the box of the foreground. Not for empty regions."""
    import surface_distance as peer

    box, scores = foreground_box(prediction, reference), {}
    for region, smallest in REGIONS.items():
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # it calls SciPy by old names
            distances = peer.compute_surface_distances(reference[box] >= smallest, prediction[box] >= smallest, spacing)
        scores[f"hd95_{region}"] = float(peer.compute_robust_hausdorff(distances, 95))
        scores[f"nsd_{region}"] = float(peer.compute_surface_dice_at_tolerance(distances, TOLERANCES_MM[region]))
    return scores


def perturbed(labels: NDArray) -> NDArray:
    """A prediction for labels [D, H, W]: moved by a few voxels, with background and tumour changed about in a central box."""
    moved = np.roll(labels, (1, 3, -2), (0, 1, 2))
    centre = tuple(slice(n // 2, n // 2 + max(1, n // 8)) for n in labels.shape)
    moved[centre] = 2 - moved[centre]
    return moved


def compare(labels: Iterable[NDArray], repeats: int) -> list[dict]:
    """``kits19_score`` of ``perturbed`` copies of all ``labels`` [D, H, W] against ``plain_score``.

    Two jobs: predictions that lie in memory as the labels do, and predictions that lie the other way, as fresh ones may. A
    row a job: ``job``, ``peer``, ``milliseconds`` (medians over ``repeats``, summed over the arrays), ``megabytes`` (the
    most, beside the two arrays), ``time_ratio`` and ``memory_ratio`` to the peer's, and ``difference``, the largest to the
    peer's scores. ``labels`` may be a generator, so that one array at a time is held.
    """
    jobs = {"KiTS19 score, arrays alike in memory": [], "KiTS19 score, another memory order": []}
    for reference in labels:
        prediction = perturbed(reference)
        turned = np.asarray(prediction, order="F" if prediction.flags.c_contiguous else "C")
        for found, array in zip(jobs.values(), (prediction, turned)):
            found.append(_measure(partial(kits19_score, array, reference), partial(plain_score, array, reference), repeats))
    return [_row(job, _DICE, found) for job, found in jobs.items()]


def compare_surfaces(labels: Iterable[tuple[NDArray, tuple[float, float, float]]], repeats: int) -> list[dict]:
    """One row, as ``compare`` has them: ``surface_scores`` against the package surface-distance, which it needs.

    ``labels`` are pairs of an array [D, H, W] and its spacing in mm.
    """
    found = []
    for reference, spacing in labels:
        arguments = perturbed(reference), reference, tuple(map(float, spacing))
        found.append(_measure(partial(surface_scores, *arguments), partial(plain_surface_scores, *arguments), repeats))
    return [_row("HD95 and surface Dice", _SURFACES, found)]


def _measure(here: Callable[[], Mapping], peer: Callable[[], Mapping], repeats: int) -> dict[str, float]:
    with one_thread():
        seconds = median_seconds({"here": here, "peer": peer}, repeats)
        held = {"here": peak_process_bytes(here), "peer": peak_process_bytes(peer)}
    ours, theirs = here(), peer()
    return {"difference": max(abs(ours[name] - score) for name, score in theirs.items()),
            **{f"seconds_{who}": seconds[who] for who in seconds}, **{f"bytes_{who}": held[who] for who in held}}


def _row(job: str, peer: str, found: list[dict]) -> dict:
    seconds = {who: sum(case[f"seconds_{who}"] for case in found) for who in ("here", "peer")}
    held = {who: max(case[f"bytes_{who}"] for case in found) for who in ("here", "peer")}
    return {"job": job, "peer": peer, "milliseconds": 1000 * seconds["here"], "time_ratio": seconds["here"] / seconds["peer"],
            "megabytes": held["here"] / 1e6, "memory_ratio": held["here"] / held["peer"],
            "difference": max(case["difference"] for case in found)}


def labels_for(folder: Path | None, validation: Sequence[int]) -> Iterator[NDArray]:
    """The labels of the cases ``validation`` (first and last number) in ``folder``, one at a time; phantoms without one."""
    if folder is None:
        for number in range(5):  # a phantom is small; blown up, it has the size of a CT
            yield np.kron(simulate_case(0, number).segmentation, np.ones((3, 4, 4), np.uint8))
    else:
        for case in discover(folder):
            if validation[0] <= case.number <= validation[1]:
                yield read_nifti(case.segmentation)[0]

"""What the seed paper states, looked at again: its numbers against each other, its network, and the real labels if
measured.

``audit`` is the one list of these claims that notebook 05 and the paper show. Nothing here needs training; what the
runs say of the seed paper's comparisons is in ``kitsnb.study.claims``.
"""

from collections.abc import Mapping
from pathlib import Path

import torch

from kitsnb.files import read_json, resolve
from kitsnb.study.tables import number
from kitsnb.unet import UNet3D, count_parameters

HOLDS, PARTLY, FAILS, OPEN, UNCHECKED = "holds", "holds in part", "does not hold", "cannot be told", "not checked"
#: What makes the evidence of a claim: notebook 05 of any build, or the profile that measures the real labels.
HERE, LABELS = "run quick --only results", "run labels"


def count_network() -> dict[str, int]:
    """Trainable parameters and running statistics of the seed paper's network, counted on the network itself."""
    with torch.device("meta"):  # shapes without memory
        trainable, running = count_parameters(UNet3D())
    return {"paper_trainable": trainable, "paper_running": running}


def load_labels(path: str | Path | None) -> dict | None:
    """Summary of the real labels by 01_data_analysis, None where there is none. Simulated ones: ValueError."""
    if path is None or not resolve(path).is_file():
        return None
    summary = read_json(resolve(path))
    if summary["simulated"]:
        raise ValueError(f"labels_summary {path}: describes simulated cases; give the real KiTS19 labels' one, or None")
    return summary


def audit(seed_paper: Mapping, labels: Mapping | None, study: Mapping) -> list[dict]:
    """Claims of the seed paper with ``where`` it makes them, a ``verdict``, the ``evidence`` and the ``command`` for
    it.

    ``labels`` are those of ``load_labels``; ``study`` is that of ``findings.describe``, which says what differences the
    seed paper's design could show.
    """
    rows = [_table(seed_paper), _cases(seed_paper), _losses(seed_paper), _conclusions(seed_paper, study),
            _data(seed_paper, labels)]
    return [dict(zip(("claim", "where", "verdict", "evidence", "command"), row, strict=True)) for part in rows
            for row in part]


def _table(paper: Mapping) -> list[tuple]:
    table = paper["table"]
    above = [row for row in table if row["kidney_and_tumour"] > max(row["kidney"], row["tumour"])]
    composite = {row["title"]: (row["kidney_and_tumour"] + row["tumour"]) / 2 for row in table}
    best = max(table, key=lambda row: row["kidney_and_tumour"])
    first = max(composite, key=composite.get)
    return [
        ("The overall score is a mean of two Dice coefficients (eq. 14)", "5", FAILS,
         f"the column is above kidney and above tumour in {len(above)} of {len(table)} rows, where no mean can be; it "
         "fits the Dice of any foreground label, one of the two parts", HERE),
        (f"{best['title']} gives the best result", "5", HOLDS if first == best["title"] else PARTLY,
         f"by the first column ({number(best['kidney_and_tumour'])}); by eq. 14, worked out from the columns, {first} "
         f"leads with {number(composite[first])}", HERE),
    ]


def _cases(paper: Mapping) -> list[tuple]:
    claims, data = paper["claims"], paper["dataset"]
    held_out = claims["validation_last"] - claims["validation_first"] + 1
    trained = claims["training_last"] - claims["training_first"] + 1
    left = trained - sum(claims["training_first"] <= case <= claims["training_last"] for case in claims["excluded"])
    share = 100 * left / (left + held_out)
    return [
        (f"The score sums {claims['equation_cases']} cases", "eq. 14",
         FAILS if held_out != claims["equation_cases"] else HOLDS,
         f"cases {claims['validation_first']} to {claims['validation_last']} are {held_out}, and none of them is "
         "excluded", HERE),
        (f"The split is {claims['split_percent'][0]} to {claims['split_percent'][1]}", "4.1", PARTLY,
         f"{left} to {held_out} after the exclusions, or {share:.1f} to {100 - share:.1f}", HERE),
        (f"{len(claims['excluded'])} cases have faulty labels", "4.1", PARTLY,
         f"{len(data['corrected'])} of them were corrected in {data['corrected_when']}, so current files need not lose "
         "them", HERE),
    ]


def _losses(paper: Mapping) -> list[tuple]:
    claims, theirs, counted = paper["claims"], paper["settings"], count_network()
    total = sum(counted.values())
    same = counted["paper_trainable"] == claims["trainable_parameters"] and total == claims["total_parameters"]
    return [
        (f"alpha = {theirs['alpha']} favours recall", "3.1.3", PARTLY,
         "by eq. 5, where alpha weighs false negatives; by eq. 3, also printed, it weighs false positives and favours "
         "precision", HERE),
        (f"1/gamma is {theirs['exponents'][0]} and {theirs['exponents'][1]}", "3.1.3, Table 1", OPEN,
         f"eq. 6 makes these the exponents; {theirs['exponents'][1]} then flattens the loss where the overlap is good. "
         "If gamma was meant, the rows are other experiments", "run exponents"),
        ("Its weighted losses are described well enough to repeat them", "3.1.5", FAILS,
         "the class weights are not given", "run weights"),
        (f"The network has {claims['total_parameters']:,} parameters, {claims['trainable_parameters']:,} trainable",
         "3.2",
         HOLDS if same else FAILS, f"counted: {total:,} and {counted['paper_trainable']:,}", HERE),
    ]


def _conclusions(paper: Mapping, study: Mapping) -> list[tuple]:
    row = {row["experiment"]: row for row in paper["table"]}
    dice, weighted, base = row["dice"], row["weighted_dice"], row["log_cosh_dice"]
    focal, smooth = row["focal_tversky"], row["log_cosh_focal_tversky"]
    up = [name for name in ("kidney_and_tumour", "kidney", "tumour") if smooth[name] > focal[name]]
    top, best = max(paper["table"], key=lambda one: one["tumour"]), paper["dataset"]["challenge_best"]
    gain, least = weighted["tumour"] - base["tumour"], study["needed"]["tumour"]
    power = ("one row says nothing of what it could show" if least != least
             else f"its design shows {number(least)} or more with power 0.8"
             if study["seeds"] > 1
             else f"its design needs more than {number(least)}, which one seed here gives without what seeds add")
    return [
        ("Weighted Dice gives a better kidney Dice", "6",
         PARTLY if dice["kidney"] > weighted["kidney"] > base["kidney"] else HOLDS,
         f"than the baseline ({number(weighted['kidney'])}, {number(base['kidney'])}); plain Dice has "
         f"{number(dice['kidney'])}", HERE),
        ("Log-cosh brings no improvement to focal Tversky", "5", PARTLY if up else HOLDS,
         f"{len(up)} of 3 scores rise in its table; tumour goes from {number(focal['tumour'])} to "
         f"{number(smooth['tumour'])}", HERE),
        ("Its scores are on par with the state of the art", "6", FAILS,
         f"no other method is compared; the challenge's best has tumour Dice {number(best['tumour'])} on its test "
         f"cases, against {number(weighted['tumour'])} (and {number(top['tumour'])} of {top['title']})", HERE),
        ("Log-cosh Dice failed to detect the tumour", "5, figure 13", OPEN,
         "one case is shown, and not how it was chosen", HERE),
        ("Trained weights did not hold up on the validation cases, because classes are averaged", "4.5", OPEN,
         "batch normalization with one patch a batch predicts by other statistics than it trained with: another "
         "candidate",
         "run batch_normalization"),
        ("The gain in tumour Dice over the baseline is significant", "5", OPEN,
         f"{number(gain, signed=True)}, without spread, test or second seed; {power}", HERE),
    ]


def _data(paper: Mapping, labels: Mapping | None) -> list[tuple]:
    claims = paper["claims"]
    (low, high), pixels = claims["slice_thickness_mm"], claims["in_plane"]
    said = [(f"Slices are {pixels} x {pixels}, height and width are fixed", "4.1"),
            (f"Slices are {low} to {high} mm thick", "4.1"),
            (f"A scan has {claims['mean_slices']} slices on average, a median of about {claims['median_slices']}",
             "4.1"),
            ("Kidney and tumour are rare among the voxels", "1, 3.1")]
    if labels is None:
        return [(*one, UNCHECKED, "this build did not measure the real labels", LABELS) for one in said]
    odd, slices, thick = labels["not_512"], labels["slices"], labels["slice_spacing_mm"]
    shares = labels["shares_percent"]
    close = abs(slices["mean"] - claims["mean_slices"]) < 1 and abs(slices["median"] - claims["median_slices"]) < 5
    found = [
        (HOLDS if not odd else FAILS,
         f"all but {len(odd)} of {labels['cases']} cases ({', '.join(odd).replace('_', ' ')})"
         if odd else f"all {labels['cases']} cases"),
        (HOLDS if low <= thick["min"] and thick["max"] <= high else FAILS,
         f"{thick['min']:g} to {thick['max']:g} mm, median {thick['median']:g}"),
        (HOLDS if close else FAILS,
         f"mean {number(slices['mean'], 1)}, median {number(slices['median'], 0)}, from {slices['min']} to "
         f"{slices['max']}"),
        (HOLDS if shares["background"] > 95 else FAILS,
         f"{number(shares['background'], 2)} % background, {number(shares['kidney'], 2)} % kidney, "
         f"{number(shares['tumour'], 2)} % tumour"),
    ]
    return [(*one, *rest, LABELS) for one, rest in zip(said, found, strict=True)]

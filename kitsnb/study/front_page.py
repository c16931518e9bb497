"""The README's first screen: the central figure of a published study, and what it found in two sentences."""

from collections.abc import Mapping

from kitsnb.drawing import alternative
from kitsnb.files import PUBLISHED, ROOT, write_between
from kitsnb.study import published
from kitsnb.study.claims import load_seed_paper
from kitsnb.study.figures import rows_and_ranks, save
from kitsnb.study.tables import interval, number, plural

#: What stands between these lines of the README is written by ``publish``.
BEGIN, END = "<!-- study: written by python -m kitsnb publish -->", "<!-- end of the study -->"


def finding(found: Mapping) -> str:
    """Two sentences on the composite score of a study (``published.describe``): what can be told apart, what cannot."""
    titles = {row["experiment"]: row["title"] for row in found["table"]}
    pairs, design = found["pairs"]["composite"], load_seed_paper()["claims"]["validation_cases"]
    apart = sorted((pair for pair in pairs if pair["verdict"]), key=lambda pair: -pair["mean"])
    basis = f"cases and {found['seeds']} seeds" if found["seeds"] > 1 else "cases, with one seed"
    first = f"Of {plural(len(pairs), 'pair')} of losses, {len(apart)} can be told apart over {basis}"
    if apart:
        first += (f"; the largest difference of composite Dice is {interval(apart[0])}, of {titles[apart[0]['first']]} "
                  f"over {titles[apart[0]['second']]}")
    rest = "The others stay open, which does not show that these losses are alike" if len(apart) < len(pairs) else ""
    if (needed := found["needed"]["tumour"]) is not None:
        takes = (f"with the seed paper's design of {design} cases and one seed, a difference in tumour Dice below "
                 f"{number(needed)} is not shown reliably, whatever the data")
        rest = f"{rest}; {takes}" if rest else takes[0].upper() + takes[1:]
    return f"{first}. {rest}." if rest else f"{first}."


def write(study: published.Published) -> None:
    """Draw the central figure into the study's folder, and put it with ``finding`` into the README."""
    found = published.describe(study, load_seed_paper())
    figure = rows_and_ranks(found, found["simulated"], f"Published study “{study.name}”", "log_cosh_dice")
    path = PUBLISHED / study.name / "rows.svg"
    save(figure, path)
    data = "Simulated CT around real KiTS19 label maps" if found["simulated"] else "KiTS19 CT"
    size = f"{plural(found['runs'], 'run')} of {len(found['table'])} losses, {plural(found['cases'], 'held-out case')}"
    about = (f"*{data}: {size}; thick lines are 95 % intervals over cases, thin ones over cases and seeds, hollow the "
             "seed paper's values.*")
    picture = f"![{alternative(figure)}]({path.relative_to(ROOT).as_posix()})"
    write_between(ROOT / "README.md", BEGIN, END, [picture, about, finding(found)])

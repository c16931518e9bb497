"""The table of benchmarks in the README, rewritten from what was measured."""

from collections.abc import Sequence
from pathlib import Path

BEGIN, END = "<!-- benchmarks: written by make bench -->", "<!-- end of benchmarks -->"


def table(rows: Sequence[dict]) -> str:
    """Markdown: a row a job, ratios to the peer (below one: kitsnb needs less), and a dash for what was not measured."""
    lines = ["| job | peer | here, ms | time, ratio | memory, ratio |", "|---|---|--:|--:|--:|"]
    for row in rows:
        ratios = ("–" if row[key] is None else f"{row[key]:.2g}" for key in ("time_ratio", "memory_ratio"))
        lines.append(f"| {row['job']} | {row['peer']} | {row['milliseconds']:.3g} | {' | '.join(ratios)} |")
    return "\n".join(lines)


def write_table(rows: Sequence[dict], note: str, path: Path) -> None:
    """Replace what stands between the markers of ``path`` by the table of ``rows`` and ``note``.

    Raises ValueError where a marker is missing.
    """
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path}: the lines {BEGIN!r} and {END!r} mark where the table goes; put them back")
    path.write_text(f"{before}{BEGIN}\n{table(rows)}\n\n{note}\n{END}{after}", encoding="utf-8")

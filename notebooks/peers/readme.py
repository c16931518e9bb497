"""The tables of benchmarks in the README, rewritten from what was measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path

BEGIN, END = "<!-- benchmarks: written by make bench -->", "<!-- end of benchmarks -->"


def table(rows: Sequence[Mapping]) -> str:
    """Rows of ``measure.beside`` as Markdown: ratios to the peer (below one: kitsnb needs less), a dash where not
    measured.
    """
    lines = ["| job | peer | here, ms | time, ratio | memory, ratio |", "|---|---|--:|--:|--:|"]
    for row in rows:
        ratios = ("–" if row[key] is None else f"{row[key]:.2g}" for key in ("time_ratio", "memory_ratio"))
        lines.append(f"| {row['job']} | {row['peer']} | {row['milliseconds']:.3g} | {' | '.join(ratios)} |")
    return "\n".join(lines)


def table_of_steps(rows: Sequence[Mapping]) -> str:
    """Rows of ``steps.compare_steps`` as Markdown."""
    lines = ["| network | precision | layout | a step, s | arithmetic alone, s |", "|---|---|---|--:|--:|"]
    names = ("network", "precision", "layout")
    lines += [f"| {' | '.join(row[name] for name in names)} | {row['seconds']:.3g} | {row['floor']:.2g} |" for row in rows]
    return "\n".join(lines)


def write_tables(tables: Sequence[str], path: Path) -> None:
    """Replace what stands between the markers of ``path`` by ``tables``. ValueError where a marker is missing."""
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path}: the lines {BEGIN!r} and {END!r} mark where the table goes; put them back")
    path.write_text("\n\n".join([before + BEGIN, *tables, END + after]), encoding="utf-8")

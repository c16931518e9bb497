"""The tables of benchmarks in the README."""

from collections.abc import Mapping, Sequence

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

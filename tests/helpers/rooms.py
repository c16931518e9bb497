"""Which room imports from which, read from the imports: ``python tests/helpers/rooms.py --write`` draws it in
CONTRIBUTING.md.
"""

import sys
import tomllib
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[2]
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
BEGIN, END = "<!-- rooms: drawn by python tests/helpers/rooms.py --write -->\n", "<!-- end of rooms -->"


def arrows() -> dict[str, list[str]]:
    """For each room, from the top of the house, the rooms that it imports from."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    contract = settings["importlinter"]["contracts"][0]
    graph = grimp.build_graph("kitsnb", cache_dir=None)
    for room in contract["layers"]:
        graph.squash_module(f"kitsnb.{room}")
    found = {room: graph.find_modules_directly_imported_by(f"kitsnb.{room}") for room in contract["layers"]}
    return {room: [other for other in found if f"kitsnb.{other}" in found[room] and other != room] for room in found}


def picture() -> str:
    """A line a room: the rooms that it imports from, each in a column of its own."""
    uses = arrows()
    left = max(map(len, uses))
    columns = {room: " ".join(name if name in found else " " * len(name) for name in uses)
               for room, found in uses.items()}
    return "\n".join(f"{room:{left}} ──> {columns[room][len('__main__ '):]}".rstrip(" ─>") for room in uses)


def drawn(text: str) -> str:
    """``text`` of CONTRIBUTING.md with today's picture between its markers."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n```\n{picture()}\n```\n\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    if "--write" in sys.argv:
        CONTRIBUTING.write_text(drawn(CONTRIBUTING.read_text(encoding="utf-8")), encoding="utf-8")
    print(picture())

"""docs/architecture.md's tree and picture, made from the code: `.venv/bin/python -m tests.architecture`.

The layers are those of import-linter's contract in pyproject.toml, the arrows are the imports that there are (grimp),
and what a file is for is the beginning of its docstring.
"""

import ast
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

import grimp

PROJECT = Path(__file__).parents[1]
PACKAGE = PROJECT / "services/migrate/tangga"
PAGE = PROJECT / "docs/architecture.md"
PICTURE = PROJECT / "docs/architecture.svg"
BEGIN, END = "<!-- from the code: begin -->\n", "<!-- from the code: end -->\n"
_LETTERS = 90
_WIDTH, _ROW, _GAP = 960, 54, 10


class Room(NamedTuple):
    """A folder of tangga, or a file at its top; `uses` are the rooms whose code it imports."""

    name: str
    what: str
    uses: list[str]


def _first_sentence(file: Path) -> str:
    text = ast.get_docstring(ast.parse(file.read_text())) or ""
    return textwrap.shorten(text.split("\n\n")[0].removesuffix("."), _LETTERS, placeholder=" …")


def layers() -> list[list[str]]:
    """Return the rooms, the highest layer first, as the contract has them."""
    contracts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [found] = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    return [[name.strip() for name in layer.split("|")] for layer in found]


def rooms() -> dict[str, Room]:
    """Return what there is, with the arrows between."""
    sys.path.insert(0, str(PACKAGE.parent))
    graph = grimp.build_graph("tangga", cache_dir=None)
    found = {}
    for name in (name for layer in layers() for name in layer):
        folder = PACKAGE / name
        file = folder / "__init__.py" if folder.is_dir() else PACKAGE / f"{name}.py"
        own = {each for each in graph.modules if f"{each}.".startswith(f"tangga.{name}.")}
        targets = {target for each in own for target in graph.find_modules_directly_imported_by(each)} - own
        uses = sorted({target.split(".")[1] for target in targets if target.startswith("tangga.")})
        found[name] = Room(name, _first_sentence(file), uses)
    return found


def tree() -> str:
    """Return the package's files, each with what it is for."""
    lines = []
    for name, room in rooms().items():
        folder = PACKAGE / name
        lines.append(f"{name + '/' if folder.is_dir() else name + '.py':<24} {room.what}".rstrip())
        for file in sorted(folder.rglob("*.py")) if folder.is_dir() else ():
            if file.name != "__init__.py":
                lines.append(f"  {file.relative_to(folder)!s:<22} {_first_sentence(file)}".rstrip())
    return "\n".join(lines)


def _shapes() -> Iterator[str]:
    found, top = rooms(), 40
    yield '<text x="12" y="24" class="name">tangga: who imports whom; arrows point downwards only</text>'
    for layer in layers():
        width = (_WIDTH - 24 - _GAP * (len(layer) - 1)) / len(layer)
        for number, name in enumerate(layer):
            left = 12 + number * (width + _GAP)
            uses = ", ".join(found[name].uses)
            letters = int(width / 5.6)
            shown = uses if len(uses) <= letters else uses[: letters - 1].rpartition(",")[0] + " …"
            yield f'<rect x="{left:.0f}" y="{top}" width="{width:.0f}" height="{_ROW - 14}" rx="6"/>'
            yield f'<text x="{left + 8:.0f}" y="{top + 16}" class="name">{escape(name)}</text>'
            yield f'<text x="{left + 8:.0f}" y="{top + 32}" class="uses">{escape(shown and "→ " + shown)}</text>'
        top += _ROW
    yield f"<!-- {top} -->"


def picture() -> str:
    """Return the layers as an SVG document."""
    shapes = [*_shapes()]
    height = int(shapes.pop().split()[1])
    style = (
        "text { font: 11px system-ui, sans-serif; fill: #24292f } .name { font-weight: 600; font-size: 13px }"
        " .uses { fill: #57606a } rect { fill: #eaf5ee; stroke: #2d9d5a }"
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">'
    ground = f'<rect width="{_WIDTH}" height="{height}" style="fill: #ffffff; stroke: none"/>'
    return "\n".join([head, f"<style>{style}</style>", ground, *shapes, "</svg>", ""])


def page(text: str) -> str:
    """Return the page with the tree as it is now."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n```text\n{tree()}\n```\n\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PICTURE.write_text(picture())
    PAGE.write_text(page(PAGE.read_text()))
    sys.stderr.write("docs/architecture.md and docs/architecture.svg are written\n")

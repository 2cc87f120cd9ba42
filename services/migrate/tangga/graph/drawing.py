"""What there is to draw, the steps and the tables; and how they look in a terminal (rich). As SVG: drawing_svg.py."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from alembic.script import Script, ScriptDirectory
from rich import box
from rich.columns import Columns
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection

from tangga.catalogue import model
from tangga.journal.history import title

# State -> sign in the terminal, colour in the terminal, colour in the SVG.
LOOKS = {
    "current": ("◉", "bold green", "#2d9d5a"),
    "applied": ("●", "green", "#b7e4c7"),
    "pending": ("○", "yellow", "#ffe08a"),
}
_ON_DELETE = {"a": "", "r": "restrict", "c": "cascade", "n": "set null", "d": "set default"}


class Column(NamedTuple):
    """A column: `keys` is some of PK and FK, `to` what it refers to ("users.id, on delete cascade")."""

    name: str
    type: str
    keys: str
    to: str


class Relation(NamedTuple):
    """A foreign key, one pair of columns of it."""

    table: str
    column: str
    to_table: str
    to_column: str
    on_delete: str


class Schema(NamedTuple):
    """The tables of a schema, by name, and how they refer to each other."""

    tables: dict[str, list[Column]]
    relations: list[Relation]


def read(connection: Connection) -> Schema:
    """Return the tables of a database, without those of the migrators."""
    found = model.read(connection)
    shown = sorted((table for table in found.tables.values() if table.kind != "f"), key=lambda table: table.title)
    primary = {(index.table, number) for index in found.unique.values() if index.primary for number in index.key}
    references = _references(found)
    tables: dict[str, list[Column]] = {}
    relations: list[Relation] = []
    for table in shown:
        tables[table.title] = []
        for column in table.columns.values():
            to = references.get((table.oid, column.number), [])
            relations += to
            keys = " ".join(["PK"] * ((table.oid, column.number) in primary) + ["FK"] * bool(to))
            words = "; ".join(f"{each.to_table}.{each.to_column}" + _on_delete(each, ", ") for each in to)
            kind = column.type + ("" if column.required else " null")
            tables[table.title].append(Column(column.name, kind, keys, words))
    return Schema(tables, relations)


def _references(schema: model.Schema) -> dict[tuple[int, int], list[Relation]]:
    """Return what each column refers to, by table and column."""
    references: dict[tuple[int, int], list[Relation]] = {}
    for key in schema.constraints.values():
        if key.type != "f" or key.parent not in schema.tables:
            continue
        table, parent = schema.tables[key.table], schema.tables[key.parent]
        for own, of_parent in zip(key.columns or (), key.parent_columns or (), strict=True):
            column, to_column = table.columns[own].name, parent.columns[of_parent].name
            relation = Relation(table.title, column, parent.title, to_column, _ON_DELETE[key.on_delete])
            references.setdefault((table.oid, own), []).append(relation)
    return {
        place: sorted(found, key=lambda each: (each.to_table, each.to_column)) for place, found in references.items()
    }


def _on_delete(relation: Relation, before: str) -> str:
    return f"{before}on delete {relation.on_delete}" if relation.on_delete else ""


class Place(NamedTuple):
    """Where a step is drawn: its lane, and the lanes that pass it, end at it (a branch) and begin at it (a merge)."""

    script: Script
    lane: int
    passing: set[int]
    ending: list[int]
    opening: list[int]


class Edge(NamedTuple):
    """From a step down to one that it stands on: (row, lane) of both, and the lane of the line between them."""

    start: tuple[int, int]
    lane: int
    end: tuple[int, int]


def lanes(scripts: Iterable[Script]) -> tuple[list[Place], list[Edge]]:
    """Return where to draw the steps, given the newest first, a row for each.

    A lane is a line that waits for the step below; a merge opens lanes, a branch point ends them.
    """
    waiting: list[str | None] = []
    started: dict[int, tuple[int, int]] = {}
    places: list[Place] = []
    edges: list[Edge] = []
    for row, script in enumerate(scripts):
        arriving = [lane for lane, revision in enumerate(waiting) if revision == script.revision]
        lane, *ending = arriving or [_free(waiting)]
        edges += [Edge(started.pop(each), each, (row, lane)) for each in arriving]
        for each in arriving:
            waiting[each] = None
        passing = {each for each, revision in enumerate(waiting) if revision}
        opening: list[int] = []
        for down in script._versioned_down_revisions:
            free = lane if waiting[lane] is None else _free(waiting, besides=ending)
            waiting[free], started[free] = down, (row, lane)
            opening += [free] if free != lane else []
        places.append(Place(script, lane, passing, ending, opening))
    return places, edges


def _free(waiting: list[str | None], besides: Sequence[int] = ()) -> int:
    for lane, revision in enumerate(waiting):
        if revision is None and lane not in besides:
            return lane
    waiting.append(None)
    return len(waiting) - 1


def _line(place: Place) -> tuple[str, str]:
    """Return what a row of the graph shows left and right of the step's own sign."""
    reach = [place.lane, *place.ending, *place.opening]
    left, right = min(reach), max(reach)
    cells = []
    for lane in range(max(right, *place.passing, 0) + 1):
        if lane in place.ending:
            cell = "╯" if lane == right else "┴" if lane > place.lane else "╰"
        elif lane in place.opening:
            cell = "╮" if lane == right else "┬" if lane > place.lane else "╭"
        elif lane in place.passing:
            cell = "┼" if left < lane < right else "│"
        else:
            cell = "─" if left < lane < right else " "
        cells.append(cell + ("─" if left <= lane < right else " "))
    line = "".join(cells)
    return line[: 2 * place.lane], line[2 * place.lane + 1 :]


def show_steps(scripts: ScriptDirectory, states: dict[str, str]) -> None:
    """Print the steps, the newest first."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for header in ("", "revision", "message", "state"):
        table.add_column(header, no_wrap=True)
    for place in lanes(scripts.walk_revisions())[0]:
        script = place.script
        sign, style, _ = LOOKS[states[script.revision]]
        before, after = _line(place)
        graph = Text.assemble((before, "dim"), (sign, style), (after, "dim"))
        table.add_row(graph, Text(script.revision, style), Text(title(script)), Text(states[script.revision], style))
    _show(table)


def show_tables(schema: Schema, at: str) -> None:
    """Print the tables side by side, as many in a row as the terminal takes."""
    shown = []
    for name, columns in schema.tables.items():
        table = Table(title=name, title_style="bold", box=box.ROUNDED, show_header=False, title_justify="left")
        for style in ("yellow", "", "dim", "cyan"):
            table.add_column(style=style, overflow="fold")
        for column in columns:
            table.add_row(
                *(Text(each) for each in (column.keys, column.name, column.type, column.to and f"→ {column.to}"))
            )
        shown.append(table)
    _show(Text(f"\nTables at {at}" if shown else f"\nNo tables at {at}", "bold"), *shown)


def _show(*parts: RenderableType) -> None:
    """Print, on a terminal side by side where there is room; elsewhere without colours, each as wide as it is."""
    console = Console(highlight=False)
    heading, *others = parts
    if console.is_terminal:
        console.print(heading, Columns(others, padding=(1, 2)) if others else "", sep="\n")
        return
    for part in parts:
        widest = Measurement.get(console, console.options.update(width=10_000), part).maximum
        Console(highlight=False, width=widest).print(part)

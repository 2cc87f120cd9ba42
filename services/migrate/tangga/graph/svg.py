"""The steps and the tables as SVG, which Matplotlib writes; where things stand is worked out here."""

import io
from itertools import pairwise

from alembic.script import ScriptDirectory
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, Rectangle
from matplotlib.path import Path

from tangga.graph.drawing import LOOKS, Column, Relation, Schema, lanes
from tangga.journal.history import title

_LINE = "#555555"
# In points.
_FONT_SIZE = 10
_CHARACTER = 6.1  # 0.6 of the font size, and a little
_ROW = 20
_PADDING = 12
_GAP = 80


def steps(scripts: ScriptDirectory, states: dict[str, str]) -> bytes:
    """Return the steps as an SVG document, the newest on top."""
    places, edges = lanes(scripts.walk_revisions())
    rows = [(place.script.revision, title(place.script), states[place.script.revision]) for place in places]
    widths = [max(map(len, column)) + 2 for column in zip(*rows, strict=True)] if rows else [0, 0, 0]
    text_at = _ROW * (1 + max((max(place.lane, *place.passing, *place.opening, 0) for place in places), default=0))
    sheet = _Sheet(text_at + _CHARACTER * sum(widths), _ROW * len(rows))

    def point(row: float, lane: int) -> tuple[float, float]:
        return _ROW * lane + _ROW / 2, _ROW * row + _ROW / 2

    for edge in edges:
        # Out of the step's lane within a row, along the line's own, and into the lane of the step below.
        (row, _), (last, _) = edge.start, edge.end
        turns = [point(row + 0.7, edge.lane), point(last - 0.7, edge.lane)] if last - row > 1 else []
        sheet.line([point(*edge.start), *turns, point(*edge.end)], across=False)
    for row, (place, cells) in enumerate(zip(places, rows, strict=True)):
        sheet.dot(*point(row, place.lane), LOOKS[cells[2]][2])
        x: float = text_at
        for cell, width in zip(cells, widths, strict=True):
            sheet.text(x, _ROW * row + _ROW / 2, cell, bold=cells[2] == "current")
            x += _CHARACTER * width
    return sheet.svg()


def tables(schema: Schema) -> bytes:
    """Return the tables as an SVG document: what is referred to on the left, arrows from each foreign key."""
    layers, routes = _layers(schema)
    widths = {name: _CHARACTER * sum(_widths(schema.tables[name])) + _PADDING for name in schema.tables}
    heights = {name: _ROW * (len(columns) + 1) for name, columns in schema.tables.items()}
    tallest = max((sum(heights.get(name, 0) + _ROW for name in layer) for layer in layers), default=_ROW)
    boxes: dict[str, tuple[float, float, float]] = {}  # left, top, right; of a bend in a line as well
    left = 0.0
    for layer in layers:
        width = max(widths.get(name, 0) for name in layer)
        top = (tallest - sum(heights.get(name, 0) + _ROW for name in layer)) / 2
        for name in layer:
            boxes[name] = (left, top, left + widths.get(name, width))
            top += heights.get(name, 0) + _ROW
        left += width + _GAP
    loops = any(boxes[relation.table][0] <= boxes[relation.to_table][0] for relation in schema.relations)
    sheet = _Sheet(left - _GAP + (_GAP / 2 if loops else 0), tallest)
    for relation, bends in routes.items():
        start_left, start_top, start_right = boxes[relation.table]
        end_left, end_top, end_right = boxes[relation.to_table]
        start_y = start_top + _ROW * (1.5 + _place(schema, relation.table, relation.column))
        end_y = end_top + _ROW * (1.5 + _place(schema, relation.to_table, relation.to_column))
        if start_left > end_left:
            middle = [(x, boxes[bend][1]) for bend in bends for x in (boxes[bend][2], boxes[bend][0])]
            sheet.line([(start_left, start_y), *middle, (end_right, end_y)], arrow=True)
        else:
            sheet.loop((start_right, start_y), (end_right, end_y), max(start_right, end_right) + _GAP / 2)
    for name, columns in schema.tables.items():
        left, top, right = boxes[name]
        sheet.box(left, top, right - left, heights[name], "white")
        sheet.box(left, top, right - left, _ROW, "#dce9f7")
        sheet.text(left + _PADDING / 2, top + _ROW / 2, name, bold=True)
        for row, column in enumerate(columns, start=1):
            x = left + _PADDING / 2
            for cell, width, colour in zip(
                (column.keys, column.name, column.type), _widths(columns), ("#8a6d00", "black", "#555555"), strict=True
            ):
                sheet.text(x, top + _ROW * (row + 0.5), cell, colour=colour)
                x += _CHARACTER * width
    return sheet.svg()


def _widths(columns: list[Column]) -> list[int]:
    """Return how many characters the parts of a table's rows take: keys, name, type."""
    keys = max((len(column.keys) for column in columns), default=0)
    names = max((len(column.name) for column in columns), default=0)
    return [keys + (1 if keys else 0), names + 2, max((len(column.type) for column in columns), default=0)]


def _place(schema: Schema, table: str, column: str) -> int:
    return [each.name for each in schema.tables[table]].index(column)


def _layers(schema: Schema) -> tuple[list[list[str]], dict[Relation, list[str]]]:
    """Return the tables in layers, each to the right of those that it refers to, and the bends of long lines.

    A line over several layers has a bend in each layer between, placed like a table, so that it runs behind none.
    """
    referred = {name: {each.to_table for each in schema.relations if each.table == name} for name in schema.tables}
    depth: dict[str, int] = {}

    def settle(name: str, above: frozenset[str]) -> int:
        if name not in depth:
            below = referred[name] - above - {name}  # without what leads back to itself
            depth[name] = max((settle(each, above | {name}) + 1 for each in sorted(below)), default=0)
        return depth[name]

    for name in schema.tables:
        settle(name, frozenset())
    layers: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name in schema.tables:
        layers[depth[name]].append(name)
    before = {name: sorted(others) for name, others in referred.items()}
    routes: dict[Relation, list[str]] = {}
    for number, relation in enumerate(schema.relations):
        between = range(depth[relation.table] - 1, depth[relation.to_table], -1)
        routes[relation] = [f"{number}:{layer}" for layer in between]
        for bend, layer in zip(routes[relation], between, strict=True):
            layers[layer].append(bend)
            before[bend] = [f"{number}:{layer - 1}" if layer - 1 > depth[relation.to_table] else relation.to_table]
    # Each at about the height of what it refers to: fewer lines cross.
    height: dict[str, float] = {}
    for names in layers:
        known = {name: [height[each] for each in before[name] if each in height] for name in names}
        names.sort(key=lambda name: sum(known[name]) / len(known[name]) if known[name] else 0)
        height |= {name: (place + 0.5) / len(names) for place, name in enumerate(names)}
    return layers, routes


class _Sheet:
    """A drawing in points, y downwards. Matplotlib writes it as SVG, its text as text."""

    def __init__(self, width: float, height: float) -> None:
        margin = _ROW
        self._figure = Figure(figsize=((width + 2 * margin) / 72, (height + 2 * margin) / 72))
        self._axes = self._figure.add_axes((0, 0, 1, 1))
        self._axes.set(xlim=(-margin, width + margin), ylim=(height + margin, -margin))
        self._axes.set_axis_off()

    def text(self, x: float, y: float, text: str, *, bold: bool = False, colour: str = "black") -> None:
        # Every character is equally wide, in whatever font the reader has: so the boxes fit.
        self._axes.text(
            x, y, text, family="monospace", fontsize=_FONT_SIZE, va="center_baseline", parse_math=False,
            weight="bold" if bold else "normal", color=colour,
        )  # fmt: skip

    def box(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        self._axes.add_patch(Rectangle((x, y), width, height, facecolor=colour, edgecolor=_LINE, zorder=2))

    def dot(self, x: float, y: float, colour: str) -> None:
        self._axes.add_patch(Circle((x, y), 6, facecolor=colour, edgecolor=_LINE, zorder=2))

    def line(self, points: list[tuple[float, float]], *, across: bool = True, arrow: bool = False) -> None:
        """Draw a line through the points, curved; it leaves and arrives horizontally (`across`) or vertically."""
        path = points[:1]
        for (x1, y1), (x2, y2) in pairwise(points):
            x, y = (x1 + x2) / 2, (y1 + y2) / 2
            path += [(x, y1), (x, y2), (x2, y2)] if across else [(x1, y), (x2, y), (x2, y2)]
        self._curves(path, arrow=arrow)

    def loop(self, start: tuple[float, float], end: tuple[float, float], out: float) -> None:
        """Draw an arrow that leaves to the right, towards `out`, and comes back from there."""
        self._curves([start, (out, start[1]), (out, end[1]), end], arrow=True)

    def _curves(self, points: list[tuple[float, float]], *, arrow: bool) -> None:
        path = Path(points, [Path.MOVETO] + [Path.CURVE4] * (len(points) - 1))
        style = "-|>,head_length=4,head_width=2" if arrow else "-"
        self._axes.add_patch(FancyArrowPatch(path=path, arrowstyle=style, color=_LINE, lw=1, zorder=1))

    def svg(self) -> bytes:
        written = io.BytesIO()
        # On white whatever the page around it is. Without date and with the same ids each time: no difference, no diff.
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "tangga"}):
            self._figure.savefig(written, format="svg", facecolor="white", metadata={"Date": None})
        return written.getvalue()

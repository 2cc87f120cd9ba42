"""The steps and the tables as SVG."""

from alembic.script import ScriptDirectory

from tangga.graph.drawing import Column, Relation, Schema
from tangga.graph.lanes import lanes
from tangga.graph.layout import GAP, PADDING, Box, Layout, column_widths, layout
from tangga.graph.sheet import CHARACTER, ROW, Point, Sheet
from tangga.graph.states import LOOKS
from tangga.journal.history import title


def steps(scripts: ScriptDirectory, states: dict[str, str]) -> bytes:
    """Return the steps as an SVG document, the newest on top."""
    places, edges = lanes(scripts.walk_revisions())
    rows = [(place.script.revision, title(place.script), states[place.script.revision]) for place in places]
    widths = [max(map(len, column)) + 2 for column in zip(*rows, strict=True)] if rows else [0, 0, 0]
    text_at = ROW * (1 + max((max(place.lane, *place.passing, *place.opening, 0) for place in places), default=0))
    sheet = Sheet(text_at + CHARACTER * sum(widths), ROW * len(rows))

    def point(row: float, lane: int) -> Point:
        return ROW * lane + ROW / 2, ROW * row + ROW / 2

    for edge in edges:
        # Out of the step's lane within a row, along the line's own, and into the lane of the step below.
        (row, _), (last, _) = edge.start, edge.end
        turns = [point(row + 0.7, edge.lane), point(last - 0.7, edge.lane)] if last - row > 1 else []
        sheet.line([point(*edge.start), *turns, point(*edge.end)], across=False)
    for row, (place, cells) in enumerate(zip(places, rows, strict=True)):
        sheet.dot(*point(row, place.lane), LOOKS[cells[2]].colour)
        x: float = text_at
        for cell, width in zip(cells, widths, strict=True):
            sheet.text(x, ROW * row + ROW / 2, cell, bold=cells[2] == "current")
            x += CHARACTER * width
    return sheet.svg()


def tables(schema: Schema) -> bytes:
    """Return the tables as an SVG document: what is referred to on the left, arrows from each foreign key."""
    drawn = layout(schema)
    loops = any(not _leads_left(drawn, relation) for relation in schema.relations)
    sheet = Sheet(drawn.width + (GAP / 2 if loops else 0), drawn.height)
    for relation in drawn.routes:
        _arrow(sheet, schema, drawn, relation)
    for name, columns in schema.tables.items():
        _table(sheet, drawn.boxes[name], name, columns)
    return sheet.svg()


def _leads_left(drawn: Layout, relation: Relation) -> bool:
    return drawn.boxes[relation.table].left > drawn.boxes[relation.to_table].left


def _arrow(sheet: Sheet, schema: Schema, drawn: Layout, relation: Relation) -> None:
    """Draw an arrow from a column to the one that it refers to: through the bends, or around on the right."""
    start, end = drawn.boxes[relation.table], drawn.boxes[relation.to_table]
    start_y = start.top + ROW * (1.5 + _place(schema, relation.table, relation.column))
    end_y = end.top + ROW * (1.5 + _place(schema, relation.to_table, relation.to_column))
    if not _leads_left(drawn, relation):
        sheet.loop((start.right, start_y), (end.right, end_y), max(start.right, end.right) + GAP / 2)
        return
    bends = [drawn.boxes[bend] for bend in drawn.routes[relation]]
    middle = [(x, bend.top) for bend in bends for x in (bend.right, bend.left)]
    sheet.line([(start.left, start_y), *middle, (end.right, end_y)], arrow=True)


def _table(sheet: Sheet, box: Box, name: str, columns: list[Column]) -> None:
    """Draw a table: its name in a heading, a line for each column."""
    width = box.right - box.left
    sheet.box(box.left, box.top, width, box.bottom - box.top, "white")
    sheet.box(box.left, box.top, width, ROW, "#dce9f7")
    sheet.text(box.left + PADDING / 2, box.top + ROW / 2, name, bold=True)
    for row, column in enumerate(columns, start=1):
        x = box.left + PADDING / 2
        cells = zip(
            (column.keys, column.name, column.type),
            column_widths(columns),
            ("#8a6d00", "black", "#555555"),
            strict=True,
        )
        for cell, cell_width, colour in cells:
            sheet.text(x, box.top + ROW * (row + 0.5), cell, colour=colour)
            x += CHARACTER * cell_width


def _place(schema: Schema, table: str, column: str) -> int:
    return [each.name for each in schema.tables[table]].index(column)

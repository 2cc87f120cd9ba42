"""Where the tables stand in a drawing: each to the right of those that it refers to, in points, y downwards."""

from typing import NamedTuple

from tangga.graph.drawing import Column, Relation, Schema
from tangga.graph.sheet import CHARACTER, ROW

PADDING = 12
GAP = 80


class Box(NamedTuple):
    """Where a table stands; or a bend in a line, which has no height."""

    left: float
    top: float
    right: float
    bottom: float


class Layout(NamedTuple):
    """Where each table and each bend stands, by name; through which bends each line goes; how high all of it is."""

    boxes: dict[str, Box]
    routes: dict[Relation, list[str]]
    width: float
    height: float


def layout(schema: Schema) -> Layout:
    """Return where to draw the tables, in layers from left to right, each layer centred."""
    layers, routes = _layers(schema)
    widths = {name: CHARACTER * sum(column_widths(columns)) + PADDING for name, columns in schema.tables.items()}
    heights = {name: ROW * (len(columns) + 1) for name, columns in schema.tables.items()}
    tallest = max((sum(heights.get(name, 0) + ROW for name in layer) for layer in layers), default=ROW)
    boxes: dict[str, Box] = {}
    left = 0.0
    for layer in layers:
        width = max(widths.get(name, 0) for name in layer)
        top = (tallest - sum(heights.get(name, 0) + ROW for name in layer)) / 2
        for name in layer:
            height = heights.get(name, 0)
            boxes[name] = Box(left, top, left + widths.get(name, width), top + height)
            top += height + ROW
        left += width + GAP
    return Layout(boxes, routes, max(0.0, left - GAP), tallest)


def column_widths(columns: list[Column]) -> list[int]:
    """Return how many characters the parts of a table's rows take: keys, name, type."""
    keys = max((len(column.keys) for column in columns), default=0)
    names = max((len(column.name) for column in columns), default=0)
    return [keys + (1 if keys else 0), names + 2, max((len(column.type) for column in columns), default=0)]


def _layers(schema: Schema) -> tuple[list[list[str]], dict[Relation, list[str]]]:
    """Return the tables in layers, each to the right of those that it refers to, and the bends of long lines.

    A line over several layers has a bend in each layer between, placed like a table, so that it runs behind none.
    """
    referred = {name: {each.to_table for each in schema.relations if each.table == name} for name in schema.tables}
    depth = _depths(referred)
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
    _order(layers, before)
    return layers, routes


def _depths(referred: dict[str, set[str]]) -> dict[str, int]:
    """Return in which layer each table stands: in the one after the last that it refers to."""
    depth: dict[str, int] = {}

    def settle(name: str, above: frozenset[str]) -> int:
        if name not in depth:
            below = referred[name] - above - {name}  # without what leads back to itself
            depth[name] = max((settle(each, above | {name}) + 1 for each in sorted(below)), default=0)
        return depth[name]

    for name in referred:
        settle(name, frozenset())
    return depth


def _order(layers: list[list[str]], before: dict[str, list[str]]) -> None:
    """Put each at about the height of what it refers to: fewer lines cross."""
    height: dict[str, float] = {}
    for names in layers:
        known = {name: [height[each] for each in before[name] if each in height] for name in names}
        names.sort(key=lambda name: sum(known[name]) / len(known[name]) if known[name] else 0)
        height |= {name: (place + 0.5) / len(names) for place, name in enumerate(names)}

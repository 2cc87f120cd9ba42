"""Where tables stand that refer to each other in every way."""

import re
import xml.etree.ElementTree as ElementTree
from itertools import combinations

from tangga.graph import svg
from tangga.graph.drawing import Column, Relation, Schema
from tangga.graph.layout import layout

SVG = "{http://www.w3.org/2000/svg}"
# To itself, in a circle, with two columns, over two layers.
CIRCLES = Schema(
    {
        "a": [Column("id", "integer", "PK", ""), Column("parent", "integer", "FK", ""), Column("c", "uuid", "FK", "")],
        "b": [Column("x", "integer", "PK", ""), Column("y", "integer", "PK", ""), Column("a", "integer", "FK", "")],
        "c": [Column(name, "integer", "FK", "") for name in ("id", "x", "y", "a")],
        "mit < & $x$": [Column("kind", "int4range null", "", "")],
    },
    [
        Relation("a", "parent", "a", "id", ""),
        Relation("a", "c", "c", "id", ""),
        Relation("b", "a", "a", "id", "set null"),
        Relation("c", "x", "b", "x", ""),
        Relation("c", "y", "b", "y", ""),
        Relation("c", "a", "a", "id", ""),
    ],
)
CHAIN = Schema(
    {name: [Column("id", "integer", "PK", "")] for name in ("one", "two", "three")},
    [
        Relation("two", "id", "one", "id", ""),
        Relation("three", "id", "two", "id", ""),
        Relation("three", "id", "one", "id", "cascade"),
    ],
)


def test_what_is_referred_to_stands_on_the_left() -> None:
    boxes = layout(CHAIN).boxes
    assert boxes["one"].right < boxes["two"].left < boxes["two"].right < boxes["three"].left


def test_a_long_line_bends_between_the_tables_that_it_passes() -> None:
    drawn = layout(CHAIN)
    [bend] = drawn.routes[CHAIN.relations[2]]
    passed = drawn.boxes["two"]
    assert drawn.boxes[bend].left == passed.left
    assert not passed.top <= drawn.boxes[bend].top <= passed.bottom
    assert drawn.routes[CHAIN.relations[0]] == []


def test_a_box_for_each_table_none_over_another_and_an_arrow_for_each_pair_of_columns() -> None:
    drawn = ElementTree.fromstring(svg.tables(CIRCLES))
    paths = [*drawn.iter(f"{SVG}path")]
    boxes = [
        [float(number) for number in re.findall(r"[\d.]+", path.get("d", ""))]
        for path in paths
        if "fill: #ffffff; stroke: #555555" in path.get("style", "")
    ]
    edges = [(min(box[::2]), max(box[::2]), min(box[1::2]), max(box[1::2])) for box in boxes]
    assert len(edges) == len(CIRCLES.tables)
    for one, other in combinations(edges, 2):
        assert one[1] < other[0] or other[1] < one[0] or one[3] < other[2] or other[3] < one[2]
    arrows = [path for path in paths if "C " in path.get("d", "")]
    assert len(arrows) == len(CIRCLES.relations)
    texts = {element.text for element in drawn.iter(f"{SVG}text")}
    assert {*CIRCLES.tables, "int4range null"} <= texts


def test_the_same_again_is_the_same_again() -> None:
    assert svg.tables(CIRCLES) == svg.tables(CIRCLES)


def test_no_table_is_an_empty_sheet() -> None:
    assert b"<svg" in svg.tables(Schema({}, []))

"""What there is to draw of a database: its tables, and how they refer to each other."""

from typing import NamedTuple

from sqlalchemy import Connection

from tangga.catalogue import model

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

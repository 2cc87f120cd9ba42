"""Saves go back into the tables: missing rows first, parents before children, then columns, the oldest step first.

Several saves are put back as one: a table dropped by one step may now have columns that another step dropped, NOT NULL
among them, so a row goes in with the values of both.
"""

# ruff: noqa: S608 - names come from the catalogue, quoted by the server

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from tangga.catalogue.sql import execute, one
from tangga.exits import BEHIND, STEP_FAILED, Stop
from tangga.undo.saving import NOTATION, Item, Kept

_ROWS = ("dropped-table", "deleted-rows", "whole-table")
_FOREIGN_KEYS = text("""
    SELECT format('%I.%I', source_schema.nspname, source.relname) AS source,
           format('%I.%I', target_schema.nspname, target.relname) AS target,
           ARRAY(SELECT quote_ident(attname) FROM unnest(conkey) WITH ORDINALITY AS key (number, place)
                 JOIN pg_attribute ON attrelid = conrelid AND attnum = number ORDER BY place)::text[] AS columns,
           ARRAY(SELECT quote_ident(attname) FROM unnest(confkey) WITH ORDINALITY AS key (number, place)
                 JOIN pg_attribute ON attrelid = confrelid AND attnum = number ORDER BY place)::text[] AS target_columns
    FROM pg_constraint
    JOIN pg_class AS source ON source.oid = conrelid
    JOIN pg_namespace AS source_schema ON source_schema.oid = source.relnamespace
    JOIN pg_class AS target ON target.oid = confrelid
    JOIN pg_namespace AS target_schema ON target_schema.oid = target.relnamespace
    WHERE contype = 'f' AND conparentid = 0
""")
_SEQUENCES = text("""
    SELECT objid::regclass::text AS name, quote_ident(attname) AS column
    FROM pg_depend JOIN pg_class ON pg_class.oid = objid AND relkind = 'S'
    JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
    WHERE refobjid = to_regclass(:table) AND deptype IN ('a', 'i') AND classid = 'pg_class'::regclass
""")
_TRIGGERS = text("""
    SELECT quote_ident(tgname) AS name,
           CASE tgenabled WHEN 'A' THEN 'ALWAYS' WHEN 'R' THEN 'REPLICA' ELSE '' END AS mode
    FROM pg_trigger WHERE tgrelid = to_regclass(:table) AND NOT tgisinternal AND tgenabled <> 'D'
""")
_COLUMNS = text("""
    SELECT quote_ident(attname) FROM pg_attribute
    WHERE attrelid = to_regclass(:table) AND attnum > 0 AND NOT attisdropped
""")


@dataclass
class ForeignKey:
    """A foreign key as it is now; names are quoted."""

    source: str
    target: str
    columns: list[str]
    target_columns: list[str]

    def holds(self, values: dict[str, str], also_in: Iterable[str] = ()) -> str:
        """Return the condition that the row with these values has its target, in the table or in one of `also_in`."""
        own = [values[name] for name in self.columns]
        same = " AND ".join(f"target.{name} = {value}" for name, value in zip(self.target_columns, own, strict=True))
        places = [self.target, *also_in]
        found = [f"EXISTS (SELECT FROM {place} AS target WHERE {same})" for place in places]
        return f"({' OR '.join([*(f'{value} IS NULL' for value in own), *found])})"


@dataclass
class Outcome:
    """What became of an item's rows."""

    item: Item
    restored: int = 0
    notes: list[str] = field(default_factory=list)

    def note(self, count: int, what: str) -> None:
        """Add a note, if it is about any row at all."""
        if count:
            self.notes.append(f"{count:,} {what}")


@dataclass
class _Staged:
    """An item's rows in a temporary table."""

    item: Item
    place: str
    outcome: Outcome

    def joined(self, other: str, alias: str) -> str:
        return " AND ".join(f"{alias}.{name} = {other}.{name}" for name in self.item.key)


def put_back(connection: Connection, chosen: Sequence[Kept]) -> list[Outcome]:
    """Put saves back in the open transaction, `chosen` in the order of the upgrade; return what became of each item.

    Raises Stop if a table or a column is not there now, or takes other values than it did.
    """
    execute(connection, NOTATION)
    execute(connection, "SET CONSTRAINTS ALL DEFERRED")
    staged = [_stage(connection, kept, item) for kept in chosen for item in kept.save.items]
    keys = [ForeignKey(row.source, row.target, [*row.columns], [*row.target_columns]) for row in
            connection.execute(_FOREIGN_KEYS)]  # fmt: skip
    tables = _parents_first({each.item.table for each in staged}, keys)
    coming = {
        table: [each.place for each in staged if each.item.table == table and each.item.kind in _ROWS]
        for table in tables
    }
    # What the application's triggers did when the rows were first written is in the rows.
    triggers = [(table, trigger) for table in tables for trigger in connection.execute(_TRIGGERS, {"table": table})]
    for table, trigger in triggers:
        execute(connection, f"ALTER TABLE {table} DISABLE TRIGGER {trigger.name}")
    try:
        for place, table in enumerate(tables):
            # Rows of a table that comes later (a circle) are not there yet, but will be.
            awaited = {later: coming[later] for later in tables[place:]}
            for each in staged:
                if each.item.table == table and each.item.kind in _ROWS:
                    _insert(connection, each, staged, [key for key in keys if key.source == table], awaited)
            if coming[table]:
                _move_sequences(connection, table)
                execute(connection, f"ANALYZE {table}")
        for each in staged:
            if each.item.kind not in _ROWS:
                _update(connection, each, [key for key in keys if key.source == each.item.table])
        execute(connection, "SET CONSTRAINTS ALL IMMEDIATE")
    except IntegrityError as error:
        first = str(error.orig).strip().partition("\n")[0]
        raise Stop(
            f"the saved rows do not fit the tables as they are now: {first}",
            "nothing was put back; if the step that brings the missing values has a save too, put it back together "
            "(newest), or go to the revision of the save first",
            STEP_FAILED,
        ) from error
    for table, trigger in triggers:
        execute(connection, f"ALTER TABLE {table} ENABLE {trigger.mode} TRIGGER {trigger.name}")
    return [each.outcome for each in staged]


def _stage(connection: Connection, kept: Kept, item: Item) -> _Staged:
    number = one(
        connection, "SELECT count(*) FROM pg_class WHERE relname LIKE 'undo_staged_%' AND relpersistence = 't'"
    )
    there = {*connection.scalars(_COLUMNS, {"table": item.table})}
    missing = [name for name in item.columns if name not in there]
    if missing:
        what = f"column {missing[0]} of {item.table}" if there else f"table {item.table}"
        raise Stop(
            f"{kept.path.name} cannot be put back: {what} is not there now",
            f"go to revision {kept.save.revision} first, put it back there, then go on",
            BEHIND,
        )
    place = f"pg_temp.undo_staged_{number}"
    # In the types of today: COPY reads text.
    columns = ", ".join(item.columns)
    execute(
        connection, f"CREATE TEMPORARY TABLE undo_staged_{number} AS SELECT {columns} FROM {item.table} WITH NO DATA"
    )
    kept.load(connection, item, place)
    execute(connection, f"ANALYZE {place}")
    return _Staged(item, place, Outcome(item))


def _insert(
    connection: Connection,
    each: _Staged,
    staged: list[_Staged],
    keys: list[ForeignKey],
    awaited: dict[str, list[str]],
) -> None:
    """Insert the rows that are not there, with the values that other items have for columns of these rows."""
    item = each.item
    values = {name: f"saved.{name}" for name in item.columns}
    source = f"{each.place} AS saved"
    for number, other in enumerate(staged):
        beside = other.item
        if beside.kind != "dropped-columns" or beside.table != item.table or not beside.key:
            continue
        own = [name for name in beside.columns if name not in values]
        if own and set(beside.key) <= set(item.columns):
            source += f" LEFT JOIN {other.place} AS beside_{number} ON {other.joined('saved', f'beside_{number}')}"
            values |= {name: f"beside_{number}.{name}" for name in own}
    complete = [key.holds(values, awaited.get(key.target, ())) for key in keys if set(key.columns) <= values.keys()]
    where = f" WHERE {' AND '.join(complete)}" if complete else ""
    possible = one(connection, f"SELECT count(*) FROM {source}{where}") if where else item.rows
    each.outcome.restored = execute(
        connection,
        f"INSERT INTO {item.table} ({', '.join(values)}) OVERRIDING SYSTEM VALUE "
        f"SELECT {', '.join(values.values())} FROM {source}{where} ON CONFLICT DO NOTHING",
    )
    each.outcome.note(possible - each.outcome.restored, "there already")
    each.outcome.note(item.rows - possible, "refer to rows that are gone")


def _update(connection: Connection, each: _Staged, keys: list[ForeignKey]) -> None:
    """Give the rows that are still there their values back."""
    item = each.item
    if not item.key:
        each.outcome.notes.append("the table has no key that tells its rows apart: see the file")
        return
    names = [name for name in item.columns if name not in item.key]
    same = each.joined("now", "saved")
    both = f"{item.table} AS now JOIN {each.place} AS saved ON {same}"
    new = {name: f"saved.{name}" for name in names}
    concerned = [key for key in keys if set(key.columns) & set(names)]
    kept = 0
    for key in concerned:
        values = {name: f"saved.{name}" if name in names else f"now.{name}" for name in key.columns}
        holds = key.holds(values)
        kept = max(kept, one(connection, f"SELECT count(*) FROM {both} WHERE NOT {holds}"))
        for name in set(key.columns) & set(names):
            new[name] = f"CASE WHEN {holds} THEN {new[name]} ELSE now.{name} END"
    there = one(connection, f"SELECT count(*) FROM {both}")
    # Compared as text: not every type has an equality.
    different = " OR ".join(f"now.{name}::text IS DISTINCT FROM saved.{name}::text" for name in names)
    assigned = ", ".join(f"{name} = {value}" for name, value in new.items())
    execute(
        connection,
        f"UPDATE {item.table} AS now SET {assigned} FROM {each.place} AS saved WHERE {same} AND ({different})",
    )
    each.outcome.restored = there - kept
    each.outcome.note(item.rows - there, "of rows that are gone")
    each.outcome.note(kept, "refer to rows that are gone: they keep what the upgrade gave them")


def _parents_first(tables: set[str], keys: list[ForeignKey]) -> list[str]:
    ordered: list[str] = []
    entered: set[str] = set()

    def visit(table: str) -> None:
        if table in entered:
            return
        entered.add(table)
        for target in sorted({key.target for key in keys if key.source == table} & tables):
            visit(target)
        ordered.append(table)

    for table in sorted(tables):
        visit(table)
    return ordered


def _move_sequences(connection: Connection, table: str) -> None:
    """The next number that a sequence gives must be past the numbers that came back."""
    for sequence in connection.execute(_SEQUENCES, {"table": table}).all():
        greatest = f"(SELECT max({sequence.column}) FROM {table})"
        execute(
            connection,
            f"SELECT setval('{sequence.name.replace(chr(39), chr(39) * 2)}', {greatest}) FROM {sequence.name} "
            f"WHERE last_value < {greatest}",
        )

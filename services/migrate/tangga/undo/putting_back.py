"""Saves go back into the tables: missing rows first, parents before children, then columns, the oldest step first.

Several saves are put back as one: a table dropped by one step may now have columns that another step dropped, NOT NULL
among them, so a row goes in with the values of both.
"""

# ruff: noqa: S608 - names come from the catalogue, quoted by the server

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from tangga.catalogue.sql import execute, literal, one
from tangga.exits import STEP_FAILED, Stop
from tangga.undo.foreign_keys import ForeignKey, foreign_keys, parents_first
from tangga.undo.row_security import unforced
from tangga.undo.saves import NOTATION, Kept
from tangga.undo.staging import Outcome, Staged, stage

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


def put_back(connection: Connection, chosen: Sequence[Kept]) -> list[Outcome]:
    """Put saves back in the open transaction, `chosen` in the order of the upgrade; return what became of each item.

    Raises Stop if a table or a column is not there now, or takes other values than it did.
    """
    execute(connection, NOTATION)
    execute(connection, "SET CONSTRAINTS ALL DEFERRED")
    staged = [stage(connection, kept, item) for kept in chosen for item in kept.save.items]
    keys = foreign_keys(connection)
    tables = parents_first({each.item.table for each in staged}, keys)
    # What the rows refer to is looked for, too.
    read = {*tables, *(key.target for key in keys if key.source in tables)}
    with unforced(connection, read), _without_triggers(connection, tables), _fitting():
        _put_rows_back(connection, staged, tables, keys)
        for each in staged:
            if not each.of_rows:
                _update(connection, each, [key for key in keys if key.source == each.item.table])
        execute(connection, "SET CONSTRAINTS ALL IMMEDIATE")
    return [each.outcome for each in staged]


@contextmanager
def _without_triggers(connection: Connection, tables: list[str]) -> Iterator[None]:
    """Disable the application's triggers while the body runs: what they did when the rows were written is in the rows.

    After an error they are not enabled again: the transaction is lost.
    """
    triggers = [(table, trigger) for table in tables for trigger in connection.execute(_TRIGGERS, {"table": table})]
    for table, trigger in triggers:
        execute(connection, f"ALTER TABLE {table} DISABLE TRIGGER {trigger.name}")
    yield
    for table, trigger in triggers:
        execute(connection, f"ALTER TABLE {table} ENABLE {trigger.mode} TRIGGER {trigger.name}")


@contextmanager
def _fitting() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        first = str(error.orig).strip().partition("\n")[0]
        raise Stop(
            f"the saved rows do not fit the tables as they are now: {first}",
            "nothing was put back; if the step that brings the missing values has a save too, put it back together "
            "(newest), or go to the revision of the save first",
            STEP_FAILED,
        ) from error


def _put_rows_back(connection: Connection, staged: list[Staged], tables: list[str], keys: list[ForeignKey]) -> None:
    """Insert the rows that went, table by table."""
    coming = {table: [each for each in staged if each.item.table == table and each.of_rows] for table in tables}
    for number, table in enumerate(tables):
        # Rows of a table that comes later (a circle) are not there yet, but will be.
        awaited = {later: [each.place for each in coming[later]] for later in tables[number:]}
        for each in coming[table]:
            _insert(connection, each, staged, [key for key in keys if key.source == table], awaited)
        if coming[table]:
            _move_sequences(connection, table)
            execute(connection, f"ANALYZE {table}")


def _insert(
    connection: Connection,
    each: Staged,
    staged: list[Staged],
    keys: list[ForeignKey],
    awaited: dict[str, list[str]],
) -> None:
    """Insert the rows that are not there, with the values that other items have for columns of these rows."""
    item = each.item
    source, values = _source(each, staged)
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


def _source(each: Staged, staged: list[Staged]) -> tuple[str, dict[str, str]]:
    """Return what stands after FROM for an item's rows, and each column's value, those of other items included."""
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
    return source, values


def _update(connection: Connection, each: Staged, keys: list[ForeignKey]) -> None:
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


def _move_sequences(connection: Connection, table: str) -> None:
    """The next number that a sequence gives must be past the numbers that came back."""
    for sequence in connection.execute(_SEQUENCES, {"table": table}).all():
        greatest = f"(SELECT max({sequence.column}) FROM {table})"
        execute(
            connection,
            f"SELECT setval({literal(sequence.name)}, {greatest}) FROM {sequence.name} WHERE last_value < {greatest}",
        )

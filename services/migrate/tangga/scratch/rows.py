"""Generated rows, for commands that try steps out on tables that are not empty.

Each table is filled by one INSERT ... SELECT FROM generate_series, built from the catalogue, parents before children.
The values depend on the row's number only, so two runs on equal databases give equal rows.
"""
# ruff: noqa: S608 - names are quoted, and come from the catalogue, as do types and conditions

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from tangga.catalogue.ours import OURS
from tangga.catalogue.sql import literal, quoted

_TABLES = text("""
    SELECT oid, relname AS name FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND NOT relispartition AND relname <> ALL (:ours)
      AND has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
    ORDER BY relname
""")
_COLUMNS = text("""
    SELECT attrelid AS "table", attnum AS number, attname AS name, atttypid AS type, atttypmod AS modifier,
           format_type(atttypid, atttypmod) AS sql, attnotnull AS required,
           attidentity <> '' OR attgenerated <> ''
           OR coalesce(pg_get_expr(adbin, adrelid), '') LIKE 'nextval(%' AS filled
    FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attrelid = ANY (:tables) AND attnum > 0 AND NOT attisdropped ORDER BY attrelid, attnum
""")
_KEYS = text("""
    SELECT indrelid AS "table", (indkey::smallint[])[0:indnkeyatts - 1] AS columns, indimmediate AS immediate
    FROM pg_index WHERE indisunique AND indrelid = ANY (:tables) ORDER BY indexrelid
""")
_REFERENCES = text("""
    SELECT conrelid AS "table", conname AS name, conkey AS columns, confrelid AS parent, confkey AS referenced
    FROM pg_constraint WHERE contype = 'f' AND conrelid = ANY (:tables) ORDER BY cardinality(conkey) DESC, conname
""")
_CHECKS = text("""
    SELECT conrelid AS "table", conname AS name, conkey AS columns, pg_get_expr(conbin, conrelid) AS condition
    FROM pg_constraint WHERE contype = 'c' AND conrelid = ANY (:tables) ORDER BY conname
""")
_TYPE = text("""
    SELECT format_type(oid, :modifier) AS sql, oid::regtype::text AS name, typtype AS kind, typcategory AS category,
           typbasetype AS base, typtypmod AS base_modifier, typelem AS element, typnotnull AS required,
           ARRAY(SELECT enumlabel::text FROM pg_enum WHERE enumtypid = pg_type.oid ORDER BY enumsortorder) AS labels,
           (SELECT rngsubtype FROM pg_range WHERE rngtypid = pg_type.oid) AS bound,
           (SELECT rngtypid::regtype::text FROM pg_range WHERE rngmultitypid = pg_type.oid) AS range,
           (SELECT rngsubtype FROM pg_range WHERE rngmultitypid = pg_type.oid) AS multibound,
           ARRAY(SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contypid = pg_type.oid) AS checks
    FROM pg_type WHERE oid = :type
""")
# Numbers of rows on which a way to make values is tried.
_SAMPLE = (
    "unnest(array_cat(ARRAY(SELECT generate_series(0::bigint, 60)), ARRAY[100, 999, 10000, 123456, 1000001]::bigint[]))"
)
_TRIES = 8


class RowsRefused(Exception):
    """A table takes no generated row: names the table and the constraint."""


class _Way(NamedTuple):
    """How to make values: SQL with {n} for a number from 0, and how many values differ (None: any number)."""

    sql: str
    size: int | None = None

    def at(self, n: str) -> str:
        return self.sql.replace("{n}", f"({n})" if self.size is None else f"(({n}) % {self.size})")


class _Column(NamedTuple):
    name: str
    number: int
    required: bool
    filled: bool
    null: str
    way: _Way


class _Reference(NamedTuple):
    name: str
    columns: list[int]
    parent: int
    referenced: list[int]


class _Table(NamedTuple):
    name: str
    columns: dict[int, _Column]
    keys: list[list[int]]
    deferrable: bool
    references: list[_Reference]
    checks: dict[str, str]


def generate(
    connection: Connection, count: int, tables: Collection[str] | None = None, *, top_up: bool = False
) -> dict[str, int]:
    """Insert `count` rows into every table of the application, or into those named; commits nothing.

    With `top_up`, tables that have rows get only what is missing to `count`. Fewer are inserted where a unique key over
    existing parents leaves no room for more. The connection must be in a transaction (not autocommit). Returns the rows
    inserted per table, in the order of insertion; raises RowsRefused if a table that is empty stays so.
    """
    # Nothing is known about new tables, so the planner expects thousands of rows, and would compile for a hundred.
    connection.exec_driver_sql("SET LOCAL jit = off; SET LOCAL work_mem = '128MB'")
    described = _describe(connection)
    chosen = {oid: table for oid, table in described.items() if tables is None or table.name in tables}
    if unknown := set(tables or ()) - {table.name for table in chosen.values()}:
        raise RowsRefused(f"no such table: {', '.join(sorted(unknown))}")
    counts = {
        oid: connection.exec_driver_sql(f"SELECT count(*) FROM {quoted(table.name)}").scalar_one()
        for oid, table in described.items()
    }
    inserted = {}
    for oid in _parents_first(chosen):
        wanted = count - counts[oid] if top_up else count
        done = _fill(connection, described, counts, oid, max(wanted, 0))
        counts[oid] += done
        inserted[described[oid].name] = done
    return inserted


def _describe(connection: Connection) -> dict[int, _Table]:
    names = {row.oid: row.name for row in connection.execute(_TABLES, {"ours": [*OURS]})}
    only = {"tables": [*names]}
    tables = {oid: _Table(name, {}, [], False, [], {}) for oid, name in names.items()}
    for row in connection.execute(_REFERENCES, only):
        if row.parent in names:
            tables[row.table].references.append(_Reference(row.name, row.columns, row.parent, row.referenced))
    for row in connection.execute(_KEYS, only):
        tables[row.table].keys.append(row.columns)
        if not row.immediate:
            tables[row.table] = tables[row.table]._replace(deferrable=True)
    narrow: dict[tuple[int, int], list[str]] = {}
    for row in connection.execute(_CHECKS, only):
        tables[row.table].checks[row.name] = row.condition
        if row.columns and len(row.columns) == 1:
            narrow.setdefault((row.table, row.columns[0]), []).append(row.condition)
    types: dict[tuple[int, int], _Way | None] = {}
    for row in connection.execute(_COLUMNS, only).all():
        table, key, null = tables[row.table], (row.type, row.modifier), f"NULL::{row.sql}"
        if row.filled:
            table.columns[row.number] = _Column(row.name, row.number, row.required, True, null, _Way(""))
            continue
        if key not in types:
            types[key] = _way(connection, *key)
        way = types[key] or _Way(null, 1)
        conditions = narrow.get((row.table, row.number), []) + _domain_checks(connection, row.type, row.name)
        if conditions:
            way = _within(connection, row.name, row.type, row.modifier, way, conditions)
        table.columns[row.number] = _Column(row.name, row.number, row.required, False, null, way)
    return tables


def _parents_first(tables: dict[int, _Table]) -> list[int]:
    left, ordered = dict(tables), []
    while left:
        ready = [oid for oid, table in left.items() if not _waits_for(table, left, oid, required=False)]
        # A circle: begin where the reference may be NULL.
        ready = ready or [oid for oid, table in left.items() if not _waits_for(table, left, oid, required=True)][:1]
        if not ready:
            names = ", ".join(sorted(table.name for table in left.values()))
            raise RowsRefused(f"foreign keys that may not be NULL form a circle: {names}")
        ordered += ready
        left = {oid: table for oid, table in left.items() if oid not in ready}
    return ordered


def _waits_for(table: _Table, left: Collection[int], own: int, *, required: bool) -> bool:
    return any(
        reference.parent in left and reference.parent != own and (not required or _is_required(table, reference))
        for reference in table.references
    )


def _is_required(table: _Table, reference: _Reference) -> bool:
    return all(table.columns[number].required for number in reference.columns)


def _fill(connection: Connection, tables: dict[int, _Table], counts: dict[int, int], oid: int, wanted: int) -> int:
    table, done, start, refusal = tables[oid], 0, counts[oid], ""
    for attempt in range(_TRIES):
        if done >= wanted:
            break
        # A condition over several columns throws some rows out: later attempts make more to choose from.
        span = (wanted - done) * (1 if attempt == 0 else 8 if table.checks else 2)
        statement = _statement(tables, counts, oid, start, span, wanted - done, attempt)
        try:
            with connection.begin_nested():
                done += connection.exec_driver_sql(statement.replace("%", "%%")).rowcount
        except DBAPIError as error:
            refusal = str(error.orig).strip().partition("\n")[0]
        start += span
    if wanted and not done and not counts[oid]:
        names = ", ".join(table.checks)
        reason = refusal or (
            f"no generated row passes its CHECK constraints ({names})" if names else "no row fits its keys"
        )
        raise RowsRefused(f"table {table.name} takes no generated row: {reason}")
    return done


def _statement(
    tables: dict[int, _Table], counts: dict[int, int], oid: int, start: int, span: int, limit: int, attempt: int
) -> str:
    table = tables[oid]
    values: dict[int, str] = {}  # column -> SQL
    units: dict[int, tuple[int, int | None]] = {}  # column -> its unit (a reference's columns belong together), size
    joins = []
    chosen: list[tuple[int, _Reference]] = []
    for reference in table.references:
        if any(number in units or table.columns[number].filled for number in reference.columns):
            continue
        if counts[reference.parent] == 0:
            if _is_required(table, reference):
                parent = tables[reference.parent].name
                raise RowsRefused(f"{table.name}: constraint {reference.name} needs rows in {parent}, which is empty")
            for number in reference.columns:
                units[number], values[number] = (number, 1), table.columns[number].null
            continue
        chosen.append((len(chosen), reference))
        for number in reference.columns:
            units[number] = (reference.columns[0], counts[reference.parent])
    for number, column in table.columns.items():
        units.setdefault(number, (number, column.way.size))
    indexes = _spread(table, units, attempt)
    for position, reference in chosen:
        referred, alias = tables[reference.parent], f"parent_{position}"
        names = [quoted(referred.columns[number].name) for number in reference.referenced]
        index = indexes[reference.columns[0]]
        if not _is_required(table, reference):
            index = f"CASE WHEN n % 7 <> {reference.columns[0] % 7} THEN {index} END"
        joins.append(
            f"LEFT JOIN (SELECT row_number() OVER (ORDER BY {', '.join(names)}) - 1 AS i, {', '.join(names)} "
            f"FROM {quoted(referred.name)}) AS {alias} ON {alias}.i = {index}"
        )
        values |= {number: f"{alias}.{name}" for number, name in zip(reference.columns, names, strict=True)}
    for number, column in table.columns.items():
        if number in values or column.filled:
            continue
        value = column.way.at(indexes[number])
        values[number] = value if column.required else f"CASE WHEN n % 7 <> {number % 7} THEN {value} END"
    names = [quoted(table.columns[number].name) for number in values]
    made = ", ".join(f"{value} AS {name}" for name, value in zip(names, values.values(), strict=True))
    # What the database fills in itself is not there to be asked.
    filled = [quoted(column.name) for column in table.columns.values() if column.filled]
    conditions = [f"({check}) IS NOT FALSE" for check in table.checks.values() if not _mentions(check, filled)]
    return (
        f"INSERT INTO {quoted(table.name)} ({', '.join(names)}) SELECT {', '.join(names)} FROM ("
        f"SELECT n, {made} FROM generate_series({start}::bigint, {start + span - 1}) AS n {' '.join(joins)}"
        f") AS generated WHERE {' AND '.join(conditions) or 'true'} ORDER BY n LIMIT {limit}"
        f"{'' if table.deferrable else ' ON CONFLICT DO NOTHING'}"
        if names
        else f"INSERT INTO {quoted(table.name)} SELECT FROM generate_series(1, {limit})"
    )


def _mentions(condition: str, names: Sequence[str]) -> bool:
    return any(re.search(rf"(?<!\w){re.escape(name.strip(chr(34)))}(?!\w)", condition) for name in names)


def _spread(table: _Table, units: dict[int, tuple[int, int | None]], attempt: int) -> dict[int, str]:
    """Return, for each unit, the number that its value is made from, so that unique keys over few values hold."""
    indexes: dict[int, str] = {}
    for key in table.keys:
        members = list(dict.fromkeys(units[number] for number in key if number))
        if any(size is None or unit in indexes for unit, size in members):
            continue
        # n in a mixed radix, each digit shifted by the one before: as many different combinations as there are, and
        # the first of them already spread over all columns.
        divisor, before = 1, "0"
        for unit, size in members:
            before = indexes[unit] = f"((n / {divisor} + {before}) % {max(size or 1, 1)})"
            divisor *= max(size or 1, 1)
    unique = {number for key in table.keys for number in key}
    for unit, size in units.values():
        # Equal numbers in all columns fail a condition such as a < b: shift them, then mix them.
        shifted = ("n", f"n + {unit}", f"n + {100 - unit}")[attempt % 3]
        if attempt >= 3 and unit not in unique:
            shifted = f"(n * {7919 + 2 * unit} / {attempt}) % 1009"
        indexes.setdefault(unit, shifted if size is None else f"(({shifted}) % {size})")
    return indexes


def _way(connection: Connection, oid: int, modifier: int) -> _Way | None:
    """Return how to make values of a type; None for a type that is not known here."""
    found = connection.execute(_TYPE, {"type": oid, "modifier": modifier}).one()
    cast = f"::{found.sql}"
    inner: _Way | None
    if found.kind == "d":
        inner = _way(connection, found.base, found.base_modifier)
        return inner and _Way(f"({inner.sql}){cast}", inner.size)
    if found.kind == "e":
        labels = ", ".join(map(literal, found.labels))
        return _Way(f"(ARRAY[{labels}])[1 + {{n}}]{cast}", len(found.labels)) if labels else None
    if found.category == "A" and found.element:
        inner = _way(connection, found.element, modifier)
        return inner and _Way(f"ARRAY[{inner.at('{n}')}, {inner.at('{n} + 1')}]{cast}", inner.size)
    if found.kind == "r":
        inner = _way(connection, found.bound, -1)
        return inner and _Way(f"{found.name}({inner.sql}, {inner.sql.replace('{n}', '({n} + 1)')})", inner.size)
    if found.kind == "m":
        inner = _way(connection, found.multibound, -1)
        bounds = inner and f"{inner.sql}, {inner.sql.replace('{n}', '({n} + 1)')}"
        return inner and _Way(f"{found.name}({found.range}({bounds}))", inner.size)
    return _simple(found.name, found.category, cast, modifier)


def _simple(name: str, category: str, cast: str, modifier: int) -> _Way | None:
    if name == "numeric" and modifier >= 0:
        precision, scale = (modifier - 4) >> 16, ((modifier - 4) & 2047 ^ 1024) - 1024
        return _Way(f"({{n}}::numeric / 10::numeric ^ {scale}){cast}", 10 ** min(precision, 18))
    if name in ("character varying", "character") and modifier >= 0:
        length = modifier - 4
        return _Way(f"left('{'text '[: max(length - 12, 0)]}' || {{n}}, {length}){cast}", 10 ** min(length, 18))
    if name in ("bit", "bit varying"):
        length = min(modifier, 62) if modifier > 0 else 1 if name == "bit" else 62
        return _Way(f"{{n}}::bit({length}){cast}", 2**length)
    if name in _WAYS:
        way = _WAYS[name]
        return _Way(f"({way.sql}){cast}", way.size)
    # citext and the like
    return _Way(f"({_TEXT}){cast}") if category == "S" else None


# Capital, accent, double space, sometimes one at the end: so that a step that "cleans" the text is seen to change it.
_TEXT = "'Text  é ' || {n} || repeat(' ', ({n} % 3)::integer)"
_DAY = "date '2001-01-01'"
_WAYS = {
    "smallint": _Way("{n}", 32767),
    "integer": _Way("{n}", 2**31 - 1),
    "bigint": _Way("{n}"),
    "oid": _Way("{n}", 2**31 - 1),
    "numeric": _Way("{n} + 0.25"),
    "real": _Way("{n} + 0.5", 2**22),
    "double precision": _Way("{n} + 0.25"),
    "money": _Way("{n}::numeric"),
    "boolean": _Way("{n} = 1", 2),
    "text": _Way(_TEXT),
    "name": _Way("'name ' || {n}"),
    '"char"': _Way("chr(33 + {n}::integer)", 90),
    "uuid": _Way("md5({n}::text)"),
    "bytea": _Way("decode(md5({n}::text), 'hex')"),
    "json": _Way("json_build_object('number', {n}, 'text', 'text ' || {n})"),
    "jsonb": _Way("jsonb_build_object('number', {n}, 'text', 'text ' || {n})"),
    "xml": _Way("'<number>' || {n} || '</number>'"),
    "date": _Way(f"{_DAY} + {{n}}::integer", 2_000_000),
    "time without time zone": _Way("time '00:00' + {n} * interval '1 millisecond'", 86_400_000),
    "time with time zone": _Way("time '00:00' + {n} * interval '1 millisecond'", 86_400_000),
    "timestamp without time zone": _Way(f"{_DAY} + {{n}} * interval '1 minute'"),
    "timestamp with time zone": _Way("timestamptz '2001-01-01 00:00+00' + {n} * interval '1 minute'"),
    "interval": _Way("{n} * interval '1 minute'"),
    "inet": _Way("inet '10.0.0.0' + {n}", 2**24),
    "cidr": _Way("set_masklen(inet '10.0.0.0' + {n}, 32)", 2**24),
    "macaddr": _Way("lpad(to_hex({n}), 12, '0')"),
    "macaddr8": _Way("lpad(to_hex({n}), 16, '0')"),
    "point": _Way("point({n}, {n})"),
    "line": _Way("line(point({n}, 0), point({n} + 1, 1))"),
    "lseg": _Way("lseg(point({n}, 0), point({n} + 1, 1))"),
    "box": _Way("box(point({n}, 0), point({n} + 1, 1))"),
    "path": _Way("path(polygon(box(point({n}, 0), point({n} + 1, 1))))"),
    "polygon": _Way("polygon(box(point({n}, 0), point({n} + 1, 1)))"),
    "circle": _Way("circle(point({n}, 0), 1)"),
    "tsvector": _Way("to_tsvector('simple', 'text ' || {n})"),
    "tsquery": _Way("plainto_tsquery('simple', 'text ' || {n})"),
    "pg_lsn": _Way("pg_lsn '0/0' + {n}::numeric"),
}


def _domain_checks(connection: Connection, oid: int, name: str) -> list[str]:
    found = connection.execute(_TYPE, {"type": oid, "modifier": -1}).one()
    own = [
        re.sub(r"\bVALUE\b", lambda _: quoted(name), check[5:].strip())
        for check in found.checks
        if check[:5] == "CHECK"
    ]
    return own + (_domain_checks(connection, found.base, name) if found.kind == "d" else [])


def _within(connection: Connection, name: str, oid: int, modifier: int, way: _Way, conditions: list[str]) -> _Way:
    """Return a way whose values pass the conditions on this column alone: the first that does, of several guesses."""
    found = connection.execute(_TYPE, {"type": oid, "modifier": modifier}).one()
    # A domain's value is cast to the domain only once it is known to pass.
    inner = (
        connection.execute(_TYPE, {"type": found.base, "modifier": found.base_modifier}).one()
        if found.kind == "d"
        else found
    )
    condition = " AND ".join(f"({each}) IS NOT FALSE" for each in conditions)
    plain = _Way(way.sql.removesuffix(f"::{found.sql}"), way.size) if found.kind == "d" else way
    words = list(dict.fromkeys(re.findall(r"'((?:[^']|'')*)'", " ".join(conditions))))
    numbers = sorted({int(number) for number in re.findall(r"(?<![\w.])-?\d{1,9}(?![\w.])", " ".join(conditions))})

    def passes(guess: _Way) -> bool:
        statement = (
            f"SELECT coalesce(bool_and({condition}), false) FROM "
            f"(SELECT ({guess.at('n')})::{inner.sql} AS {quoted(name)} FROM {_SAMPLE} AS n) AS generated"
        )
        try:
            with connection.begin_nested():
                return bool(connection.exec_driver_sql(statement.replace("%", "%%")).scalar_one())
        except DBAPIError:
            return False

    guesses = [plain, *_guesses(inner.category, numbers)]
    literals = [literal(word.replace("''", "'")) for word in words]
    if inner.category == "N":
        literals += [str(number + shift) for number in numbers for shift in (-1, 0, 1)]
    good = [literal for literal in literals if passes(_Way(literal, 1))]
    for guess in guesses:
        if passes(guess):
            return _Way(f"({guess.sql})::{found.sql}", guess.size)
    if good:
        return _Way(f"(ARRAY[{', '.join(good)}])[1 + {{n}}]::{found.sql}", len(good))
    return way


def _guesses(category: str, numbers: list[int]) -> list[_Way]:
    if category == "N":
        spans = [(low, high) for low in numbers for high in numbers if low < high]
        return [
            _Way("{n} + 1"),
            *(_Way(f"{low} + {{n}}", high - low + 1) for low, high in spans[::-1]),
            *(_Way(f"{low} + 1 + {{n}}", high - low - 1) for low, high in spans[::-1] if high - low > 1),
            *(_Way(f"{number} + 1 + {{n}}") for number in numbers),
            *(_Way(f"{{n}} * {number}") for number in numbers),
            _Way("-1 - {n}"),
            *(_Way(f"{number} - 1 - {{n}}") for number in numbers),
            _Way("(1 + {n}) / 1002.0", 1000),
        ]
    if category == "S":
        sizes = [size for number in numbers for size in (number, number - 1, number + 1) if 0 < size <= 40]
        return [
            _Way("'person' || {n} || '@example.org'"),
            _Way("'name' || {n}"),
            _Way("'N' || {n}"),
            _Way("'n-' || {n}"),
            _Way("'0' || {n}"),
            _Way("'1' || {n}"),
            _Way("'+62' || lpad({n}::text, 10, '0')"),
            _Way("'https://example.org/' || {n}"),
            *(_Way(f"lpad({{n}}::text, {size}, '0')", 10 ** min(size, 18)) for size in sizes),
            # Letters only: digits become letters.
            _Way("translate({n}::text, '0123456789', 'abcdefghij')"),
            _Way("translate({n}::text, '0123456789', 'ABCDEFGHIJ')"),
            *(
                _Way(f"translate(lpad({{n}}::text, {size}, '0'), '0123456789', 'ABCDEFGHIJ')", 10 ** min(size, 18))
                for size in sizes
            ),
            *(
                _Way(f"translate(lpad({{n}}::text, {size}, '0'), '0123456789', 'abcdefghij')", 10 ** min(size, 18))
                for size in sizes
            ),
        ]
    return []

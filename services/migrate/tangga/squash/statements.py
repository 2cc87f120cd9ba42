"""What the baseline runs: statements that make what pg_dump prints of a database, and that take it down again."""

import re
from collections.abc import Iterable, Iterator

import pglast
from sqlalchemy import Engine
from sqlalchemy.dialects import postgresql

from tangga.catalogue import dump as schema
from tangga.catalogue import ours
from tangga.catalogue.ours import UNNAMED
from tangga.catalogue.sql import execute, quoted
from tangga.exits import ALEMBIC_REFUSES, Stop
from tangga.scratch.server import Scratch

# What goes away together with something else.
_PARTS = {
    "ACL", "ATTACH PARTITION", "CHECK CONSTRAINT", "COMMENT", "CONSTRAINT", "DEFAULT", "DEFAULT ACL", "FK CONSTRAINT",
    "INDEX", "INDEX ATTACH", "POLICY", "ROW SECURITY", "RULE", "SEQUENCE OWNED BY", "STATISTICS", "TABLE ATTACH",
    "TRIGGER",
}  # fmt: skip
# In the order in which they can be dropped.
_WHOLES = (
    "MATERIALIZED VIEW", "VIEW", "TABLE", "AGGREGATE", "FUNCTION", "PROCEDURE", "DOMAIN", "TYPE", "SEQUENCE",
    "EXTENSION", "SCHEMA",
)  # fmt: skip
_quote = postgresql.dialect().identifier_preparer.quote  # type: ignore[no-untyped-call]


def making(dump: Iterable[str], pristine: Iterable[str], owner: str) -> Iterator[str]:
    """Yield what makes the objects, in pg_dump's order, but for privileges and for the owner, who is who runs it."""
    there = set(schema.entries(pristine))
    found = [entry for entry in schema.entries(dump) if entry not in there and entry[0] not in ("ACL", "DEFAULT ACL")]
    if any(kind in ("FUNCTION", "PROCEDURE") for kind, *_ in found):
        # As pg_dump does: a function may speak of a table that comes after it.
        yield "SET LOCAL check_function_bodies = off"
    by_owner = re.compile(rf"^ALTER [^;]* OWNER TO (?:{re.escape(owner)}|{re.escape(quoted(owner))});$", re.MULTILINE)
    for kind, _, _, body in found:
        statement = by_owner.sub("", body).strip().removesuffix(";")
        if kind == "SCHEMA" and statement.startswith(f"ALTER SCHEMA {UNNAMED}"):
            continue
        if statement:
            yield re.sub(r"\n{3,}", "\n\n", statement)


def granting(scratch: Scratch, statements: list[str], wanted: dict[str, str]) -> list[str]:
    """Return the privileges that the steps gave or took, beyond those that every new object gets by default."""
    with scratch.database() as engine:
        with engine.begin() as connection:
            for statement in statements:
                execute(connection, statement)
        found = schema.objects(scratch.dump(engine))
    grants = []
    for name in sorted(name for name in wanted.keys() | found.keys() if name.startswith("grant on ")):
        expected, there = wanted.get(name, "").splitlines(), found.get(name, "").splitlines()
        for line in there:
            if line not in expected and (given := re.fullmatch(r"GRANT (.*) ON (.*) TO (.*);", line)):
                grants.append(f"REVOKE {given[1]} ON {given[2]} FROM {given[3]}")
        grants += [line.removesuffix(";") for line in expected if line not in there]
    return grants


def filling(scratch: Scratch, engine: Engine) -> list[str]:
    """Return what inserts the rows that a database holds, and moves the sequences that were asked."""
    lines = scratch.dump_rows(engine, without=(ours.VERSION, ours.log(), ours.backfill()))
    statements = pglast.split("\n".join(line for line in lines if not line.startswith("\\")))
    inserts = [statement for statement in statements if statement.startswith("INSERT INTO ")]
    # A sequence that was never asked is where a new one is.
    asked = [statement for statement in statements if "setval(" in statement and not statement.endswith("false)")]
    return inserts + [statement for statement in asked if f"{ours.schema()}.migration_log_id_seq" not in statement]


def dropping(dump: Iterable[str], pristine: Iterable[str]) -> Iterator[str]:
    """Yield what takes the objects down again; raises Stop for one that this does not know how to drop."""
    there = {entry[:3] for entry in schema.entries(pristine)}
    found = [entry for entry in schema.entries(dump) if entry[:3] not in there and entry[0] not in _PARTS]
    if other := [entry for entry in found if entry[0] not in _WHOLES]:
        kind, _, name, _ = other[0]
        raise Stop(
            f"{kind.lower()} {name}: squash does not know how to drop it, so the baseline would have no way down",
            "squash up to a step before the one that makes it",
            ALEMBIC_REFUSES,
        )
    owned = {name for kind, _, name, _ in schema.entries(dump) if kind == "SEQUENCE OWNED BY"}
    for kind in _WHOLES:
        names = [
            _full(schema_name, name) for found_kind, schema_name, name, body in found
            if found_kind == kind and name not in owned and " ADD GENERATED " not in body
        ][::-1]  # fmt: skip
        # In one statement, tables may refer to each other.
        if names:
            yield f"DROP {kind} {', '.join(names)}"


def _full(schema_name: str, name: str) -> str:
    bare, bracket, rest = name.partition("(")
    return ("" if schema_name == "-" else f"{_quote(schema_name)}.") + _quote(bare) + bracket + rest

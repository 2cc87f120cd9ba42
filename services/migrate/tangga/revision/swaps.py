"""A constraint or an index that takes the place of another one of its name: made beside it, then swapped.

So there is no moment without it, and what a killed step has built is found again.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from tangga.revision.sql import quoted
from tangga.revision.written import Phase, Raw, Written, call, execute


class Table(NamedTuple):
    """The table that a part is of."""

    schema: str | None
    name: str

    @property
    def sql(self) -> str:
        """The name as SQL wants it."""
        return quoted(self.schema, self.name)


def beside(name: str) -> str:
    """Return the name that the new one has until the old one is gone."""
    return f"{name[:59]}_new"


def check(table: Table, name: str, condition: str, *, swap: bool) -> Iterator[Written]:
    """Yield what adds a CHECK."""
    as_first = beside(name) if swap else name
    yield Written(Phase.SAFE, call("safe.add_check", as_first, table.name, condition, schema=table.schema))
    yield from _renamed(table, name, "check", swap=swap)


def foreign_key(table: Table, name: str, *arguments: Any, swap: bool, **options: Any) -> Iterator[Written]:
    """Yield what adds a foreign key: to a table, from columns, to columns."""
    as_first = beside(name) if swap else name
    made = call("safe.add_foreign_key", as_first, table.name, *arguments, schema=table.schema, **options)
    yield Written(Phase.SAFE, made)
    yield from _renamed(table, name, "foreignkey", swap=swap)


def unique(table: Table, name: str, columns: list[str], *, swap: bool, **options: Any) -> Iterator[Written]:
    """Yield what adds a UNIQUE constraint."""
    if not swap:
        yield Written(Phase.SAFE, call("safe.add_unique", name, table.name, columns, schema=table.schema, **options))
        return
    late = " DEFERRABLE INITIALLY DEFERRED" if str(options.get("initially")).upper() == "DEFERRED" else ""
    deferring = late or (" DEFERRABLE" if options.get("deferrable") else "")
    yield from by_index(table, name, columns, f"UNIQUE USING INDEX {quoted(beside(name))}{deferring}", swap=True)


def by_index(table: Table, name: str, columns: list[str], definition: str, *, swap: bool) -> Iterator[Written]:
    """Yield what adds a constraint that is made of an index, which is built first."""
    index = call("safe.create_index", beside(name), table.name, columns, unique=True, schema=table.schema)
    yield Written(Phase.SAFE, index)
    if swap:
        yield dropped(table, name, Phase.SWAP)
    yield Written(Phase.SWAP, execute(f"ALTER TABLE {table.sql} ADD CONSTRAINT {quoted(name)} {definition}"))


def index(table: Table, name: str, columns: list[Any], *, swap: bool, **options: Any) -> Iterator[Written]:
    """Yield what builds an index."""
    as_first = beside(name) if swap else name
    lines = [call("safe.create_index", as_first, table.name, columns, schema=table.schema, **options)]
    if swap:
        lines.append(call("safe.drop_index", name, schema=table.schema))
        lines.append(execute(f"ALTER INDEX {quoted(table.schema, beside(name))} RENAME TO {quoted(name)}"))
    yield Written(Phase.SAFE, *lines)


def dropped(table: Table, name: str, phase: Phase = Phase.DROP_PARTS, kind: str | None = None) -> Written:
    """Return what drops a constraint."""
    name = Raw(f"op.f({name!r})")
    return Written(phase, call("op.drop_constraint", name, table.name, type_=kind, schema=table.schema))


def _renamed(table: Table, name: str, kind: str, *, swap: bool) -> Iterator[Written]:
    if swap:
        yield dropped(table, name, Phase.SWAP, kind)
        sql = f"ALTER TABLE {table.sql} RENAME CONSTRAINT {quoted(beside(name))} TO {quoted(name)}"
        yield Written(Phase.SWAP, execute(sql))

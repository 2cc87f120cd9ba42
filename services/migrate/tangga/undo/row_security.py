"""Row-level security that holds for the owner too (FORCE): out of force while what a step loses is looked at.

A policy may hide rows from who saves them, and row_security = off makes that an error. The owner may lift FORCE; it is
put back before the step's own code runs, and at the latest at the end of the transaction, if that is taken back.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, text

from tangga.catalogue.sql import execute

# Who is above policies has nothing to lift, and who is not the owner cannot.
_FORCED = text("""
    SELECT format('%I.%I', nspname, relname) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relrowsecurity AND relforcerowsecurity AND pg_has_role(relowner, 'USAGE')
      AND NOT (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user)
      AND format('%I.%I', nspname, relname) = ANY (CAST(:tables AS text[]))
    ORDER BY 1
""")


@contextmanager
def unforced(connection: Connection, tables: Iterable[str]) -> Iterator[None]:
    """Let the owner see all rows of these tables in the body; their names are as SQL wants them."""
    forced = [*connection.scalars(_FORCED, {"tables": [*tables]})]
    for table in forced:
        execute(connection, f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    yield
    for table in forced:
        execute(connection, f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")

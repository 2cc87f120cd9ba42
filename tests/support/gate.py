"""A gate at which migrators stop, in the server, until a test lets them go on."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from tests.databases import connect, query, run

GATE = 20261122
# At the gate a statement waits for a lock, too.
PATIENT = {"MIGRATE_LOCK_TIMEOUT": "600"}
_MIGRATORS = (
    "SELECT DISTINCT client_port FROM pg_stat_activity WHERE datname = %s AND application_name = 'tangga-migrate'"
)


def backends(database: str) -> int:
    """Return how many sessions migrate or wait to."""
    return len(query(database, _MIGRATORS, database, role="superuser"))


@contextmanager
def gate(database: str, tag: str, statement: str = "") -> Iterator[None]:
    """Stop every migrator at a kind of statement, in the server, until the body ends."""
    make = f"""
        CREATE FUNCTION wait_at_gate() RETURNS event_trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF current_query() LIKE '%{statement}%' THEN PERFORM pg_advisory_xact_lock_shared({GATE}); END IF;
        END $$;
        CREATE EVENT TRIGGER gate ON ddl_command_start WHEN TAG IN ('{tag}') EXECUTE FUNCTION wait_at_gate();
    """
    query(database, make, role="superuser")
    with closing(connect(database)) as keeper:
        run(keeper, "SELECT pg_advisory_lock(%s)", GATE)
        yield
        run(keeper, "SELECT pg_advisory_unlock(%s)", GATE)


def waiting_at_gate(database: str) -> int:
    """Return how many sessions have come to the gate."""
    statement = """
        SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
        WHERE datname = current_database() AND locktype = 'advisory' AND objid = %s AND NOT granted
    """
    [[count]] = query(database, statement, GATE, role="superuser")
    return int(count)

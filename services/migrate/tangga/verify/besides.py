"""What a step may leave worse that neither the dump nor the rows show: see `states` and `settings`."""
# ruff: noqa: S608 - a condition of ours.py, and names that the server has quoted

from sqlalchemy import Connection, text

from tangga.catalogue.ours import OF_THE_APPLICATION, title
from tangga.catalogue.sql import each

_VIEWS = text(f"""
    SELECT nspname, relname, relispopulated FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
    WHERE relkind = 'm' AND {OF_THE_APPLICATION}
""")
# Columns that a sequence counts up, by owning it (serial, identity) or in their default; and a query for how far it is.
_COUNTED = text(f"""
    WITH feeds AS (
        SELECT refobjid AS relation, refobjsubid::int AS number, objid AS sequence FROM pg_depend
        WHERE classid = 'pg_class'::regclass AND deptype IN ('a', 'i') AND refclassid = 'pg_class'::regclass
        UNION
        SELECT adrelid, adnum, refobjid FROM pg_attrdef JOIN pg_depend
        ON classid = 'pg_attrdef'::regclass AND objid = pg_attrdef.oid AND refclassid = 'pg_class'::regclass
    )
    SELECT nspname, relname, attname, format('SELECT max(%I)::numeric FROM %I.%I', attname, nspname, relname),
           coalesce(pg_sequence_last_value(sequence) + seqincrement, seqstart)
    FROM feeds JOIN pg_sequence ON seqrelid = sequence JOIN pg_class AS c ON c.oid = relation
    JOIN pg_namespace AS n ON n.oid = relnamespace JOIN pg_attribute ON attrelid = relation AND attnum = number
    WHERE seqincrement > 0 AND relkind IN ('r', 'p') AND NOT relispartition AND {OF_THE_APPLICATION}
      AND atttypid IN ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype, 'numeric'::regtype)
""")
_SETTINGS = text("""
    SELECT unnest(setconfig) FROM pg_db_role_setting JOIN pg_database AS d ON d.oid = setdatabase
    WHERE datname = current_database() ORDER BY 1
""")


def states(connection: Connection) -> dict[str, str]:
    """Return, by name, each materialized view and each column with a sequence, with what is wrong with it, if anything.

    `connection` must see all rows.
    """
    found = {
        f"materialized view {title(schema, name)}": "" if full else "it holds no data any more; REFRESH it"
        for schema, name, full in connection.execute(_VIEWS)
    }
    counted = connection.execute(_COUNTED).all()
    highest = each(connection, [query for _, _, _, query, _ in counted])
    for (schema, table, column, _, follows), last in zip(counted, highest, strict=True):
        name = f"{title(schema, table)}.{column}"
        behind = last is not None and last >= follows
        found[name] = f"its sequence goes on with {follows}, and its values up to {last}: setval" if behind else ""
    return found


def settings(connection: Connection) -> list[str]:
    """Return what is set for this database alone (ALTER DATABASE), each as name=value."""
    return [*connection.execute(_SETTINGS).scalars()]

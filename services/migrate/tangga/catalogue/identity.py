"""Whether a database's schema is what it was, row by row of the catalogue: what pg_dump would print is the same then.

The other way round it is not so: an object that was dropped and made again has another number, and is another row.
"""
# ruff: noqa: S608 - names come from the catalogue

from sqlalchemy import Connection, text

from tangga.catalogue.sql import each

# What PostgreSQL changes without being told, and what stays behind of a dropped column, index or trigger.
_VOLATILE = {
    "pg_class": (
        "relpages", "reltuples", "relallvisible", "relallfrozen", "relfilenode", "relfrozenxid", "relminmxid",
        "relhasindex", "relhasrules", "relhastriggers", "relhassubclass", "reltoastrelid", "relnatts",
    ),
    "pg_attribute": ("attmissingval", "atthasmissing", "attcacheoff"),
    "pg_index": ("indcheckxmin",),
}  # fmt: skip
# Measured, not declared.
_NO_SCHEMA = ("pg_statistic", "pg_statistic_ext_data", "pg_largeobject")
# What belongs to tables of a session, or holds the long values of others: of those, only settings are anybody's.
_TRANSIENT = """
    (SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
     WHERE nspname ~ '^pg_(temp|toast_temp)_' OR (nspname = 'pg_toast' AND reloptions IS NULL))
"""
_TEMPORARY = "(SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_(temp|toast_temp|toast)')"
_LONG = "(SELECT c.oid FROM pg_class AS c WHERE relnamespace = 'pg_toast'::regnamespace)"
_WHERE = {
    "pg_class": f"oid NOT IN {_TRANSIENT}",
    "pg_attribute": f"NOT attisdropped AND attrelid NOT IN {_TRANSIENT} AND attrelid NOT IN {_LONG}",
    "pg_type": f"typnamespace NOT IN {_TEMPORARY}",
    "pg_index": f"indrelid NOT IN {_TRANSIENT} AND indrelid NOT IN {_LONG}",
    "pg_namespace": "nspname !~ '^pg_(temp|toast_temp)_'",
    # Which sequence is a column's, and what is an extension's; all else follows from the objects.
    "pg_depend": f"""
        (deptype IN ('e', 'x') OR (deptype IN ('a', 'i') AND refobjsubid > 0
                                   AND (classid, refclassid) = ('pg_class'::regclass, 'pg_class'::regclass)))
        AND objid NOT IN {_TRANSIENT} AND refobjid NOT IN {_TRANSIENT}
    """,
}
_CATALOGUES = text("""
    SELECT relname, array_agg(attname ORDER BY attnum)
    FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
    WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r' AND NOT relisshared AND attnum > 0
    GROUP BY relname ORDER BY relname
""")

Identity = tuple[str, ...]


def identity(connection: Connection) -> Identity:
    """Return what stands for each catalogue: if none differs later, the same objects have the same definitions."""
    questions = [
        _sum(f"ROW({', '.join(f'x.{name}' for name in columns if name not in _VOLATILE.get(catalogue, ()))})",
             f"pg_catalog.{catalogue} AS x WHERE {_WHERE.get(catalogue, 'true')}")
        for catalogue, columns in connection.execute(_CATALOGUES)
        if catalogue not in _NO_SCHEMA
    ]  # fmt: skip
    # Owners and grants are printed by name.
    questions.append("SELECT string_agg(oid || rolname, ' ' ORDER BY oid) FROM pg_roles")
    return tuple(each(connection, questions))


def _sum(row: str, of: str) -> str:
    """Rows that initdb made are counted, no more: changed, they would be younger; of others there are the hashes, too.

    xmin is the transaction that wrote a row; template0 is as initdb left it.
    """
    born = "(SELECT age(datfrozenxid) FROM pg_database WHERE datname = 'template0')"
    return (
        f"SELECT count(*) || ' ' || coalesce(sum(hashtextextended({row}::text, 0)) "
        f"FILTER (WHERE age(x.xmin) <= {born}), 0) FROM {of}"
    )

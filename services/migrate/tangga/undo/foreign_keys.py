"""The foreign keys as they are now: which rows have what they refer to, and which tables come first."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, text

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


def foreign_keys(connection: Connection) -> list[ForeignKey]:
    """Return the foreign keys of the database; those of partitions are their tables'."""
    found = connection.execute(_FOREIGN_KEYS)
    return [ForeignKey(row.source, row.target, [*row.columns], [*row.target_columns]) for row in found]


def parents_first(tables: set[str], keys: list[ForeignKey]) -> list[str]:
    """Return tables in an order in which each comes after those that it refers to, as far as there is one."""
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

"""Models, and the kinds of change that are made to them: each is to be seen, written, linted, and run on rows."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import sqlalchemy as sa
from sqlalchemy import MetaData, make_url
from sqlalchemy.dialects import postgresql

from tangga.settings import ScratchSettings

_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
_FILES = {
    "alembic.ini": "[alembic]\nscript_location = %(here)s/migrations\npath_separator = os\n"
    "file_template = %%(rev)s\nrevision_environment = true\n",
    "pyproject.toml": '[tool.tangga]\nmetadata = "tests.support.changes:metadata"\n'
    'scratch = "tests.support.changes:scratch"\n',
    "migrations/env.py": "from alembic import context\nfrom tangga import connected, guarded\n"
    "with connected() as connection, guarded(connection) as options:\n"
    "    context.configure(connection=connection, **options)\n"
    "    with context.begin_transaction():\n        context.run_migrations()\n",
}


def scratch() -> ScratchSettings:
    """Return the scratch server of the tests."""
    return ScratchSettings(
        make_url(os.environ["SCRATCH_URL"]), 'PGUSER="$POSTGRES_USER"\nPGPASSWORD="$POSTGRES_PASSWORD"'
    )


def start(folder: Path, template: Path) -> Path:
    """Write a project without a step into a folder, with this template for new ones; return it."""
    (folder / "migrations/versions").mkdir(parents=True)
    for name, text in _FILES.items():
        (folder / name).write_text(text)
    (folder / "migrations/script.py.mako").write_text(template.read_text())
    return folder


def models(**changed: Any) -> MetaData:
    """Return the models, but for what was changed."""
    what: dict[str, Any] = {
        "labels": ("sad", "ok"), "collation": "C", "computed": "age + 1", "precision": 3, "check": "age >= 0",
        "operator": "&&", "deferrable": None, "where": "note IS NOT NULL", "include": ["name"], "using": "btree",
        "ops": {}, "name": sa.String(50), "age": sa.Integer, "email null": True, "note null": True, "default": "0",
        "always": False, "comment": None, "ondelete": None, "fk deferrable": None, "pk": ("id",), "colour": True,
        "number null": False, "other": "other_id", "size": sa.Integer,
    } | {name.replace("_", " "): value for name, value in changed.items()}  # fmt: skip
    found = MetaData(naming_convention=_NAMES)
    sa.Table(
        "people", found,
        sa.Column("id", sa.BigInteger, sa.Identity(always=what["always"]), primary_key=True),
        sa.Column("name", what["name"], nullable=False),
        sa.Column("email", sa.Text, nullable=what["email null"]),
        sa.Column("note", sa.Text, nullable=what["note null"], comment=what["comment"]),
        sa.Column("age", what["age"], nullable=False, server_default=sa.text(what["default"])),
        sa.Column("feels", sa.Enum(*what["labels"], name="mood"), nullable=False),
        sa.Column("code", sa.Text(collation=what["collation"])),
        sa.Column("total", sa.Integer, sa.Computed(what["computed"], persisted=True)),
        sa.Column("lasts", postgresql.INTERVAL(precision=what["precision"])),
        sa.Column("span", postgresql.INT4RANGE),
        sa.Column("colour", sa.Enum("red", "blue", name="colour") if what["colour"] else sa.Text),
        sa.CheckConstraint(what["check"], name="age"),
        sa.UniqueConstraint("code", deferrable=what["deferrable"]),
        postgresql.ExcludeConstraint(("span", what["operator"]), name="ex_people_span"),
        sa.Index("ix_people_note", "note", postgresql_where=sa.text(what["where"])),
        sa.Index("ix_people_email", "email", postgresql_include=what["include"]),
        sa.Index("ix_people_age", "age", postgresql_using=what["using"]),
        sa.Index("ix_people_name", "name", postgresql_ops=what["ops"]),
    )  # fmt: skip
    sa.Table(
        "items", found,
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key="id" in what["pk"]),
        sa.Column("number", sa.BigInteger, primary_key="number" in what["pk"], nullable=what["number null"]),
        sa.Column(
            "person_id",
            sa.ForeignKey("people.id", ondelete=what["ondelete"], deferrable=what["fk deferrable"]),
            nullable=False,
        ),
        *([sa.Column(what["other"], sa.BigInteger)] if what["other"] else []),
    )  # fmt: skip
    _boxes("boxes", what["size"])(found)
    sa.Table(
        "stock", found,
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("amount", sa.Numeric, nullable=False),
        sa.CheckConstraint("amount > 0", name="amount"),
        schema="Shop",
    )  # fmt: skip
    return found


ROWS = """
INSERT INTO people (name, email, age, feels, code, lasts, span, colour)
SELECT 'p' || n, 'p' || n || '@example.com', n, 'sad', 'c' || n, interval '1.5 s', int4range(n * 10, n * 10 + 5), 'red'
FROM generate_series(1, 20) AS n;
INSERT INTO items (number, person_id, other_id) SELECT n, n, n FROM generate_series(1, 20) AS n;
INSERT INTO boxes (size) SELECT n FROM generate_series(1, 20) AS n;
INSERT INTO "Shop".stock (amount) SELECT n FROM generate_series(1, 20) AS n
"""


class Change(NamedTuple):
    """A change of the models: what is said in other words, or done to them; and what is written of it."""

    said: dict[str, Any]
    done: Callable[[MetaData], None]
    # A piece of the file.
    written: str
    # What the linter says of the file, with the direction: what a step of this kind costs, whoever writes it.
    findings: frozenset[str]


def _said(written: str, *findings: str, **said: Any) -> Change:
    return Change(said, lambda _: None, written, frozenset(findings))


def _done(done: Callable[[MetaData], Any], written: str, *findings: str) -> Change:
    return Change({}, done, written, frozenset(findings))


def changed(*these: Change) -> MetaData:
    """Return the models with some changes."""
    found = models(**{name: value for each in these for name, value in each.said.items()})
    for each in these:
        each.done(found)
    return found


def _add(table: str, make: Callable[[], Any]) -> Callable[[MetaData], None]:
    def do(found: MetaData) -> None:
        part = make()
        of = found.tables[table]
        (of.append_column if isinstance(part, sa.Column) else of.append_constraint)(part)

    return do


def _table(name: str, *columns: str, schema: str | None = None) -> Callable[[MetaData], None]:
    def do(found: MetaData) -> None:
        of = [sa.Column(each, sa.BigInteger) for each in columns]
        sa.Table(name, found, sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True), *of, schema=schema)

    return do


def _boxes(name: str, size: Any = sa.Integer) -> Callable[[MetaData], None]:
    def do(found: MetaData) -> None:
        key = sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True)
        sa.Table(name, found, key, sa.Column("size", size))

    return do


def _without(name: str) -> Callable[[MetaData], None]:
    return lambda found: found.remove(found.tables[name])


def _both(*parts: Callable[[MetaData], None]) -> Callable[[MetaData], None]:
    def do(found: MetaData) -> None:
        for part in parts:
            part(found)

    return do


_SWAPPED = "up: ban-drop-constraint"
# The first twelve are those that Alembic does not see.
CHANGES: dict[str, Change] = {
    "enum label added": _said("ADD VALUE IF NOT EXISTS 'glad' AFTER 'ok'", labels=("sad", "ok", "glad")),
    "enum label renamed": _said("RENAME VALUE 'ok' TO 'fine'", "up: renaming-enum-label", labels=("sad", "fine")),
    "collation": _said("ALTER COLUMN code TYPE text'", collation=None),
    "computed expression": _said("ALTER COLUMN total SET EXPRESSION AS ((age + 2))", computed="age + 2"),
    "INTERVAL precision": _said(
        "ALTER COLUMN lasts TYPE interval'", "up: changing-column-type", "down: changing-column-type",
        precision=None,
    ),
    "CHECK with another condition": _said("safe.add_check('ck_people_age_new'", _SWAPPED, check="age >= -1"),
    "EXCLUDE": _said(
        "ADD CONSTRAINT ex_people_span EXCLUDE USING gist (span WITH =)", _SWAPPED, "up: exclusion-constraint",
        "down: exclusion-constraint", operator="=",
    ),
    "UNIQUE deferrable": _said("UNIQUE USING INDEX uq_people_code_new DEFERRABLE", _SWAPPED, deferrable=True),
    "index WHERE": _said("safe.create_index('ix_people_note_new'", where="note <> ''"),
    "index INCLUDE": _said("include=['name', 'age']", include=["name", "age"]),
    "index method": _said("using='hash'", using="hash"),
    "index operator class": _said("sa.text('name varchar_pattern_ops')", ops={"name": "varchar_pattern_ops"}),
    "CHECK added": _done(
        _add("items", lambda: sa.CheckConstraint("number > 0", name="number")),
        "safe.add_check('ck_items_number', 'items', 'number > 0')",
    ),
    "table in another schema": _done(
        _table("shelves", "number", schema="Shop"), "op.create_table('shelves',"
    ),
    "column added": _done(
        _add("items", lambda: sa.Column("title", sa.Text)), "safe.add_column('items', sa.Column('title'"
    ),
    "column added, NOT NULL": _done(
        _add("items", lambda: sa.Column("kind", sa.Text, nullable=False)), "fill=\"''\", keep_default=True"
    ),
    "column dropped": _said("op.drop_column('items', 'other_id')", "up: ban-drop-column", other=None),
    "column type": _said(
        "type_=sa.BigInteger()", "up: changing-column-type", "down: changing-column-type",
        size=sa.BigInteger,
    ),
    "NULL forbidden": _said("safe.set_not_null('people', 'email')", email_null=False),
    "NULL allowed": _said("nullable=True", "up: ban-drop-not-null", number_null=True),
    "server default": _said("server_default=sa.text('1')", default="1"),
    "identity": _said("server_default=sa.Identity(always=True", "up: ban-alter-identity", always=True),
    "comment": _said("comment='what people say'", comment="what people say"),
    "table added": _done(_table("labels", "number"), "op.create_table('labels',"),
    "table dropped": _done(_without("boxes"), "op.drop_table('boxes'", "up: ban-drop-table"),
    "foreign key added": _done(
        _add("items", lambda: sa.ForeignKeyConstraint(["other_id"], ["people.id"])),
        "safe.add_foreign_key('fk_items_other_id_people'",
    ),
    "foreign key: ON DELETE": _said(
        "safe.add_foreign_key('fk_items_person_id_people_new'", _SWAPPED, ondelete="CASCADE"
    ),
    "foreign key: DEFERRABLE": _said("deferrable=True", _SWAPPED, fk_deferrable=True),
    "primary key": _said("PRIMARY KEY USING INDEX pk_items_new", _SWAPPED, pk=("id", "number")),
    "UNIQUE added": _done(
        _add("items", lambda: sa.UniqueConstraint("number")), "safe.add_unique('uq_items_number', 'items', ['number'])"
    ),
    "unique index": _done(
        lambda found: sa.Index("ux_items_number", found.tables["items"].c.number, unique=True),
        "safe.create_index('ux_items_number', 'items', ['number'], unique=True)",
    ),
    "index on an expression": _done(
        lambda found: sa.Index("ix_people_lower", sa.func.lower(found.tables["people"].c.name)),
        "safe.create_index('ix_people_lower', 'people', [sa.text('lower(name)')])",
    ),
    "enum added": _done(
        _add("items", lambda: sa.Column("size", sa.Enum("small", "large", name="size"))), "CREATE TYPE size AS ENUM"
    ),
    "enum dropped": _said(
        "DROP TYPE colour", "up: changing-column-type", "up: narrowing-type", "up: ban-drop-type",
        "down: changing-column-type", colour=False,
    ),
    "sequence": _done(lambda found: sa.Sequence("bills", metadata=found), "CREATE SEQUENCE public.bills"),
}  # fmt: skip
# Not on one database with the others: they change the same columns.
APART = ["enum label renamed", "column added, NOT NULL", "column dropped", "column type", "NULL allowed",
         "foreign key: DEFERRABLE"]  # fmt: skip
# What a step that drops it loses, whoever writes it: the values of a column, the rows of a table.
LOST = {"column dropped": "other_id", "table dropped": "boxes"}
# Drop and add, or a new name: nobody but the author knows.
RENAMED: dict[str, Change] = {
    "table renamed": _done(_both(_without("boxes"), _boxes("cartons")), "rename_table('boxes', 'cartons')"),
    "column renamed": _said("new_column_name='another_id'", other="another_id"),
}

metadata = models()


@contextmanager
def current(found: MetaData) -> Iterator[None]:
    """Let the project have these models."""
    with mock.patch(f"{__name__}.metadata", found):
        yield

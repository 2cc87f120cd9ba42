"""Where the models and a schema differ, in words."""

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from services.api.db import models
from services.migrate import bookkeeping


def differences(connection: Connection) -> list[str]:
    """Return one line per difference between the models and the database."""
    options = {
        "compare_type": True,
        "compare_server_default": True,
        "include_name": bookkeeping.is_the_applications,
        "autogenerate_plugins": ["alembic.autogenerate.*", "alembic.ext.checkconstraint_byname"],
    }
    context = MigrationContext.configure(connection, opts=options)
    found = compare_metadata(context, models.Base.metadata)
    return [_words(change) for entry in found for change in (entry if isinstance(entry, list) else [entry])]


def _words(change: tuple[Any, ...]) -> str:
    kind = change[0]
    if kind.startswith("modify_"):
        _, _, table, column, _, database, model = change
        return f"column {table}.{column}: {kind[7:]}: {_value(model)} in the models, {_value(database)} in the schema"
    where = "in the models, not in the schema" if kind.startswith("add_") else "in the schema, not in the models"
    what = kind.partition("_")[2].replace("fk", "foreign key")
    if kind.endswith("_column"):
        return f"column {change[2]}.{change[3].name}: {where}"
    subject = change[1]
    table = getattr(subject, "table", None)
    name = subject.name if table is None else f"{table.name}.{subject.name}"
    return f"{what} {name}: {where}"


def _value(value: Any) -> str:
    # A server default is a clause with the text in it.
    return "none" if value is None else str(getattr(getattr(value, "arg", value), "text", value))

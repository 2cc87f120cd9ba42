"""What Alembic compares, for `revision`, `check` and `drift` alike.

Apart from the comparison itself, which every upgrade would load for these options alone.
"""

from typing import Any

from sqlalchemy import MetaData

from tangga.journal import tables as bookkeeping

# What only the second comparison sees. `make revision auto=1` does without it, and says so.
NOT_BY_ALEMBIC = (
    "the conditions of CHECKs, EXCLUDE, labels of enums, collations, computed columns, the precision of intervals, "
    "DEFERRABLE, and an index's condition, method, INCLUDE and operator classes"
)


def options(metadata: MetaData) -> dict[str, Any]:
    """Return what Alembic is to compare."""
    schemas = {None, *(table.schema for table in metadata.tables.values())}

    def include(name: str | None, kind: str, parents: Any) -> bool:
        # A schema that no model names is somebody else's.
        return name in schemas if kind == "schema" else bookkeeping.is_the_applications(name, kind, parents)

    return {
        "compare_type": True,
        "compare_server_default": True,
        "include_schemas": len(schemas) > 1,
        "include_name": include,
        "autogenerate_plugins": ["alembic.autogenerate.*", "alembic.ext.checkconstraint_byname"],
    }

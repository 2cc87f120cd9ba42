"""What Alembic compares, for `revision`, `check`, `verify` and `drift` alike.

Apart from the comparison itself, which every upgrade would load for these options alone.
"""

from importlib.util import find_spec
from typing import Any

from sqlalchemy import MetaData

from tangga.journal import tables
from tangga.project import Project

# What only the second comparison sees (drift/models.py). Without a scratch server, autogenerate says so.
NOT_BY_ALEMBIC = (
    "the conditions of CHECKs, EXCLUDE, labels of enums, collations, computed columns, the precision of intervals, "
    "DEFERRABLE, and an index's condition, method, INCLUDE and operator classes"
)


def compared(project: Project) -> dict[str, Any]:
    """Return the models as Alembic's option, and how they are compared; {} if it is not said where they are."""
    if not project.metadata:
        return {}
    return {
        "target_metadata": project.metadata if len(project.metadata) > 1 else project.metadata[0],
        **options(*project.metadata),
    }


def options(*models: MetaData) -> dict[str, Any]:
    """Return what Alembic is to compare."""
    schemas = {None, *(table.schema for metadata in models for table in metadata.tables.values())}

    def include(name: str | None, kind: str, parents: Any) -> bool:
        # A schema that no model names is somebody else's.
        return name in schemas if kind == "schema" else tables.is_the_applications(name, kind, parents)

    # Alembic 1.18 has plugins; which of them there are is its version's.
    plugins = ["alembic.autogenerate.*"]
    if find_spec("alembic.ext") and find_spec("alembic.ext.checkconstraint_byname"):
        plugins.append("alembic.ext.checkconstraint_byname")
    return {
        "compare_type": True,
        "compare_server_default": True,
        "include_schemas": len(schemas) > 1,
        "include_name": include,
        "autogenerate_plugins": plugins,
    }

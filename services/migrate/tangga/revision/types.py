"""Types as a revision file has them: no module of the models', and no enum that a table would make by itself."""

from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext


def render_item(kind: str, item: Any, context: "AutogenContext") -> str | Literal[False]:
    """Alembic's render_item hook; False leaves it to Alembic."""
    if kind != "type":
        return False
    if isinstance(item, sa.TypeDecorator) and type(item).__module__.partition(".")[0] == "sqlmodel":
        # Its AutoString, say: a step needs no sqlmodel.
        return f"sa.{item.impl_instance!r}"
    if isinstance(item, sa.Enum) and item.native_enum and item.name:
        # The step makes the type itself: with the table it would be made twice, and never dropped.
        context.imports.add("from sqlalchemy.dialects import postgresql")
        schema = f", schema={item.schema!r}" if item.schema else ""
        return f"postgresql.ENUM({', '.join(map(repr, item.enums))}, name={item.name!r}{schema}, create_type=False)"
    return False

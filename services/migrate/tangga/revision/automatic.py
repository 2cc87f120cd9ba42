"""`revision --autogenerate` and `check`: what Alembic has found, completed, and said in words if it is nothing."""

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic.operations import MigrationScript, ops
from alembic.runtime.migration import MigrationContext
from alembic.util import msg
from sqlalchemy import Connection, MetaData

from tangga.catalogue.ours import UNNAMED, title
from tangga.drift import models
from tangga.drift.beside import schemas_of
from tangga.drift.within import subject, table_of
from tangga.exits import WRONG_SETTING, Stop
from tangga.project import Project, environment
from tangga.remedies import say
from tangga.revision import enums
from tangga.revision.looking import Looked, look, not_compared
from tangga.revision.parts import changed
from tangga.revision.rewriter import Rewriter, flat, in_order
from tangga.revision.sql import quoted, version
from tangga.revision.swaps import Table
from tangga.revision.written import Phase, Written, execute

_SHOWN = 20


def complete(context: MigrationContext, directives: list[MigrationScript]) -> None:
    """Complete what Alembic has found; without a difference no file is written, and it is said what that means.

    Raises Stop if `check` finds nothing, but could not look at everything.
    """
    assert context.config is not None
    check = _is_check(context)
    with Project(context.config) as project:
        looked = look(project)
    for directive in directives:
        if directive.upgrade_ops is not None and directive.downgrade_ops is not None:
            _rewrite(context, directive.upgrade_ops, directive.downgrade_ops, project, looked, check=check)
    if any(directive.upgrade_ops is not None and not directive.upgrade_ops.is_empty() for directive in directives):
        if looked.why_not:
            msg(not_compared(looked.why_not))
        return
    looked = looked._replace(undescribed=[*dict.fromkeys([*looked.undescribed, *_left_alone(context, project)])])
    _say_that_they_agree(looked, check=check)
    if not check:
        directives.clear()


def _rewrite(
    context: MigrationContext,
    up: ops.OpContainer,
    down: ops.OpContainer,
    project: Project,
    looked: Looked,
    *,
    check: bool,
) -> None:
    """Put what Alembic has found into safe forms, unless `check` is to list it; and add what it has not found."""
    assert context.connection is not None
    alone = models.left_alone(context.connection)
    found = [each for each in flat(up.ops) if not _is_of(each, alone)]
    more = [
        ([*enums.changed(each)], [*enums.changed(each, down=True)])
        for each in enums.read(context.connection, project.metadata)
    ]
    more += _schemas(context.connection, project.metadata)
    tables, known, server = _tables(project.metadata), {*_known(found)}, version(context.connection)
    more += [
        changed(each, tables, server)
        for each in looked.found
        if not known & {subject(each.name), table_of(each.name)}
    ]  # fmt: skip
    back = [each for each in flat(down.ops) if not _is_of(each, alone)]
    for side, container, operations in ((0, up, found), (1, down, back)):
        added = [each for pair in more for each in pair[side]]
        if check:
            container.ops = [*operations, *added]
        else:
            lines = [*in_order([*Rewriter(operations, project.metadata).lines(), *added])]
            if lines and all(line.is_comment for line in lines):
                lines.append(Written(Phase.ALTER, "pass"))
            container.ops = [*lines]


def _schemas(connection: Connection, metadata: Sequence[MetaData]) -> Iterator[tuple[list[Written], list[Written]]]:
    """Yield what makes a schema that is not there, up and down."""
    for name in sorted(schemas_of(metadata) - {*sa.inspect(connection).get_schema_names()}):
        made, gone = f"CREATE SCHEMA {quoted(name)}", f"DROP SCHEMA {quoted(name)}"
        yield [Written(Phase.SCHEMAS, execute(made))], [Written(Phase.DROP_SCHEMAS, execute(gone))]


def _left_alone(context: MigrationContext, project: Project) -> Iterator[str]:
    """Yield the tables of the database that nothing is written of, though no model describes them."""
    assert context.connection is not None
    described = {(table.schema, table.name) for each in project.metadata for table in each.tables.values()}
    for schema, name in sorted(models.left_alone(context.connection) - described, key=str):
        yield f"table {title(schema or UNNAMED, str(name))}"


def _is_of(operation: Any, tables: set[tuple[str | None, str]]) -> bool:
    """Tell whether an operation would drop, or make again, a table that no model need describe, or a part of it."""
    table = (getattr(operation, "schema", None), getattr(operation, "table_name", None))
    return table in tables and isinstance(
        operation, ops.DropTableOp | ops.CreateTableOp | ops.DropIndexOp | ops.CreateIndexOp
    )


def _tables(metadata: Sequence[MetaData]) -> dict[str, Table]:
    every = [table for each in metadata for table in each.tables.values()]
    return {title(table.schema or UNNAMED, table.name): Table(table.schema, table.name) for table in every}


def _known(operations: Sequence[ops.MigrateOperation]) -> Iterator[str]:
    """Yield what Alembic has something to say of, as drift/within.py names it."""
    for each in operations:
        table = title(getattr(each, "schema", None) or UNNAMED, str(getattr(each, "table_name", "")))
        if isinstance(each, ops.CreateForeignKeyOp):
            table = title(each.kw.get("source_schema") or UNNAMED, each.source_table)
        if isinstance(each, ops.CreateTableOp | ops.DropTableOp):
            yield table
        for name in ("index_name", "constraint_name", "column_name"):
            altered = isinstance(each, ops.AlterColumnOp) and each.modify_type is None
            if getattr(each, name, None) and not altered:
                yield f"{table}.{getattr(each, name)}"
        if isinstance(each, ops.AddColumnOp):
            yield f"{table}.{each.column.name}"


def _say_that_they_agree(looked: Looked, *, check: bool) -> None:
    nothing = "" if check else ": no file was written"
    if looked.why_not:
        msg("Alembic finds no difference between models and database.")
        if check:
            remedy = f"name a server to try steps out on (SCRATCH_URL); or {say('check')}"
            raise Stop(not_compared(looked.why_not), remedy, WRONG_SETTING)
        msg(not_compared(looked.why_not))
        msg(f"Whether models and database agree is not known ({say('check')} compares the rest){nothing}.")
    elif looked.undescribed:
        shown = looked.undescribed[:_SHOWN]
        more = f" and {len(looked.undescribed) - _SHOWN} more" if len(looked.undescribed) > _SHOWN else ""
        msg(f"Models do not describe these, so they were not compared: {', '.join(shown)}{more}; nor privileges.")
        msg(f"In what models describe ({looked.objects} objects), models and database agree{nothing}.")
    else:
        msg(f"Models and database agree, {looked.objects} objects compared{nothing}.")


def _is_check(context: MigrationContext) -> bool:
    """Tell `check` from `revision`; a program that calls the former itself gives no message."""
    assert context.config is not None
    command = getattr(context.config.cmd_opts, "cmd", None)
    if command:
        return bool(command[0].__name__ == "check")
    running = environment()
    return running is not None and running.context_opts["revision_context"].command_args["message"] is None

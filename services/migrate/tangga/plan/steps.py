"""What a step comes to: whether it can be undone, and what of the live database it destroys."""

import ast
from pathlib import Path

from alembic.script import Script

from tangga.catalogue.model import Schema
from tangga.plan.model import Statement, Step
from tangga.plan.work import first_word
from tangga.project import Project


def step_of(project: Project, script: Script, statements: list[Statement], gone: list[str]) -> Step:
    """Return a pending step with what it did; `gone` names the tables and columns that it drops."""
    overwritten = []
    for statement in statements:
        for touch in statement.touches:
            if not touch.new and {"change", "truncate"} & {*touch.work}:
                word = "TRUNCATE" if "truncate" in touch.work else first_word(statement.sql)
                overwritten.append(f"rows of {touch.table} ({word})")
    losses = gone + list(dict.fromkeys(overwritten))
    why = why_irreversible(script)
    return Step(
        revision=script.revision,
        message=script.doc,
        file=project.file_of(script),
        reversible=why is None,
        irreversible=why,
        destructive=bool(losses),
        losses=losses,
        statements=statements,
    )


def losses(before: Schema, after: Schema, live: Schema) -> list[str]:
    """Name the tables and columns of the live database that are there before, and gone afterwards."""
    there = {oid: before.tables[oid] for oid in live.tables if oid in before.tables}
    tables = [f"table {table.title}" for oid, table in there.items() if oid not in after.tables]
    columns = [
        f"column {table.title}.{column.name}"
        for oid, table in there.items()
        if oid in after.tables
        for number, column in table.columns.items()
        if live.column(oid, number) and not after.column(oid, number)
    ]
    return sorted(tables) + sorted(columns)


def why_irreversible(script: Script) -> str | None:
    """Return why a step cannot be undone, None if it can: as it declares, or because `downgrade` does nothing."""
    if declared := getattr(script.module, "irreversible", None):
        return str(declared)
    functions = {
        node.name: [line for line in node.body if not _is_doc(line)]
        for node in ast.parse(Path(script.path).read_bytes()).body
        if isinstance(node, ast.FunctionDef)
    }
    up, down = (functions.get(name, []) for name in ("upgrade", "downgrade"))
    does_nothing = all(isinstance(line, ast.Pass) for line in down)
    if does_nothing and not all(isinstance(line, ast.Pass) for line in up):
        return "downgrade does nothing"
    return "downgrade raises" if down and isinstance(down[0], ast.Raise) else None


def _is_doc(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)

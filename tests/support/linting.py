"""The linter, on histories that a test has written (tangga/lint/examples.py)."""

from pathlib import Path

import pglast
from pglast import ast

from tangga.lint import Finding, findings
from tangga.lint.schema import Schema, apply_text
from tangga.lint.statements import Statement
from tangga.project import Project
from tests.support.steps import edit


def lint(folder: Path, *revisions: str) -> list[Finding]:
    """Return what is found in all revisions, or in those named."""
    return findings(Project.from_file(folder / "alembic.ini"), revisions or None)


def rules(folder: Path, revision: str, direction: str | None = None) -> set[str]:
    """Return the rules that a revision breaks without an exception, in one direction or in any."""
    found = [one for one in lint(folder, revision) if one.exception is None]
    return {one.rule for one in found if direction in (None, one.direction)}


def tree_of(sql: str) -> ast.Node:
    """Return the syntax tree of one statement."""
    [raw] = pglast.parse_sql(sql)
    assert raw.stmt is not None
    return raw.stmt


def statement_of(sql: str, *, transaction: int | None = 0, helper: str | None = None) -> Statement:
    """Return a statement as a step prints it."""
    return Statement(sql, tree_of(sql), 1, helper, transaction)


def schema_of(sql: str) -> Schema:
    """Return the tables that some statements make."""
    schema: Schema = {}
    apply_text(schema, sql)
    return schema


def with_findings(library: Path) -> Path:
    """Let a copy of the library ask for what hurts nobody now: then its released files have findings."""
    rules = ["prefer-bigint-over-int", "prefer-identity"]
    edit(library / "pyproject.toml", "[tool.tangga]\n", f"[tool.tangga]\nlint_also = {rules}\n")
    return library

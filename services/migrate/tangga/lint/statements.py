"""What a step prints, as single statements with their syntax trees; DO blocks are opened as far as that goes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pglast
from pglast import ast

from tangga.lint.rendering import Printed, Step

# In format(): %I is a name, %L a literal, %s anything.
_PLACE = re.compile(r"%(?:\d+\$)?-?\d*([ILs])")


@dataclass(frozen=True)
class Statement:
    """One statement of a step."""

    sql: str
    # None: not understood, or put together while the step runs.
    tree: ast.Node | None
    line: int
    helper: str | None
    # Statements of one transaction have the same number; None: outside of any.
    transaction: int | None
    # What about it cannot be seen, in words.
    unseen: str | None = None


def statements(step: Step) -> list[Statement]:
    """Return the statements of a step, in their order."""
    found = []
    number, transaction = 0, 0
    open_transaction: int | None = transaction
    for printed in step.printed:
        for statement in _split(printed):
            if isinstance(statement.tree, ast.TransactionStmt):
                begins = statement.tree.kind == pglast.enums.TransactionStmtKind.TRANS_STMT_BEGIN
                number += begins
                open_transaction = number if begins else None
            found.append(replace(statement, transaction=open_transaction))
    return found


def unformatted(sql: str) -> str:
    """Return a statement without what formatting changes: blanks, comments, the case of keywords and names."""
    try:
        tokens = [(token.name, sql[token.start : token.end + 1]) for token in pglast.parser.scan(sql)]
    except pglast.Error:
        return " ".join(sql.split())
    words = (text if text[0] in "'\"$" else text.lower() for name, text in tokens if not name.endswith("_COMMENT"))
    return " ".join(words).removesuffix(" ;")


def _split(printed: Printed) -> Iterator[Statement]:
    whole = Statement(printed.sql, None, printed.line, printed.helper, None)
    try:
        raw_statements = pglast.parse_sql(printed.sql)
    except pglast.Error as error:
        yield replace(whole, unseen=f"PostgreSQL's parser refuses it: {error}")
        return
    for raw in raw_statements:
        start = raw.stmt_location or 0
        text = printed.sql[start : start + raw.stmt_len if raw.stmt_len else None].strip().rstrip(";")
        statement = replace(whole, sql=text, tree=raw.stmt)
        if isinstance(raw.stmt, ast.DoStmt):
            yield from _inside(statement)
        else:
            yield statement


def _inside(block: Statement) -> Iterator[Statement]:
    """Open a DO block: the statements that stand in it, whichever branch they are in."""
    try:
        body = pglast.parse_plpgsql(block.sql)
    except pglast.Error as error:
        yield replace(block, tree=None, unseen=f"a DO block that cannot be opened: {error}")
        return
    if not any("action" in part["PLpgSQL_function"] for part in body):
        yield replace(block, tree=None, unseen="a DO block in another language than PL/pgSQL")
    for kind, query in _queries(body):
        if kind == "PLpgSQL_stmt_dynexecute":
            yield _dynamic(block, query)
        else:
            tree = _parsed(query)
            unseen = None if tree else f"a statement in a DO block that cannot be read: {query}"
            yield replace(block, sql=query, tree=tree, unseen=unseen)


def _queries(body: Any) -> Iterator[tuple[str, str]]:
    """Walk through what parse_plpgsql returns, in the order of the text."""
    if isinstance(body, list):
        for part in body:
            yield from _queries(part)
    elif isinstance(body, dict):
        for name, part in body.items():
            if name in ("PLpgSQL_stmt_execsql", "PLpgSQL_stmt_perform", "PLpgSQL_stmt_dynexecute"):
                query = part.get("sqlstmt") or part.get("expr") or part["query"]
                yield name, query["PLpgSQL_expr"]["query"]
            else:
                yield from _queries(part)


def _dynamic(block: Statement, expression: str) -> Statement:
    """Read EXECUTE '...' and EXECUTE format('...', ...), with something that fits in each place."""
    template = _constant(_parsed(f"SELECT {expression}"))
    if template is not None:
        for anything in ("1", "placeholder"):
            places = {"I": "placeholder", "L": "'1'", "s": anything}
            sql = _PLACE.sub(lambda place, places=places: places[place[1]], template).replace("%%", "%")  # type: ignore[misc]
            if tree := _parsed(sql):
                return replace(block, sql=sql, tree=tree)
    return replace(block, tree=None, unseen=f"SQL that a DO block puts together while it runs: EXECUTE {expression}")


def _parsed(sql: str) -> ast.Node | None:
    try:
        found = pglast.parse_sql(sql)
    except pglast.Error:
        return None
    return found[0].stmt if len(found) == 1 else None


def _constant(select: ast.Node | None) -> str | None:
    """Return the text of SELECT '...' or of SELECT format('...', ...)."""
    match select:
        case ast.SelectStmt(targetList=[ast.ResTarget(val=ast.FuncCall(funcname=[*_, ast.String(sval="format")], args=[ast.A_Const(val=ast.String(sval=text)), *_]))]):  # fmt: skip # noqa: E501
            return str(text)
        case ast.SelectStmt(targetList=[ast.ResTarget(val=ast.A_Const(val=ast.String(sval=text)))]):
            return str(text)
    return None

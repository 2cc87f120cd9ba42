"""A plan as a person reads it."""

import re
import textwrap
from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tangga.plan import assertions
from tangga.plan.assertions import Assertion
from tangga.plan.model import Plan, Size, Statement, Step, Touch, as_document

# Without a terminal: wide enough that no word has to be cut.
_WIDTH = 160
_STATEMENT_LETTERS = 300
# For the statement itself.
_LEAST = 50
_COLUMNS = ("table", "lock", "others wait", "work", "rows", "size")
_NUMBERS = ("rows", "size")
_GAP = "   "
_WORK = {
    "rewrite": "rewrites the table",
    "scan": "scans all rows",
    "insert": "inserts rows",
    "change": "changes rows",
    "truncate": "empties the table",
}
_STYLE = {"reads, writes": "red", "writes": "yellow"}
_MEANING = {
    assertions.HOLDS: "[green]holds[/]",
    assertions.VIOLATED: "[red]does not hold[/]",
    assertions.OPEN: "[yellow]does not hold yet[/]",
    assertions.UNANSWERED: "[yellow]no answer in time[/]",
    assertions.NOT_ASKED: "[dim]could not be asked[/]",
}


def show(plan: Plan) -> None:
    """Print the plan on stdout."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    at = ", ".join(plan.applied) or "base"
    if not plan.steps:
        console.print(f"Nothing to do: database {escape(plan.database)} is at {at}.", soft_wrap=True)
        return
    console.print(
        f"From {at} to {', '.join(plan.to)}, tried out on a copy of database {escape(plan.database)}", soft_wrap=True
    )
    for step in plan.steps:
        _show_step(console, plan, step)
    for revision in plan.not_tried:
        console.print(f"\n[bold]{revision}[/]  not tried, for the step before it failed")
    if plan.without_rows:
        console.print()
    for table, why in plan.without_rows.items():
        console.print(f"Tried without rows in {escape(table)}: {escape(why)}", soft_wrap=True)
    console.print()
    console.print(escape(_summary(plan)), soft_wrap=True)


def _show_step(console: Console, plan: Plan, step: Step) -> None:
    undo = "can be undone" if step.reversible else f"[yellow]cannot be undone: {escape(step.irreversible or '')}[/]"
    loss = f"[yellow]destroys {escape(', '.join(step.losses))}[/]" if step.destructive else "loses nothing"
    console.print(f"\n[bold]{step.revision}  {escape(step.message)}[/]  ({undo}; {loss})", soft_wrap=True)
    if step.statements:
        _show_statements(console, [cells for statement in step.statements for cells in _lines(plan, statement)])
    for what in step.besides:
        console.print(f"  [yellow]besides: {escape(what)}[/]", soft_wrap=True)
    for assertion in step.assertions:
        console.print(f"  data: {_answer(assertion)}", soft_wrap=True)
    for finding in step.findings:
        where = f"{finding['file'].rpartition('/')[2]}:{finding['line']}"
        where += " (downgrade)" if finding["direction"] == "down" else ""
        if finding["exception"] is None:
            line = f"[yellow]{escape(finding['rule'])}[/] {escape(where)}: {escape(finding['why'])}"
            line += f"; do: {escape(finding['remedy'])}"
        else:
            line = f"[dim]{escape(finding['rule'])} {escape(where)}: excepted: {escape(finding['exception'])}[/]"
        console.print(f"  lint: {line}", soft_wrap=True)
    if step.error:
        console.print(f"  [red]fails: {escape(step.error)}[/]", soft_wrap=True)


def _show_statements(console: Console, lines: list[list[Text]]) -> None:
    widths = [max(len(name), *(cells[at].cell_len for cells in lines)) for at, name in enumerate(_COLUMNS, 1)]
    room = console.width - sum(len(_GAP) + width for width in widths)
    if room >= _LEAST:
        # As Rich's table would be: of thousands of lines, that takes three times as long.
        head = _row(Text("statement"), [Text(name) for name in _COLUMNS], room, widths)
        head.stylize("bold")
        printed = [head, Text("─" * console.width)]
        for sql, *cells in lines:
            first, *more = [sql] if sql.cell_len <= room else sql.wrap(console, room, overflow="fold")
            printed.append(_row(first, cells, room, widths))
            printed += [_row(line, [Text() for _ in cells], room, widths) for line in more]
        console.print(Text("\n").join(printed), soft_wrap=True)
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("statement", overflow="fold", ratio=1)
    for name in _COLUMNS:
        table.add_column(name, justify="right" if name in _NUMBERS else "left", overflow="fold")
    for each in lines:
        table.add_row(*each)
    console.print(table)


def _row(first: Text, cells: list[Text], room: int, widths: list[int]) -> Text:
    line = Text().append_text(first).append(" " * (room - first.cell_len))
    for name, width, cell in zip(_COLUMNS, widths, cells, strict=True):
        gap = " " * (width - cell.cell_len)
        line.append(_GAP + gap if name in _NUMBERS else _GAP).append_text(cell)
        line.append("" if name in _NUMBERS else gap)
    return line


def _lines(plan: Plan, statement: Statement) -> Iterator[list[Text]]:
    # On one line, a comment would swallow what follows it.
    sql = Text(textwrap.shorten(re.sub(r"--[^\n]*", "", statement.sql), _STATEMENT_LETTERS, placeholder=" …"))
    if not statement.touches:
        yield [sql, *(Text() for _ in _COLUMNS)]
    for touch in statement.touches:
        size = plan.tables.get(touch.table)
        yield [sql, *_cells(touch, size)]
        sql = Text()


def _cells(touch: Touch, size: Size | None) -> list[Text]:
    name = Text(touch.table if touch.kind == "table" else f"{touch.kind} {touch.table}")
    if touch.new:
        return [name, Text("new table", "dim"), Text(), Text(), Text(), Text()]
    lock = Text(touch.lock)
    if not touch.taken:
        lock.append(" (still)", "dim")
    waits = Text(touch.blocks, _STYLE.get(touch.blocks, ""))
    work = Text(", ".join(_WORK[each] for each in touch.work) or ("" if not touch.taken else "metadata only"))
    return [name, lock, waits, work, Text(f"{size.rows:,}" if size else ""), Text(_bytes(size.bytes) if size else "")]


def _answer(assertion: Assertion) -> str:
    columns = ", ".join(assertion.columns)
    where = f"{assertion.table} ({columns})"
    count = f"{assertion.count or 0:,}"
    demand, wrong = {
        "unique": (f"no duplicates in {where} under {assertion.name}", f"{count} keys occur more than once"),
        "not null": (f"no NULL in {where}", f"{count} rows have NULL"),
        "foreign key": (f"no orphans in {where} under {assertion.name}", f"{count} rows have no parent"),
        "check": (f"all rows of {where} meet {assertion.name}", f"{count} rows do not"),
    }[assertion.demand]
    text = f"{escape(demand)}: {_MEANING[assertion.outcome]}"
    if assertion.count:
        text += f": {wrong}"
        text += f", such as {escape(assertion.example)}" if assertion.example is not None else ""
    return text + (f" ({escape(assertion.detail)})" if assertion.detail else "")


def _summary(plan: Plan) -> str:
    summary = as_document(plan)["summary"]
    parts = [_count(summary["steps"], "step")]
    if lock := summary["strongest_lock"]:
        size = plan.tables[lock["table"]]
        parts.append(
            f"strongest lock {lock['mode']} on {lock['table']} ({_count(size.rows, 'row')}, {_bytes(size.bytes)})"
        )
    else:
        parts.append("no lock on a table that is there now")
    parts.append(_count(summary["findings"], "finding"))
    if summary["exceptions"]:
        parts.append(_count(summary["exceptions"], "exception"))
    for name in ("destructive", "irreversible"):
        if summary[name]:
            parts.append(f"{name}: {', '.join(summary[name])}")
    asked = summary["assertions"]
    if any(asked.values()):
        answers = ", ".join(f"{number} {outcome}" for outcome, number in asked.items() if number)
        parts.append(f"{_count(sum(asked.values()), 'question')} to the data: {answers}")
    if summary["failed"]:
        parts.append(f"{summary['failed']} fails")
    return ", ".join(parts)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _bytes(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} TB"

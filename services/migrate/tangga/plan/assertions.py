"""A demand of a step on the rows that are there already, and the live database's answer; it is only read."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from tangga.connect import LOCK_NOT_AVAILABLE, QUERY_CANCELED, sqlstate

HOLDS, VIOLATED, OPEN, UNANSWERED, NOT_ASKED = "holds", "violated", "open", "unanswered", "not asked"
OUTCOMES = (HOLDS, VIOLATED, OPEN, UNANSWERED, NOT_ASKED)


@dataclass
class Assertion:
    """One demand, and the live database's answer."""

    demand: str  # "unique", "not null", "foreign key", "check"
    table: str
    # Of the index or the constraint, or of the column.
    name: str
    columns: list[str]
    outcome: str = NOT_ASKED
    # How many keys occur more than once, or how many rows do not fit.
    count: int | None = None
    # One key that occurs more than once, or that has no parent.
    example: str | None = None
    detail: str = ""


class Question(NamedTuple):
    """A demand, and what to ask the live database; no SQL if it cannot be asked."""

    assertion: Assertion
    sql: str | None
    # Tables whose rows decide, by number.
    tables: tuple[int, ...]


def ask(live: Connection, question: Question, changed: Collection[int], grown: Collection[int]) -> Assertion:
    """Put the question to the live database.

    `changed` are the tables of which this run updates or deletes rows up to this step, `grown` those into which it
    inserts some (that can give an orphan its parent): there, a "no" of today need not be one then.
    """
    assertion, sql, tables = question
    if sql is None:
        return assertion
    try:
        assertion.count, assertion.example = live.execute(text(sql.replace(":", "\\:"))).one()
    except DBAPIError as error:
        slow = sqlstate(error) in (QUERY_CANCELED, LOCK_NOT_AVAILABLE)
        assertion.outcome = UNANSWERED if slow else NOT_ASKED
        assertion.detail = str(error.orig).strip().partition("\n")[0]
        return assertion
    assertion.outcome = VIOLATED if assertion.count else HOLDS
    cures = {*changed, *(grown if assertion.demand == "foreign key" else ())}
    if assertion.count and cures & set(tables):
        assertion.outcome = OPEN
        assertion.detail = "the run changes rows of the table before, so it may hold by then"
    return assertion

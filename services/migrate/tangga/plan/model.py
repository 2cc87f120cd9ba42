"""A plan: what migrate would do, step by step and statement by statement."""

from dataclasses import asdict, dataclass, field
from typing import Any

from tangga.plan.assertions import OUTCOMES, Assertion
from tangga.plan.locks import strength


@dataclass
class Touch:
    """What a statement does to one table (or other relation)."""

    table: str
    kind: str
    # Not in the live database: made by this run, so nobody else is there to be kept waiting.
    new: bool
    # The strongest lock that is held on it while the statement runs, and all of them.
    lock: str
    locks: list[str]
    # By this statement; False: held since an earlier statement of the same transaction.
    taken: bool
    blocks: str
    # Of: rewrite, scan, insert, change (UPDATE, DELETE), truncate. Empty: the catalogue only.
    work: list[str]


@dataclass
class Statement:
    """One statement of a step."""

    sql: str
    # "step": in the step's own; "own": in one of its own; "none": outside of any
    transaction: str
    touches: list[Touch] = field(default_factory=list)


@dataclass
class Size:
    """How large a table is in the live database: rows as PostgreSQL estimates them, bytes with indexes."""

    rows: int
    bytes: int


@dataclass
class Step:
    """A pending revision, and what it did on the scratch copy."""

    revision: str
    message: str
    file: str
    reversible: bool
    # Why it cannot be undone, in the revision's own words.
    irreversible: str | None
    destructive: bool
    losses: list[str]
    statements: list[Statement]
    findings: list[dict[str, Any]] = field(default_factory=list)
    assertions: list[Assertion] = field(default_factory=list)
    error: str | None = None
    # What it does besides its statements: besides.py.
    besides: list[str] = field(default_factory=list)


@dataclass
class Plan:
    """What migrate would do."""

    database: str
    applied: list[str]
    to: list[str]
    steps: list[Step]
    # Revisions after one that failed.
    not_tried: list[str]
    # The live tables that are touched.
    tables: dict[str, Size]
    # Tables that hold rows in the live database and none in the copy, and why.
    without_rows: dict[str, str]

    @property
    def failed(self) -> Step | None:
        """The step that failed on the scratch copy."""
        return next((step for step in self.steps if step.error), None)

    def with_outcome(self, outcome: str) -> list[Assertion]:
        """Return the assertions that came out so."""
        return [assertion for step in self.steps for assertion in step.assertions if assertion.outcome == outcome]


def as_document(plan: Plan) -> dict[str, Any]:
    """Return everything as JSON's types."""
    strongest = strongest_lock(plan)
    return asdict(plan) | {
        "summary": {
            "steps": len(plan.steps) + len(plan.not_tried),
            "strongest_lock": strongest and {"mode": strongest[0], "table": strongest[1]},
            "findings": sum(finding["exception"] is None for step in plan.steps for finding in step.findings),
            "exceptions": sum(finding["exception"] is not None for step in plan.steps for finding in step.findings),
            "destructive": [step.revision for step in plan.steps if step.destructive],
            "irreversible": [step.revision for step in plan.steps if not step.reversible],
            "assertions": {outcome: len(plan.with_outcome(outcome)) for outcome in OUTCOMES},
            "failed": plan.failed.revision if plan.failed else None,
        }
    }


def strongest_lock(plan: Plan) -> tuple[str, str] | None:
    """Return the strongest lock on a table of the live database, and which (of several, the largest); None if none."""
    found = [
        (strength(touch.lock), plan.tables[touch.table].bytes, touch.lock, touch.table)
        for step in plan.steps
        for statement in step.statements
        for touch in statement.touches
        if not touch.new and touch.table in plan.tables
    ]
    return max(found)[2:] if found else None

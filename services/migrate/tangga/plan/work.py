"""What a statement did, from what was seen around it: the locks, the catalogue, and the session's own counters."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from tangga.catalogue.ours import is_the_migrators, title
from tangga.plan.locks import MODES, Modes, by_strength, strength
from tangga.plan.model import Statement, Touch

_KINDS = {
    "r": "table",
    "p": "table",
    "f": "table",
    "m": "view",
    "v": "view",
    "S": "sequence",
    "i": "index",
    "I": "index",
}
_first_word = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*(\w+)", re.DOTALL)
_READS = ("SELECT", "WITH", "VALUES", "TABLE")
_DATA = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "MERGE", "COPY")


class Relation(NamedTuple):
    """A table, view, index or sequence at one moment, with the counters of the session that migrates."""

    schema: str
    name: str
    # pg_class.relkind
    kind: str
    # Where its rows are; another number: they were written anew.
    file: int
    # The table, if it is an index.
    table: int | None
    seq_scans: int = 0
    seq_rows: int = 0
    index_rows: int = 0
    inserted: int = 0
    # Rows updated or deleted.
    changed: int = 0


# The relations by number.
Look = dict[int, Relation]


@dataclass
class Seen:
    """What was seen around one statement."""

    sql: str
    # "step": in the step's own; "own": in one of its own; "none": outside of any
    transaction: str
    before: Look
    # In a transaction: of those that are locked.
    after: Look
    # The locks of the session before it, and while it ran or at its end.
    held: Modes
    locks: Modes


def statement(seen: Seen, live: set[int], row_counts: dict[int, int]) -> Statement | None:
    """Return what a statement did; None if it only asked the catalogue, for which nobody waits.

    `live` are the relations that the live database has, `row_counts` the rows of each table before the step.
    """
    word = first_word(seen.sql)
    touches = []
    for oid, modes in seen.locks.items():
        relation = seen.before.get(oid) or seen.after.get(oid)
        if relation is None or is_the_migrators(relation.schema, relation.name):
            continue
        if not _matters(oid, relation, seen.locks, new=oid not in live):
            continue
        held = seen.held.get(oid, set())
        taken = strength(*modes) > strength(*held)
        work = _work(word, oid, seen, modes - held, row_counts.get(oid, 0))
        # Nobody else sees a table that is new: its locks, once they are taken, are no news.
        if oid not in live and not (taken or work):
            continue
        locks = by_strength(modes)
        touches.append(
            Touch(
                table=title(relation.schema, relation.name),
                kind=_KINDS[relation.kind],
                new=oid not in live,
                lock=locks[-1],
                locks=locks,
                taken=taken,
                blocks=MODES[locks[-1]],
                work=work,
            )
        )
    touches.sort(key=lambda touch: (not touch.taken, -strength(touch.lock), touch.table))
    if touches or word not in _READS or seen.after.keys() - seen.before.keys():
        return Statement(seen.sql, seen.transaction, touches)
    return None


def first_word(sql: str) -> str:
    """Return the word that says what kind of statement it is, in capitals; comments are passed over."""
    found = _first_word.match(sql)
    return found[1].upper() if found else ""


def _matters(oid: int, relation: Relation, locks: Modes, *, new: bool) -> bool:
    if relation.kind not in "iI":
        return relation.kind in "rpfmv" or not new
    # Who reads a table opens its indexes; a lock on the table that is as strong says it all.
    return not new and "ACCESS EXCLUSIVE" in locks[oid] and "ACCESS EXCLUSIVE" not in locks.get(relation.table or 0, ())


def _work(word: str, oid: int, seen: Seen, taken: set[str], rows: int) -> list[str]:
    before, after = seen.before.get(oid), seen.after.get(oid)
    if before is None or after is None or before.kind not in "rpm":
        return []
    # Where the table is empty, the counters do not move; the lock is that of a writer all the same.
    writer = "ROW EXCLUSIVE" in taken
    moved = before.file != after.file
    found = {
        "truncate": moved and word == "TRUNCATE",
        "rewrite": moved and word != "TRUNCATE",
        "scan": _builds(oid, seen) if seen.transaction == "none" else _scans(word, before, after, rows),
        "insert": after.inserted > before.inserted or (word == "INSERT" and writer),
        "change": after.changed > before.changed or (word in ("UPDATE", "DELETE", "MERGE") and writer),
    }
    return [name for name, done in found.items() if done]


def _builds(oid: int, seen: Seen) -> bool:
    """Tell whether an index was built from all rows; counters do not say it, for they start anew after a commit."""
    return any(
        index.table == oid and (number not in seen.before or seen.before[number].file != index.file)
        for number, index in seen.after.items()
    )


def _scans(word: str, before: Relation, after: Relation, rows: int) -> bool:
    if after.seq_rows - before.seq_rows >= rows and after.seq_scans > before.seq_scans:
        return True
    # A foreign key is checked by a query of PostgreSQL's own, which may read all rows through an index.
    return word not in _DATA and 0 < rows <= after.index_rows - before.index_rows

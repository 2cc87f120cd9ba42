"""Findings, for a person and for a program."""

import json
from collections.abc import Iterator, Sequence

from tangga.lint.finding import Finding
from tangga.words import count

NOT_ASKED = "The database was not asked (--database): edited files and invalid indexes are not seen.\n"


def as_text(found: Sequence[Finding], revisions: int, *, verbose: bool = False) -> str:
    """Return the findings as text, with a summary in the last line; exceptions only if `verbose`."""
    lines = [line for finding in found if verbose or finding.exception is None for line in _lines(finding)]
    excused = sum(finding.exception is not None for finding in found)
    summary = f"{count(revisions, 'revision')}: {count(len(found) - excused, 'finding')}"
    return "\n".join([*lines, f"{summary}, {count(excused, 'exception')} with a reason", ""])


def as_json(found: Sequence[Finding]) -> str:
    """Return the findings, exceptions included, as a list of objects."""
    return json.dumps([finding._asdict() for finding in found], indent=2) + "\n"


def _lines(finding: Finding) -> Iterator[str]:
    direction = f" ({finding.direction})" if finding.direction else ""
    yield f"{finding.file}:{finding.line}  {finding.rule}{direction}"
    yield f"    why: {finding.why}"
    yield f"     do: {finding.remedy}" if finding.exception is None else f" except: {finding.exception}"
    yield ""

"""Findings, for a person and for a program."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout

from tangga.causes import one_line
from tangga.lint.baseline import fingerprint
from tangga.lint.finding import Finding
from tangga.project import Project
from tangga.revision.loading import ID_TWICE, NOT_LOADED, Readable
from tangga.words import count

NOT_ASKED = "The database was not asked (--database): edited files and invalid indexes are not seen.\n"


def as_text(found: Sequence[Finding], *, verbose: bool = False) -> str:
    """Return the findings as text; exceptions only if `verbose`."""
    shown = [finding for finding in found if verbose or finding.exception is None]
    return "".join(f"{line}\n" for finding in shown for line in _lines(finding))


def summary(found: Sequence[Finding], revisions: int, accepted: int = 0, baseline: str = "") -> str:
    """Return how much was found, in one line; `accepted` are those that the file `baseline` accepts."""
    covered = sum(finding.exception is not None for finding in found)
    parts = [
        f"{count(revisions, 'revision')}: {count(len(found) - covered, 'finding')}",
        f"{count(covered - accepted, 'exception')} with a reason",
        *([f"{accepted:,} accepted in {baseline}"] if baseline else []),
    ]
    return f"{', '.join(parts)}\n"


def as_json(found: Sequence[Finding]) -> str:
    """Return the findings, exceptions included, as a list of objects."""
    return json.dumps([{**one.plain(), "fingerprint": fingerprint(one)} for one in found], indent=2) + "\n"


def not_looked_at(history: int, first: str) -> str:
    """Return how many steps are history, in a line of their own; "" if none is."""
    return f"{count(history, 'revision')} before {first} (lint_from) not looked at\n" if history else ""


def not_seen(project: Project, files: Readable) -> str:
    """Return which files could not be looked at, in a line of their own; "" if all were."""
    paths = dict.fromkeys(project.shown(fault.path) for fault in files.faults if fault.kind in (NOT_LOADED, ID_TWICE))
    return f"{count(len(paths), 'file')} not looked at, or not all: {', '.join(paths)}\n" if paths else ""


def without_models(project: Project) -> str:
    """Return that the models are not known here, and what that hides; "" if they are, or if none are named."""
    try:
        with redirect_stdout(sys.stderr):
            project.metadata  # noqa: B018 - to load them
    except (Exception, SystemExit) as error:  # a module of somebody's own: it may raise anything
        return f"Names that the models' naming convention makes are not seen: {one_line(error)}\n"
    return ""


def _lines(finding: Finding) -> Iterator[str]:
    direction = f" ({finding.direction})" if finding.direction else ""
    yield f"{finding.file}:{finding.line}  {finding.rule}{direction}"
    yield f"    why: {finding.why}"
    yield f"     do: {finding.remedy}" if finding.exception is None else f" except: {finding.exception}"
    yield ""

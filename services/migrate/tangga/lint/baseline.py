"""Findings that were accepted when the linter was turned on, in a file: only what is new is spoken of.

One line a finding, sorted: revision, rule, fingerprint. The fingerprint is of the statement, not of the file: it stays
the same when lines move and when the file, or the SQL, is formatted anew, and when a step writes a random UUID or the
time of day. Equal findings have a line each.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tangga.exits import WRONG_SETTING, Stop
from tangga.lint.finding import Finding
from tangga.remedies import say
from tangga.words import count

_HEAD: Final = """\
# What the linter found when it was turned on, and what was accepted: revision, rule, fingerprint.
# To write it anew: {again}
"""
# What a step's own program makes anew each time that it is printed.
_MADE_ANEW = re.compile(
    r"\b[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b"
    r"|\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d*)?",
    re.IGNORECASE,
)
_LINE = re.compile(r"(\S+) (\S+) ([0-9a-f]{16})")


class Compared(NamedTuple):
    """Findings beside a baseline."""

    # The accepted ones say so.
    findings: list[Finding]
    accepted: int
    # Lines of the file that nothing is found for any more.
    stale: list[str]


def fingerprint(finding: Finding) -> str:
    """Return what stays the same of a finding while its file is only moved or formatted."""
    parts = (finding.revision, finding.direction, finding.rule, _MADE_ANEW.sub("?", finding.about))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def write(file: Path, shown: str, found: Sequence[Finding]) -> None:
    """Write the findings that no exception covers; raises Stop if that cannot be written."""
    lines = sorted(_line(finding) for finding in found if finding.exception is None)
    text = _HEAD.format(again=say("write-baseline", file=shown)) + "".join(f"{line}\n" for line in lines)
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Stop(f"{shown} cannot be written: {error.strerror}", "name another file", WRONG_SETTING) from error


def compared(file: Path, shown: str, found: Sequence[Finding], looked_at: set[str] | None) -> Compared:
    """Mark the findings that the file accepts; `looked_at` are the revisions that were (None: all there are).

    Raises Stop if the file cannot be read.
    """
    left = _read(file, shown)
    findings = []
    for finding in found:
        line = _line(finding)
        if finding.exception is None and left[line] > 0:
            left[line] -= 1
            finding = finding._replace(exception=f"accepted in {shown}")
        findings.append(finding)
    accepted = sum(finding.exception == f"accepted in {shown}" for finding in findings)
    stale = [line for line in left.elements() if looked_at is None or line.split()[0] in looked_at]
    return Compared(findings, accepted, sorted(stale))


def said_of(stale: Sequence[str], shown: str) -> str:
    """Return the lines that accept what is no longer found; "" if there are none."""
    if not stale:
        return ""
    lines = "".join(f"  {line}\n" for line in stale)
    again = f"take them out: {say('write-baseline', file=shown)}"
    return f"{shown} accepts {count(len(stale), 'finding')} no longer there; {again}\n{lines}"


def _line(finding: Finding) -> str:
    return f"{finding.revision} {finding.rule} {fingerprint(finding)}"


def _read(file: Path, shown: str) -> Counter[str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is no text"
        raise Stop(
            f"{shown} cannot be read: {said}", f"write it first: {say('write-baseline', file=shown)}",
            WRONG_SETTING,
        ) from error  # fmt: skip
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#") and not _LINE.fullmatch(line.strip()):
            raise Stop(
                f"{shown}:{number} is no finding: {line.strip()[:80]}",
                "a line is: revision, rule, fingerprint; after a conflict in git, write the file anew",
                WRONG_SETTING,
            )
    return Counter(line.strip() for line in lines if line.strip() and not line.startswith("#"))

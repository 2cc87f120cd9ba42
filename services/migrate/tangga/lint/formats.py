"""Findings as other programs read them: GitHub's workflow commands, and SARIF 2.1.0 for code scanning and editors."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from tangga.lint.baseline import fingerprint
from tangga.lint.finding import Finding
from tangga.lint.rule import said
from tangga.lint.rules import RULES

_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def prefix_of(folder: Path) -> str:
    """Return where a folder is in its repository ("" at the top): both formats name files from there."""
    top = next((each for each in (folder, *folder.parents) if (each / ".git").exists()), folder)
    inside = folder.relative_to(top).as_posix()
    return "" if inside == "." else f"{inside}/"


def as_github(found: Iterable[Finding], prefix: str) -> str:
    """Return the findings that nothing covers as workflow commands, a line each."""
    return "".join(
        f"::error file={_property(_path(one, prefix))},line={one.line},title={_property(_title(one))}::"
        f"{_data(f'{one.why}{chr(10)}do: {one.remedy}')}\n"
        for one in found
        if one.exception is None
    )


def as_sarif(found: Sequence[Finding], prefix: str, accepted: str) -> str:
    """Return all findings; the exceptions, and those that the file `accepted` accepts, as suppressed."""
    names = sorted({one.rule for one in found})
    run = {
        "tool": {"driver": {"name": "tangga", "rules": [_rule(name, found) for name in names]}},
        "originalUriBaseIds": {"SRCROOT": {"description": {"text": "the top of the repository"}}},
        "columnKind": "unicodeCodePoints",
        "results": [_result(one, names.index(one.rule), prefix, accepted) for one in found],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _rule(name: str, found: Iterable[Finding]) -> dict[str, Any]:
    rule = RULES.get(name)
    first = next(one for one in found if one.rule == name)
    help_ = said(rule.remedy) if rule and rule.remedy else first.remedy
    return {
        "id": name,
        "shortDescription": {"text": name.replace("-", " ")},
        "help": {"text": help_},
        "defaultConfiguration": {"level": "error"},
    }


def _result(one: Finding, index: int, prefix: str, accepted: str) -> dict[str, Any]:
    path = _path(one, prefix)
    where: dict[str, Any] = (
        {"uri": Path(path).as_uri()} if path.startswith("/") else {"uri": quote(path), "uriBaseId": "SRCROOT"}
    )
    result = {
        "ruleId": one.rule,
        "ruleIndex": index,
        "level": "error",
        "message": {"text": f"{one.why}. {one.remedy}"},
        "locations": [{"physicalLocation": {"artifactLocation": where, "region": {"startLine": max(1, one.line)}}}],
        "partialFingerprints": {"tangga/v1": fingerprint(one)},
        "properties": {"revision": one.revision, "direction": one.direction},
    }
    if one.exception is not None:
        kind = "external" if one.exception == accepted else "inSource"
        result["suppressions"] = [{"kind": kind, "justification": one.exception}]
    return result


def _path(one: Finding, prefix: str) -> str:
    return one.file if one.file.startswith("/") else prefix + one.file


def _title(one: Finding) -> str:
    return f"{one.rule} ({one.direction})" if one.direction else one.rule


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")

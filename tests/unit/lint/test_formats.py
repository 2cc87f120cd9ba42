"""Findings as other programs read them."""

import json
from pathlib import Path
from typing import Any

import pytest

from tangga.exits import FINDINGS
from tangga.lint import formats
from tangga.lint.baseline import fingerprint
from tangga.lint.finding import Finding
from tests.support.in_process import run
from tests.support.library import copy_library, plant
from tests.support.linting import with_findings

_FINDING = Finding("a1", "db/versions/a, b: 100%.py", 7, "up", "some-rule", "50% of\nall, or: more", "do\r\nit", None)
# Of https://docs.oasis-open.org/sarif/sarif/v2.1.0/: what each object must have, and all that it may have here.
_SARIF: dict[str, tuple[set[str], set[str]]] = {
    "": ({"version", "runs"}, {"$schema"}),
    "runs": ({"tool"}, {"results", "columnKind", "originalUriBaseIds"}),
    "tool": ({"driver"}, set()),
    "driver": ({"name"}, {"rules"}),
    "rules": ({"id"}, {"shortDescription", "help", "defaultConfiguration"}),
    "results": (
        {"message"},
        {"ruleId", "ruleIndex", "level", "locations", "partialFingerprints", "properties", "suppressions"},
    ),
    "suppressions": ({"kind"}, {"justification"}),
    "locations": (set(), {"physicalLocation"}),
    "physicalLocation": ({"artifactLocation"}, {"region"}),
    "artifactLocation": ({"uri"}, {"uriBaseId"}),
    "region": ({"startLine"}, set()),
    "shortDescription": ({"text"}, set()),
    "help": ({"text"}, set()),
    "message": ({"text"}, set()),
}


def _has_what_the_standard_asks_for(name: str, value: Any) -> None:
    if isinstance(value, list):
        for each in value:
            _has_what_the_standard_asks_for(name, each)
    elif isinstance(value, dict):
        required, more = _SARIF.get(name, (set(), {*value}))
        assert required <= value.keys() <= required | more, (name, value)
        for key, each in value.items():
            _has_what_the_standard_asks_for(key, each)


def _log(*found: Finding, prefix: str = "", accepted: str = "accepted in a.txt") -> dict[str, Any]:
    log: dict[str, Any] = json.loads(formats.as_sarif(found, prefix, accepted))
    _has_what_the_standard_asks_for("", log)
    assert log["version"] == "2.1.0"
    return log


def test_a_sarif_log_has_what_the_standard_asks_for() -> None:
    [run_] = _log(_FINDING, prefix="back end/")["runs"]
    [result] = run_["results"]
    [location] = result["locations"]
    assert location["physicalLocation"] == {
        "artifactLocation": {"uri": "back%20end/db/versions/a%2C%20b%3A%20100%25.py", "uriBaseId": "SRCROOT"},
        "region": {"startLine": 7},
    }
    assert "SRCROOT" in run_["originalUriBaseIds"]
    assert run_["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"] == "some-rule"
    assert (result["level"], result["partialFingerprints"]) == ("error", {"tangga/v1": fingerprint(_FINDING)})
    assert _log()["runs"][0]["results"] == []


def test_what_is_covered_is_suppressed_in_sarif() -> None:
    ours, theirs = (_FINDING._replace(exception=reason) for reason in ("nobody reads it", "accepted in a.txt"))
    results = _log(ours, theirs, _FINDING)["runs"][0]["results"]
    assert [result.get("suppressions") for result in results] == [
        [{"kind": "inSource", "justification": "nobody reads it"}],
        [{"kind": "external", "justification": "accepted in a.txt"}],
        None,
    ]


def test_a_file_elsewhere_has_its_whole_address_in_sarif() -> None:
    [result] = _log(_FINDING._replace(file="/srv/a b.py", line=0), prefix="x/")["runs"][0]["results"]
    where = result["locations"][0]["physicalLocation"]
    assert where == {"artifactLocation": {"uri": "file:///srv/a%20b.py"}, "region": {"startLine": 1}}


def test_githubs_commands_are_escaped_by_its_rules() -> None:
    # Without: the message ends at the first line, and the first comma ends the name of the file.
    assert formats.as_github([_FINDING], "a/") == (
        "::error file=a/db/versions/a%2C b%3A 100%25.py,line=7,title=some-rule (up)::"
        "50%25 of%0Aall, or: more%0Ado: do%0D%0Ait\n"
    )
    assert formats.as_github([_FINDING._replace(exception="why", direction="")], "") == ""


@pytest.mark.parametrize(("inside", "prefix"), [("", ""), ("back/end", "back/end/")])
def test_files_are_named_from_the_top_of_the_repository(tmp_path: Path, inside: str, prefix: str) -> None:
    folder = tmp_path / inside
    folder.mkdir(parents=True, exist_ok=True)
    assert formats.prefix_of(folder) == ""
    (tmp_path / ".git").touch()  # a work tree's is a file
    assert formats.prefix_of(folder) == prefix


@pytest.fixture
def library(tmp_path: Path) -> Path:
    library = with_findings(copy_library(tmp_path / "library"))
    plant(library, "0000000000a1", "op.drop_column('books', 'title')", downgrade="op.execute('SELECT 1')")
    return library


def _lint(library: Path, format_: str) -> tuple[str, str]:
    finished = run(("lint", "--format", format_), library, {})
    assert finished.returncode == FINDINGS
    return finished.stdout, finished.stderr


def test_the_command_writes_each_of_them(library: Path) -> None:
    (library / ".git").mkdir()
    out, err = _lint(library, "sarif")
    log = json.loads(out)
    _has_what_the_standard_asks_for("", log)
    assert {"ban-drop-column", "prefer-identity"} < {result["ruleId"] for result in log["runs"][0]["results"]}
    assert err == ""
    commands = _lint(library, "github")[0].splitlines()
    assert sum(line.startswith("::error file=migrations/versions/") for line in commands) == 6
    assert commands[6].startswith("5 revisions: 6 findings")
    assert _lint(library, "json") == (run(("lint", "--json"), library, {}).stdout, "")
    assert _lint(library, "text")[0] == run(("lint",), library, {}).stdout


def test_what_was_not_looked_at_is_said_beside_what_a_program_reads(library: Path) -> None:
    (library / "migrations/versions/odd.py").write_text("pass pass")
    finished = run(("lint", "--format", "sarif"), library, {})
    first, *rest = finished.stderr.splitlines()
    assert first == "1 file not looked at, or not all: migrations/versions/odd.py"
    assert rest == [
        "error: not every step could be looked at as Alembic runs it: migrations/versions/odd.py",
        "   do: see the findings",
    ]
    _has_what_the_standard_asks_for("", json.loads(finished.stdout))

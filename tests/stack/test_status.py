"""make status, in the terminal and in a browser: what is well, and what is not."""

import json
from pathlib import Path

import pytest

from tests.migrations.staircase import HEAD, REVISIONS
from tests.stack.browser import Browser
from tests.stack.conftest import Stack

HOSTILE = "<script>document.title = 'ran'</script>"
MANIFEST = {
    "file": f"tangga-20260102T203120Z-{HEAD}.dump",
    "database": "tangga",
    "created_at": "2026-01-02T20:31:20+00:00",
    "revision": HEAD,
    "bytes": 123_456,
    "tables": {"public.posts": {"rows": 1_000}, "public.users": {"rows": 10}},
}
OPERATION = {
    "started_at": "2026-11-27T21:00:00+00:00",
    "seconds": 12.3,
    "who": "ani",
    "action": "deploy",
    "from": "v1",
    "to": "v2",
    "outcome": "failed",
    "reason": f"a replica did not become ready {HOSTILE}",
}


@pytest.fixture(scope="module")
def troubled(stack: Stack) -> Stack:
    """A stack with a step that has not run, an old backup that nobody has verified, and a deploy that failed."""
    (stack.folder / "backups").mkdir(exist_ok=True)
    manifest = json.dumps(MANIFEST, indent=2)
    (stack.folder / "backups" / MANIFEST["file"]).with_suffix(".json").write_text(manifest)  # type: ignore[operator]
    (stack.folder / ".deploy").mkdir(exist_ok=True)
    (stack.folder / ".deploy/log.jsonl").write_text(json.dumps(OPERATION) + "\n")
    stack.plant("0123456789ab", 'op.execute("SELECT 1")', 'op.execute("SELECT 1")', title="v99 tambah catatan")
    return stack


def test_a_stack_that_was_just_started_lacks_nothing_but_a_backup(stack: Stack) -> None:
    lines = stack.make("status").splitlines()
    assert lines[0].startswith(f"{stack.name} | release latest | ")
    assert [line for line in lines if line.startswith("  ! ")] == ["  ! there is no backup: make backup"]
    assert any(line.startswith(f"{stack.name}-api-1") and "running (healthy)" in line for line in lines)
    assert any(line.startswith(f"{stack.name}-migrate-1") and "exited (0)" in line for line in lines)
    assert any(line.startswith("tangga-api ") for line in lines)


def test_the_terminal_and_a_program_are_told_what_is_not_well(troubled: Stack) -> None:
    shown = troubled.make("status")
    expected = [
        "1 step is pending: make migrate",
        "days old: make backup",
        "no backup has been verified: make backup-verify",
        f"the last deploy failed: {OPERATION['reason']}",
    ]
    troubles = [line for line in shown.splitlines() if line.startswith("  ! ")]
    assert len(troubles) == len(expected)
    for line, words in zip(troubles, expected, strict=True):
        assert words in line
    facts = json.loads(troubled.make("status", "json=1"))
    assert facts["pending"] == ["0123456789ab"]
    assert len(facts["troubles"]) == len(expected)


def test_the_page_shows_the_same_in_a_browser(troubled: Stack, browser: Browser) -> None:
    troubled.make("status", "html=status.html")
    page = troubled.folder / "status.html"
    browser.open(page.as_uri())
    browser.wait_for(f"document.querySelectorAll('ol.steps li').length === {len(REVISIONS) + 1}")
    assert browser.evaluate("document.querySelector('ol.steps li.pending').innerText").startswith("0123456789ab v99")
    assert HEAD in browser.evaluate("document.querySelector('ol.steps li.current').innerText")
    assert browser.evaluate("document.querySelectorAll('ul li.ill').length") == 4
    text = browser.evaluate("document.body.innerText")
    assert HOSTILE in text, "shown as text, and not run"
    assert f"{troubled.name}-db-1" in text
    assert "1,010" in text
    # On a narrow screen tables scroll by themselves; the page does not.
    browser.resize(400, 800)
    assert browser.evaluate("document.documentElement.scrollWidth <= 400")
    assert browser.said == []
    assert [url for url in browser.requested if url != page.as_uri()] == []


def test_without_a_database_the_rest_is_still_shown(troubled: Stack, browser: Browser) -> None:
    troubled.compose("stop", "db")
    shown = troubled.make("status")
    assert f"! {troubled.name}-db-1: exited" in shown
    assert "! the database does not answer:" in shown
    troubled.make("status", "html=status.html")
    browser.open(Path(troubled.folder, "status.html").as_uri())
    browser.wait_for("document.body.innerText.includes('does not answer')")
    troubled.compose("start", "db")

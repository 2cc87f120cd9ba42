"""`alembic verify`: the steps pass; each planted fault is found, and named with its step."""

import json
import os
import re
from pathlib import Path
from unittest import mock

import pytest

from tangga.exits import FINDINGS
from tangga.verify.model import Finding, Report
from tangga.verify.walk import verify
from tests.databases import owner_environment, query, template
from tests.migrations import staircase
from tests.migrations.proving import project_of, scratch
from tests.support import in_process
from tests.support.faults import CHAIN, FAULTS, OTHERS
from tests.support.library import FOLDER, HEAD, alembic, copy_library, plant
from tests.support.steps import edit


def _report(library: Path, start: str | None = "plant0000001", rows: int = 20) -> Report:
    with mock.patch.dict(os.environ, owner_environment(template())):
        return verify(project_of(library), rows, start)


def _planted(library: Path, upgrade: str, downgrade: str = "pass", header: str = "") -> Path:
    file = plant(library, "plant0000001", "pass", downgrade="pass")
    body = f"def upgrade() -> None:\n    {upgrade}\ndef downgrade() -> None:\n    {downgrade}\n"
    file.write_text(file.read_text().partition("def upgrade")[0] + header + "\n" + body)
    return file


@pytest.fixture(scope="module")
def proven(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, list[Finding]]]:
    """What is found at each fault, the steps planted one upon another: (revision, findings) by the fault's name."""
    found = {}
    for faults in (CHAIN, *OTHERS):
        library = copy_library(tmp_path_factory.mktemp("faults") / "library")
        revisions = {name: f"plant{number:07}" for number, name in enumerate(faults, 1)}
        below = HEAD
        for name, revision in revisions.items():
            upgrade, downgrade, _ = faults[name]
            plant(library, revision, upgrade.replace("\n", " "), downgrade=downgrade, after=below)
            below = revision
        report = _report(library)
        for name, revision in revisions.items():
            found[name] = (revision, [finding for finding in report.findings if finding.revision == revision])
    return found


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_and_named(proven: dict[str, tuple[str, list[Finding]]], name: str) -> None:
    """Also after steps that are at fault themselves, and nothing else is said of its step."""
    revision, findings = proven[name]
    assert [finding.text for finding in findings] == FAULTS[name][2]
    assert {finding.file for finding in findings} == {f"migrations/versions/planted_{revision}.py"}


def test_nothing_else_is_found_where_one_thing_is_wrong(library: Path) -> None:
    upgrade, downgrade, expected = FAULTS["lossy UPDATE"]
    _planted(library, upgrade, downgrade)
    assert [finding.text for finding in _report(library).findings] == expected


def test_drift_from_the_models_and_a_sequence_narrower_than_its_column_are_found(library: Path) -> None:
    _planted(
        library,
        'op.add_column("books", sa.Column("extra", sa.Integer()));'
        'op.alter_column("authors", "id", type_=sa.BigInteger())',
        'op.alter_column("authors", "id", type_=sa.Integer()); op.drop_column("books", "extra")',
    )
    assert [finding for finding in _report(library).findings if "column authors.id: type" not in finding.text] == [
        Finding("", "", "models: column books.extra: in the schema, not in the models"),
        Finding("", "", "sequence authors_id_seq (narrower than its column authors.id): integer, the column is bigint"),
    ]


def test_what_is_no_fault(library: Path) -> None:
    """What a step declares, a step that cannot be taken back, one that cannot be printed, an index CONCURRENTLY."""
    upgrade, downgrade, _ = FAULTS["lossy UPDATE"]
    _planted(
        library, upgrade, downgrade, 'changes_data = {"books.title": "names are compared without case from now on"}'
    )
    file = plant(
        library, "plant0000002", 'op.execute("DELETE FROM loans")', after="plant0000001",
        downgrade='raise NotImplementedError("loans are gone")',
    )  # fmt: skip
    header = 'irreversible = "the loans are gone"\nchanges_data = {"loans": "so it is meant"}\n'
    edit(file, "def upgrade", f"{header}def upgrade")
    plant(library, "plant0000003", 'op.get_bind().execute(sa.text("SELECT 1")).scalar_one()', after="plant0000002")
    concurrently = "with op.get_context().autocommit_block(): "
    plant(
        library, "plant0000004",
        f'{concurrently}op.create_index("ix_a", "loans", ["book_id"], postgresql_concurrently=True)',
        after="plant0000003",
        downgrade=f'{concurrently}op.drop_index("ix_a", table_name="loans", postgresql_concurrently=True)',
    )  # fmt: skip
    report = _report(library)
    assert [finding.text for finding in report.findings] == [
        "models: index loans.ix_a: in the schema, not in the models"
    ]
    assert [timing.revision for timing in report.timings if timing.down is None] == ["plant0000002"]
    irreversible, printed = report.notes
    assert irreversible == "plant0000002 is irreversible, so it was not taken back: the loans are gone"
    assert printed.startswith("plant0000003 cannot be printed as SQL: ")


def test_the_products_own_steps_are_proven_and_the_page_says_so(database: str) -> None:
    clean = in_process.alembic(database, "verify", "--rows", "10")
    assert clean.returncode == 0, clean.stderr
    lines = clean.stdout.splitlines()
    assert lines[0].split() == ["step", "message", "up", "down"]
    assert [line.split()[0] for line in lines[1:11]] == staircase.REVISIONS
    assert all(re.search(r"  \d+\.\d+ s +\d+\.\d+ s$", line) for line in lines[1:11])
    # No note and no fault.
    assert lines[11].startswith("10 steps with 10 rows a table in ")
    assert lines[12:] == ["verified: up, down and up again, printed SQL, models"]


def test_the_command_ends_with_its_own_code(library: Path, database: str) -> None:
    file = _planted(library, *FAULTS["leftover sequence"][:2])
    faulty = alembic(database, "verify", "--from", HEAD, "--json", project=library)
    assert (faulty.returncode, faulty.stderr.partition("\n")[0]) == (FINDINGS, "error: verify: 1 fault")
    page = json.loads(faulty.stdout)
    assert page["findings"] == [
        {
            "revision": "plant0000001",
            "file": f"migrations/versions/{file.name}",
            "text": FAULTS["leftover sequence"][2][0],
        }
    ]
    assert [timing["revision"] for timing in page["timings"]] == [HEAD, "plant0000001"]


def test_nothing_is_left_on_the_scratch_server_and_the_live_database_is_not_touched(database: str) -> None:
    def made() -> set[str]:
        names = rf"scratch\_{os.getpid()}\_%"
        found = query("postgres", "SELECT datname FROM pg_database WHERE datname LIKE %s", names, role="superuser")
        return {name for [name] in found}

    before = made()
    with scratch().database():
        assert made() > before
    with mock.patch.dict(os.environ, owner_environment(database)):
        verify(project_of(FOLDER, database), 1)
    assert made() == before
    assert query(database, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == [(0,)]

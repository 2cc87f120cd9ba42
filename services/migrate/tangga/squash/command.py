"""Fold the steps from the first up to one of them into a single baseline, which keeps that step's revision.

A database at that revision or past it has nothing to do: `alembic_version` and the later steps stay as they are. The
baseline is what pg_dump prints of a scratch database at that revision. It is written only when it has been proven
there: the same schema and rows at the revision, the same schema at head, and nothing left after going down.
"""

import os
import re
import shutil
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pglast
from alembic.script import Script
from sqlalchemy import Connection, Engine
from sqlalchemy.dialects import postgresql

from tangga import connect, lint
from tangga.catalogue import dump as schema
from tangga.catalogue.ours import OURS
from tangga.catalogue.sql import quoted
from tangga.causes import one_line
from tangga.drift.position import position
from tangga.exits import ALEMBIC_REFUSES, BEHIND, Stop
from tangga.journal import writing as journal
from tangga.project import Project
from tangga.remedies import say
from tangga.scratch.server import Scratch
from tangga.words import file_name, folder_name

HELP = "fold the first steps into one baseline, proven equal; databases past it are left untouched"

# What goes away together with something else.
_PARTS = {
    "ACL", "ATTACH PARTITION", "CHECK CONSTRAINT", "COMMENT", "CONSTRAINT", "DEFAULT", "DEFAULT ACL", "FK CONSTRAINT",
    "INDEX", "INDEX ATTACH", "POLICY", "ROW SECURITY", "RULE", "SEQUENCE OWNED BY", "STATISTICS", "TABLE ATTACH",
    "TRIGGER",
}  # fmt: skip
# In the order in which they can be dropped.
_WHOLES = (
    "MATERIALIZED VIEW", "VIEW", "TABLE", "AGGREGATE", "FUNCTION", "PROCEDURE", "DOMAIN", "TYPE", "SEQUENCE",
    "EXTENSION", "SCHEMA",
)  # fmt: skip
_quote = postgresql.dialect().identifier_preparer.quote  # type: ignore[no-untyped-call]
_LINT_REASON = "a baseline: its steps were linted when they were written, and it runs on an empty database only"


def arguments(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("to", help="the last step to be folded; its revision stays")


def run(project: Project) -> None:
    """Fold, prove, write; raises Stop if it must not or cannot be done, and has changed nothing then."""
    assert project.config.cmd_opts is not None
    folded = fold(project, project.config.cmd_opts.to)
    with connect.engine(project.settings.url, "squash").connect() as connection:
        _require_past(project, connection, folded[-1])
    versions = Path(str(project.scripts.versions))
    if not os.access(versions, os.W_OK):
        raise Stop(f"{folder_name(versions)} cannot be written to here", say("squash"), ALEMBIC_REFUSES)
    baseline = versions / _file_name(folded[-1])
    source = prove(project, Scratch(project), folded, baseline.name)
    new = baseline.with_suffix(".new")
    new.write_text(source)
    for step in folded:
        Path(step.path).unlink()
    new.rename(baseline)
    sys.stdout.write(
        f"proven: the same schema at {folded[-1].revision} and at head, the same rows, nothing left after going down\n"
        f"folded: {len(folded)} steps into {file_name(baseline)}\n"
        f"A database below {folded[-1].revision} needs a release that still has the old files, up to there, first.\n"
        "Look at it (git diff), then commit.\n"
    )


def fold(project: Project, to: str) -> list[Script]:
    """Return the steps from the first up to `to`; raises Stop if they are not one straight line of at least two."""
    target = project.scripts.get_revision(to)
    if target is None:
        raise Stop("base is no step", f"{say('history')} lists the steps", ALEMBIC_REFUSES)
    folded = [*project.scripts.iterate_revisions(target.revision, "base")][::-1]
    for below, step in zip([None, *folded], folded, strict=False):
        straight = step.down_revision == (below.revision if below else None) and not step.dependencies
        if not straight or (below and below.nextrev != {step.revision}):
            raise Stop(
                f"the steps up to {target.revision} are not one straight line: see {step.revision} ({step.doc})",
                f"squash up to a step below the fork, or above the merge once no branch ends there: {say('graph')}",
                ALEMBIC_REFUSES,
            )
    if len(folded) < 2:
        raise Stop(f"{target.revision} is the first step: there is nothing to fold", say("history"), ALEMBIC_REFUSES)
    return folded


def prove(project: Project, scratch: Scratch, folded: list[Script], name: str) -> str:
    """Return the baseline's source, proven to do what the folded steps do; raises Stop with the first difference."""
    to = folded[-1].revision
    with scratch.database() as old:
        pristine = scratch.dump(old)
        with old.connect() as connection:
            project.upgrade(connection, to)
        dump, rows = scratch.dump(old), _rows_of(scratch, old)
        statements = [*_statements(dump, pristine, old.url.username or ""), *rows]
        statements += _grants(scratch, statements, schema.objects(dump))
        with _copy(project, folded) as (folder, copy):
            drops = [*_drops(dump, pristine)]
            file = folder / name
            file.write_text(_source(folded, statements, drops, []))
            baseline = Project.from_file(copy)
            rules = sorted({finding.rule for finding in lint.findings(baseline, {to}) if finding.exception is None})
            source = _source(folded, statements, drops, rules)
            file.write_text(source)
            _compare(project, Project.from_file(copy), scratch, old, to, rows)
    return source


def _compare(project: Project, baseline: Project, scratch: Scratch, old: Engine, to: str, rows: list[str]) -> None:
    with scratch.database() as new, old.connect() as connection, new.connect() as other:
        pristine = schema.objects(scratch.dump(new))
        try:
            baseline.upgrade(other, to)
            _require_equal("at the baseline", schema.objects(scratch.dump(old)), schema.objects(scratch.dump(new)))
            if _rows_of(scratch, new) != rows:
                _differs("at the baseline", "rows")
            project.upgrade(connection, "heads")
            baseline.upgrade(other, "heads")
            _require_equal("at head", schema.objects(scratch.dump(old)), schema.objects(scratch.dump(new)))
            # The steps above may be irreversible; the baseline itself must not leave anything behind.
            with scratch.database() as third, third.connect() as down:
                baseline.upgrade(down, to)
                baseline.downgrade(down, "base")
                _require_equal("after going down", pristine, schema.objects(scratch.dump(third)))
        except Stop:
            raise
        except Exception as error:
            _differs("on a scratch database", one_line(error))


def _require_equal(when: str, expected: dict[str, str], found: dict[str, str]) -> None:
    if lines := schema.differences(expected, found):
        _differs(when, lines[0])


def _differs(when: str, what: str) -> None:
    raise Stop(
        f"the baseline is not equal to the steps {when}: {what}",
        "nothing was written; squash up to a step before the one that makes this",
        ALEMBIC_REFUSES,
    )


def _require_past(project: Project, connection: Connection, to: Script) -> None:
    at = position(project, connection)
    above = {step.revision for step in project.scripts.iterate_revisions(at, "base")} if at else {to.revision}
    if to.revision not in above:
        raise Stop(
            f"the database is at {', '.join(at)}, below {to.revision}: it still needs the steps that would be folded",
            f"{say('migrate')} first, here and on every other database",
            BEHIND,
        )


def _statements(dump: Iterable[str], pristine: Iterable[str], owner: str) -> Iterator[str]:
    """Yield what makes the objects, in pg_dump's order, but for privileges and for the owner, who is who runs it."""
    there = set(schema.entries(pristine))
    found = [entry for entry in schema.entries(dump) if entry not in there and entry[0] not in ("ACL", "DEFAULT ACL")]
    if any(kind in ("FUNCTION", "PROCEDURE") for kind, *_ in found):
        # As pg_dump does: a function may speak of a table that comes after it.
        yield "SET LOCAL check_function_bodies = off"
    by_owner = re.compile(rf"^ALTER [^;]* OWNER TO (?:{re.escape(owner)}|{re.escape(quoted(owner))});$", re.MULTILINE)
    for kind, _, _, body in found:
        statement = by_owner.sub("", body).strip().removesuffix(";")
        if kind == "SCHEMA" and statement.startswith("ALTER SCHEMA public"):
            continue
        if statement:
            yield re.sub(r"\n{3,}", "\n\n", statement)


def _grants(scratch: Scratch, statements: list[str], wanted: dict[str, str]) -> list[str]:
    """Return the privileges that the steps gave or took, beyond those that every new object gets by default."""
    with scratch.database() as engine:
        with engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement.replace("%", "%%"))
        found = schema.objects(scratch.dump(engine))
    grants = []
    for name in sorted(name for name in wanted.keys() | found.keys() if name.startswith("grant on ")):
        expected, there = wanted.get(name, "").splitlines(), found.get(name, "").splitlines()
        for line in there:
            if line not in expected and (given := re.fullmatch(r"GRANT (.*) ON (.*) TO (.*);", line)):
                grants.append(f"REVOKE {given[1]} ON {given[2]} FROM {given[3]}")
        grants += [line.removesuffix(";") for line in expected if line not in there]
    return grants


def _rows_of(scratch: Scratch, engine: Engine) -> list[str]:
    """Return the rows that the steps inserted into an empty database, and where their sequences stand."""
    lines = scratch.dump_rows(engine, without=OURS)
    statements = pglast.split("\n".join(line for line in lines if not line.startswith("\\")))
    inserts = [statement for statement in statements if statement.startswith("INSERT INTO ")]
    # A sequence that was never asked is where a new one is.
    asked = [statement for statement in statements if "setval(" in statement and not statement.endswith("false)")]
    return inserts + [statement for statement in asked if "migration_log_id_seq" not in statement]


def _drops(dump: Iterable[str], pristine: Iterable[str]) -> Iterator[str]:
    there = {entry[:3] for entry in schema.entries(pristine)}
    found = [entry for entry in schema.entries(dump) if entry[:3] not in there and entry[0] not in _PARTS]
    if other := [entry for entry in found if entry[0] not in _WHOLES]:
        kind, _, name, _ = other[0]
        raise Stop(
            f"{kind.lower()} {name}: squash does not know how to drop it, so the baseline would have no way down",
            "squash up to a step before the one that makes it",
            ALEMBIC_REFUSES,
        )
    owned = {name for kind, _, name, _ in schema.entries(dump) if kind == "SEQUENCE OWNED BY"}
    for kind in _WHOLES:
        names = [
            _full(schema_name, name) for found_kind, schema_name, name, body in found
            if found_kind == kind and name not in owned and " ADD GENERATED " not in body
        ][::-1]  # fmt: skip
        # In one statement, tables may refer to each other.
        if names:
            yield f"DROP {kind} {', '.join(names)}"


def _full(schema_name: str, name: str) -> str:
    bare, bracket, rest = name.partition("(")
    return ("" if schema_name == "-" else f"{_quote(schema_name)}.") + _quote(bare) + bracket + rest


@contextmanager
def _copy(project: Project, folded: list[Script]) -> Iterator[tuple[Path, Path]]:
    """Copy the project's migrations without the folded steps; yield the folder of the steps and the configuration."""
    with tempfile.TemporaryDirectory() as folder:
        configuration = Path(str(project.config.config_file_name))
        for file in (configuration, project.folder / "pyproject.toml"):
            if file.exists():
                shutil.copy(file, folder)
        migrations = Path(str(project.scripts.dir))
        shutil.copytree(migrations, Path(folder) / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
        versions = Path(folder) / "migrations" / "versions"
        for step in folded:
            (versions / Path(step.path).name).unlink()
        yield versions, Path(folder) / configuration.name


def _file_name(step: Script) -> str:
    before, found, _ = Path(step.path).name.partition(step.revision)
    return f"{before if found else ''}{step.revision}_baseline.py"


def _source(folded: list[Script], statements: list[str], drops: list[str], rules: list[str]) -> str:
    last = folded[-1]
    listed = "\n".join(f"- {step.revision} {step.doc}" for step in folded).replace("\\", "\\\\").replace('"', '\\"')
    checksums = "".join(f'    "{step.revision}": "{journal.checksum(step.path)}",\n' for step in folded)
    ignored = "".join(f'    "{rule}": REASON,\n' for rule in rules)
    lint_ignore = f'REASON = "{_LINT_REASON}"\nlint_ignore = {{\n{ignored}}}\n' if rules else ""
    body = f"{_calls(statements)}\n\ndef downgrade() -> None:\n{_calls(drops)}"
    long = "# ruff: noqa: E501\n" if any(len(line) > 120 for line in body.splitlines()) else ""
    return f'''"""baseline up to {last.revision}

Written by alembic squash, and proven equal to the steps that it folds:

{listed}
"""
{long}
from alembic import op

revision: str = "{last.revision}"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

# What the files of the folded steps were: revision -> SHA-256. Databases have noted them.
squashed = {{
{checksums}}}
{lint_ignore}

def upgrade() -> None:
{body}'''


def _calls(statements: list[str]) -> str:
    if not statements:
        return "    pass\n"
    return "".join(f"    op.execute({_literal(statement)})\n" for statement in statements)


def _literal(statement: str) -> str:
    # For SQLAlchemy, :name is a parameter; a backslash before the colon says that it is not.
    text = re.sub(r"(?<![:\w\\]):(?=\w+(?!:))", r"\:", statement).replace("\\", "\\\\")
    if "\n" in text or '"' in text:
        return '"""\n{}\n"""'.format(text.replace('"""', '\\"\\"\\"'))
    return f'"{text}"'

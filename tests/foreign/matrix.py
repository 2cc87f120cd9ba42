"""Each command of tangga on somebody's project: is it right, wrong or refused, and what does it cost.

Right is: `history` names every step; `upgrade` and `upgrade`, `downgrade -1`, `upgrade` build what stock Alembic's
upgrade builds (compared as pg_dump prints it); `drift` finds none then; the others end as they say they do. Wrong is
another result, an error that nobody foresaw, and a command that does not end within its bound. Refused is a command
that ends with a reason and a remedy. What `lint`, `verify` and `drift` say of the steps is counted, not judged.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import URL, NullPool, create_engine, text

from tangga import container

# Exit codes with which nothing was refused: done, and findings.
_DONE, _DRIFT, _FINDINGS, _UNPROVEN = 0, 9, 12, 17
_TANGGA = "from tangga.cli import tangga; tangga()"
_ENV = """
import os
from alembic import context
from sqlalchemy import NullPool, create_engine

if context.is_offline_mode():
    context.configure(dialect_name="postgresql", literal_binds=True, dialect_opts={"paramstyle": "named"})
    with context.begin_transaction():
        context.run_migrations()
else:
    with create_engine(os.environ["DATABASE_URL"], poolclass=NullPool).connect() as connection:
        context.configure(connection=connection, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()  # of a step that has ended its transaction itself
"""


_PLANTED = """
from alembic import op
revision, down_revision = "planted00001", {heads}


def upgrade():
    op.execute("DROP TABLE planted")


def downgrade():
    op.execute("CREATE TABLE planted (id bigint)")
"""


class Ran(NamedTuple):
    """What a command came to. `seconds` are the processor's."""

    code: int | None
    printed: str
    seconds: float

    @property
    def reason(self) -> str:
        """The error in one line, or the last one that it printed."""
        lines = [line.strip() for line in self.printed.splitlines() if line.strip()]
        error = [line for line in lines if line.startswith("error: ")]
        return (error or lines or ["it printed nothing"])[-1].removeprefix("error: ")[:160]


class Theirs:
    """A copy of the project, its interpreter, and a server."""

    def __init__(self, options: argparse.Namespace, server: URL) -> None:
        self._options, self._server = options, server

    def run(self, program: str, *arguments: str, database: str = "live") -> Ran:
        """Run tangga or stock Alembic on a database, within the bound."""
        call = ["-c", _TANGGA] if program == "tangga" else ["-m", "alembic"]
        where = ["-c", self._options.config, *(["-n", self._options.name] if self._options.name else [])]
        if self._options.flask:
            call, where = (call if program == "tangga" else ["-m", "flask", "db"]), []
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        try:
            ended = subprocess.run(
                [self._options.python, *call, *where, *arguments],
                cwd=self._options.folder / self._options.under, env=self._environment(database),
                capture_output=True, text=True, errors="replace", timeout=self._options.seconds, check=False,
            )  # fmt: skip
            code, printed = ended.returncode, ended.stdout + ended.stderr
        except subprocess.TimeoutExpired:
            code, printed = None, f"no end within {self._options.seconds} s"
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return Ran(code, printed, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    def _environment(self, database: str) -> dict[str, str]:
        at = self._server.set(database=database, drivername=self._options.driver)
        url = at.render_as_string(hide_password=False)
        words = {
            "url": url, "host": str(at.host), "port": str(at.port), "user": str(at.username),
            "password": str(at.password), "database": database, "folder": str(self._options.folder),
        }  # fmt: skip
        own = dict(each.partition("=")[::2] for each in self._options.set)
        scratch = self._server.set(drivername=f"postgresql+{self._options.scratch_driver}")
        path = [str(self._options.folder / self._options.under), "services/migrate"]
        return {
            "PATH": f"{Path(self._options.python).parent}:{os.environ['PATH']}", "HOME": str(self._options.folder),
            "PYTHONPATH": ":".join(str(Path(each).resolve()) for each in path),
            "DATABASE_URL": self._options.url or url, "MIGRATE_SAVE_DIR": f"{self._options.folder}/saved",
            "SCRATCH_URL": scratch.render_as_string(hide_password=False),
            **{name: value.format(**words) for name, value in own.items()},
        }  # fmt: skip

    def make(self, database: str) -> None:
        """Make a database, with the extensions that the project takes for granted."""
        self._sql("postgres", f"CREATE DATABASE {database}")
        for statement in self._options.before:
            self._sql(database, statement)

    def _sql(self, database: str, statement: str) -> None:
        engine = create_engine(self._server.set(database=database), isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with engine.connect() as connection:
            connection.execute(text(statement))

    def dump(self, database: str) -> str:
        """Return the schema, without tangga's own tables and what pg_dump makes up anew each time."""
        engine = create_engine(self._server.set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=NullPool)
        program = (
            f"pg_dump --schema-only -U {self._server.username} -T migration_log -T migration_backfill -d {database}"
        )
        with engine.connect() as connection:
            connection.execute(text("CREATE TEMPORARY TABLE printed (n serial, line text)"))
            connection.exec_driver_sql(
                f"COPY printed (line) FROM PROGRAM '{program}' WITH (FORMAT csv, DELIMITER e'\\x01', QUOTE e'\\x02')"
            )
            lines = connection.scalars(text("SELECT line FROM printed ORDER BY n")).all()
        lines = [line or "" for line in lines if not re.match(r"\\(un)?restrict|--|SET ", line or "--")]
        return "\n".join(line for line in lines if "migration_" not in line or "tangga" not in line)


def judged(ran: Ran, *also: int, right: bool = True) -> str:
    """Return what a command was: by its exit code, and, if it was done, by what came of it."""
    if ran.code in (_DONE, *also):
        return "right" if right else "wrong"
    # A refusal has a remedy; 1 is the interpreter's, 3 a step that fails.
    return "refused" if ran.code not in (None, 1) and re.search(r"^\s+do: ", ran.printed, re.M) else "wrong"


def _main() -> None:
    options = _options()
    if options.plain:
        _make_plain(options)
    with container.throwaway(options.image, options.major) as server:
        theirs = Theirs(options, server.url)
        print(f"{options.folder.name}: {'command':<12} {'':<8} {'cpu':>8}  what it says", flush=True)
        for database in ("live", "stock"):
            theirs.make(database)
        _matrix(theirs)


def _make_plain(options: argparse.Namespace) -> None:
    """Put a plain env.py and a configuration into the copy: for steps whose own env.py wants the whole application."""
    (options.folder / options.plain / "env.py").write_text(_ENV)
    options.config = str(options.folder / "plain.ini")
    Path(options.config).write_text(
        f"[alembic]\nscript_location = {options.folder / options.plain}\npath_separator = os\n"
        f"prepend_sys_path = {options.folder / options.under}\n"
    )


def _matrix(theirs: Theirs) -> None:
    heads = re.findall(r"^(\S+) .*\(head\)", theirs.run("alembic", "heads").printed, re.M)
    steps = len(re.findall(r"^(?!\s).* -> ", theirs.run("alembic", "history").printed, re.M))
    start = time.monotonic()
    theirs.run("tangga", "lint")  # so that what it imports is compiled: the first of all commands does that
    _line("lint", ran := theirs.run("tangga", "lint"), judged(ran, _FINDINGS))
    ran, said = _with_baseline(theirs, heads)
    _line("baseline", ran, judged(ran, _FINDINGS, right=said is not None), said or "")
    ran = theirs.run("tangga", "history")
    named = len(re.findall(r"^(?!\s).* -> ", ran.printed, re.M))
    _line("history", ran, judged(ran, right=named == steps), f"{named} of {steps} steps")
    stock = theirs.run("alembic", "upgrade", "heads", database="stock")
    _line("(stock up)", stock, "ended" if stock.code == 0 else "failed")
    _line("graph", ran := theirs.run("tangga", "graph"), judged(ran))
    _line("plan", ran := theirs.run("tangga", "plan", "heads"), judged(ran))
    _line("verify", ran := theirs.run("tangga", "verify", "--rows", "5"), judged(ran, _FINDINGS, _UNPROVEN))
    ran = theirs.run("tangga", "upgrade", "heads")
    # A step that ends its transaction itself may be lost with exit code 0.
    at_head = theirs.run("alembic", "current").printed.count("(head)") == len(heads)
    same = ran.code == 0 and at_head and (stock.code != 0 or theirs.dump("live") == theirs.dump("stock"))
    _line("upgrade", ran, "as stock" if stock.code and ran.code else judged(ran, right=same))
    _line("drift", ran := theirs.run("tangga", "drift"), judged(ran, _DRIFT))
    before = theirs.dump("live")
    down, up = theirs.run("tangga", "downgrade", "-1"), theirs.run("tangga", "upgrade", "heads")
    ran = down if down.code else up
    _line("downgrade", ran, judged(ran, right=theirs.dump("live") == before))
    if heads:
        _line("squash", ran := theirs.run("tangga", "squash", heads[0]), judged(ran))
    print(f"{steps} steps, {time.monotonic() - start:.0f} s", flush=True)


def _with_baseline(theirs: Theirs, heads: list[str]) -> tuple[Ran, str | None]:
    """Accept all that lint finds, then plant a step that drops a table: the first has no finding, the second one.

    Return the last run, and what was found; None if it was anything else.
    """
    theirs.run("tangga", "lint", "--baseline", "accepted", "--write-baseline")
    ran = theirs.run("tangga", "lint", "--baseline", "accepted", "--format", "json")
    beside = re.search(r"^Path: (.+)$", theirs.run("alembic", "show", heads[0]).printed, re.M) if heads else None
    if _findings(ran) or not beside:
        return ran, None
    planted = Path(beside[1]).with_name("planted.py")
    planted.write_text(_PLANTED.format(heads=heads))
    ran = theirs.run("tangga", "lint", "--baseline", "accepted", "--format", "json")
    planted.unlink()
    right = [(each["rule"], Path(each["file"]).name) for each in _findings(ran)] == [("ban-drop-table", planted.name)]
    return ran, "0 findings; with a planted step: ban-drop-table in it" if right else None


def _findings(ran: Ran) -> list[dict[str, str]]:
    """Return what lint has found and nobody has accepted; before it comes what the steps print."""
    start = re.search(r"^\[", ran.printed, re.M)
    found = json.JSONDecoder().raw_decode(ran.printed, start.start())[0] if start else []
    return [each for each in found if each["exception"] is None]


def _line(command: str, ran: Ran, verdict: str, said: str = "") -> None:
    print(f"  {command:<12} {verdict:<8} {ran.seconds:7.1f}s  {said or ran.reason}", flush=True)
    if path := os.environ.get("MATRIX_LOG"):
        with Path(path).open("a") as log:
            log.write(f"===== {command} {ran.code}\n{ran.printed}\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("python")
    parser.add_argument("--under", default=".", help="the folder in it from which Alembic is run")
    parser.add_argument("--config", default="alembic.ini")
    parser.add_argument("--flask", action="store_true", help="Flask-Migrate's: stock Alembic is `flask db` there")
    parser.add_argument("--name", help="the section of the configuration")
    parser.add_argument("--url", help="DATABASE_URL, if it is not the throwaway database's")
    parser.add_argument("--driver", default="postgresql", help="the driver's name in the URLs that env.py is given")
    parser.add_argument("--scratch-driver", default="psycopg2")
    parser.add_argument(
        "--set", action="append", default=[], help="NAME=VALUE, in which {url} {host} ... are filled in"
    )
    parser.add_argument("--plain", type=Path, help="the folder of the steps, for an env.py and a configuration of ours")
    parser.add_argument("--before", action="append", default=[], help="SQL that runs first in each database")
    parser.add_argument("--image", help="of the server")
    parser.add_argument("--major", help="of PostgreSQL")
    parser.add_argument("--seconds", type=int, default=300, help="the bound of each command")
    return parser.parse_args()


if __name__ == "__main__":
    _main()

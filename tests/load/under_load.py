"""Migrations under live traffic: each operation in its safe form and in its naive one, measured the same way.

Run by scripts/under-load.sh, which says what it needs. Targets: no safe form harms a request, and a naive one does. One
that is missed is printed; with --strict it is the exit code too.
"""

import argparse
import json
import math
import os
import platform
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.load import plot
from tests.load.loadtest import keep_connections
from tests.load.traffic import Answer, Traffic, Writer
from tests.stack.conftest import OWNER, Stack, copy_tree, wait_for

USERS, WRITERS, VOTES = 1000, 10, 1000
REST = 2.0  # seconds of traffic before and after each step; of traffic without a step, four times as long

# How a person without this stack runs it: no time-outs. {n} in names: both forms are steps of one staircase.
SLACK = 0.5  # seconds that a request may take beyond lock_timeout
_NAIVE = 'lock_timeout = "0"\nstatement_timeout = "0"\n'
# Operation -> (safe form, naive form). Both end with the same schema and data.
OPERATIONS = {
    "nullable column": (
        'safe.add_column("posts", sa.Column("catatan_safe", sa.String()))',
        'op.add_column("posts", sa.Column("catatan_naive", sa.String()))',
    ),
    # The default stays in both: the running API, which does not know the column, goes on inserting.
    "NOT NULL column": (
        """judul = sa.Column("judul_safe", sa.String(), nullable=False)
    safe.add_column("posts", judul, fill="''", keep_default=True)""",
        """op.add_column("posts", sa.Column("judul_naive", sa.String()))
    op.execute("UPDATE posts SET judul_naive = ''")
    op.alter_column("posts", "judul_naive", nullable=False, server_default="")""",
    ),
    "index": (
        'safe.create_index("ix_posts_owner_id_safe", "posts", ["owner_id"])',
        'op.create_index("ix_posts_owner_id_naive", "posts", ["owner_id"])',
    ),
    "foreign key": (
        'safe.add_foreign_key("fk_posts_safe", "posts", "users", ["owner_id"], ["id"])',
        'op.create_foreign_key("fk_posts_naive", "posts", "users", ["owner_id"], ["id"])',
    ),
    "backfill": (
        'safe.backfill("posts", "catatan_safe = nama", where="catatan_safe IS NULL")',
        'op.execute("UPDATE posts SET catatan_naive = nama WHERE catatan_naive IS NULL")',
    ),
}

# What makes naive forms hurt in life: a transaction that has read the table and written a row, and is not done yet. It
# goes on for some seconds from the moment at which the migrator waits for it, or has been there for as long.
_JOB = """
BEGIN;
SELECT count(*) FROM posts;
INSERT INTO posts (nama, umur, alamat, owner_id) VALUES ('a job', 1, '', {users});
DO $$
BEGIN
    FOR i IN 1..600 LOOP
        PERFORM pg_stat_clear_snapshot();
        EXIT WHEN EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'tangga-migrate');
        PERFORM pg_sleep(0.1);
    END LOOP;
    FOR i IN 1..{seconds} * 10 LOOP
        PERFORM pg_stat_clear_snapshot();
        EXIT WHEN EXISTS (
            SELECT FROM pg_stat_activity WHERE application_name = 'tangga-migrate' AND wait_event_type = 'Lock'
        );
        PERFORM pg_sleep(0.1);
    END LOOP;
END $$;
SELECT pg_sleep({seconds});
COMMIT;
"""
_JOB_HOLDS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'job' AND query LIKE '%pg_sleep%'"


@dataclass
class Phase:
    """Traffic during one step (or none). Times in seconds since the traffic's start."""

    operation: str
    form: str
    step_began: float
    step_ended: float
    output: str
    answers: list[Answer] = field(default_factory=list)

    @property
    def failed(self) -> int:
        return sum(answer.failed for answer in self.answers)

    @property
    def slowest(self) -> float:
        return self.quantile(1)

    def quantile(self, share: float) -> float:
        """Return the latency that this share of the requests did not exceed."""
        seconds = sorted(answer.seconds for answer in self.answers)
        return seconds[max(0, math.ceil(share * len(seconds)) - 1)]


def plant_steps(stack: Stack, naive: Collection[str]) -> list[tuple[str, str, str]]:
    """Write the steps into the stack's copy of the tree, one upon another; return (operation, form, revision).

    `naive`: the operations whose naive form is wanted too.
    """
    planted: list[tuple[str, str, str]] = []
    down = stack.revision()
    for operation, bodies in OPERATIONS.items():
        for form, body in zip(("safe", "naive"), bodies, strict=True):
            if form == "naive" and operation not in naive:
                continue
            revision = f"10ad{len(planted):08d}"
            stack.plant(
                revision, body, "raise NotImplementedError", after=down, title=f"{operation}, {form}",
                attributes=_NAIVE if form == "naive" else "",
            )  # fmt: skip
            planted.append((operation, form, revision))
            down = revision
    # The API goes on as the release before these steps: its container keeps the image from which it was made.
    stack.compose("build", "migrate")
    return planted


def fill(stack: Stack, posts: int) -> list[Writer]:
    """Make users (a few can log in), posts and votes; return the writers."""
    headers = [stack.log_in(f"writer{n}@example.com") for n in range(1, WRITERS + 1)]
    stack.sql(
        f"""
        SET session_replication_role = replica; -- foreign keys hold by construction
        INSERT INTO users (email, password) SELECT 'u' || n || '@example.com', '!'
        FROM generate_series({WRITERS + 1}, {USERS}) n;
        INSERT INTO posts (nama, umur, alamat, owner_id)
        SELECT 'Post ' || n, n % 90, 'Jl. Melati ' || n, 1 + n % {USERS} FROM generate_series(1, {posts}) n;
        INSERT INTO votes SELECT n, n * ({posts} / {VOTES}) FROM generate_series(1, {VOTES}) n;
        """,
        user="postgres",
    )
    stack.sql("ANALYZE")
    return [Writer(each, range(USERS + n, posts + 1, USERS)) for n, each in enumerate(headers)]


def open_job(stack: Stack, seconds: float) -> subprocess.Popen[str]:
    """Start the job, and wait until it holds what it holds."""
    job = subprocess.Popen(
        ["docker", "compose", "exec", "-T", "-e", "PGAPPNAME=job", "db", "psql", "-Xq", "-U", OWNER, "-d", "tangga"],
        cwd=stack.folder, env=stack.env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert job.stdin is not None
    job.stdin.write(_JOB.format(users=USERS, seconds=seconds))
    job.stdin.close()
    wait_for(lambda: stack.sql(_JOB_HOLDS) == "1", "the job to hold the table")
    return job


def run_step(stack: Stack, traffic: Traffic, operation: str, form: str, revision: str, hold: float) -> Phase:
    """Run one step by the migrate container, with the job's transaction open, under traffic."""
    # Rows as dense, and statistics as fresh, as before the other steps.
    for statement in ("VACUUM (FULL, ANALYZE) posts", "CHECKPOINT"):
        stack.sql(statement, user="postgres")
    began = time.monotonic()
    with traffic:
        time.sleep(REST)
        wait_for(lambda: len(traffic.answers) > 0, "an answer before the step")
        job = open_job(stack, hold)
        step_began = time.monotonic()
        output = stack.ok(
            "docker", "compose", "run", "--rm", "--no-deps", "-T", "migrate", "alembic", "upgrade", revision
        )
        step_ended = time.monotonic()
        job.wait()
        time.sleep(REST)
        # On a busy machine requests are sent later than they are due.
        wait_for(lambda: any(each.due > step_ended for each in traffic.answers), "an answer after the step")
    return _phase(operation, form, began, step_began, step_ended, output, traffic)


def run_nothing(traffic: Traffic) -> Phase:
    """The same traffic, and no step."""
    began = time.monotonic()
    with traffic:
        time.sleep(4 * REST)
    return _phase("none", "", began, began, began, "", traffic)


def quiet_phase(traffic: Callable[[], Traffic], tries: int) -> Phase:
    """Return traffic without a step, once none of it is slower than SLACK: else the machine would be measured."""
    for _ in range(tries):
        phase = run_nothing(traffic())
        _print(phase)
        if not phase.failed and phase.slowest <= SLACK:
            return phase
    print(
        f"Note: without any step, a request took {phase.slowest:.2f} s: the machine is too busy to measure.\n"
        "   do: end what else runs on it, or ask for fewer requests (--rate)"
    )
    return phase


def _phase(
    operation: str, form: str, began: float, step_began: float, step_ended: float, output: str, traffic: Traffic
) -> Phase:
    for answer in traffic.answers:
        answer.due -= began
    traffic.answers.sort(key=lambda answer: answer.due)
    return Phase(operation, form, step_began - began, step_ended - began, output, traffic.answers)


def lock_timeout(stack: Stack) -> float:
    """Return the lock_timeout with which the stack migrates, in seconds."""
    settings = json.loads(stack.compose("config", "--format", "json"))
    return float(settings["services"]["migrate"]["environment"]["MIGRATE_LOCK_TIMEOUT"])


def measure(
    stack: Stack, posts: int, rate: float, hold: int, naive: Collection[str]
) -> tuple[dict[str, Any], list[Phase]]:
    """Return how it was measured, and what was."""
    print("making a stack of its own\n", flush=True)
    keep_connections(stack)
    stack.make("up")
    how = {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "cores": os.cpu_count(),
        "load before": round(os.getloadavg()[0], 1),
        "machine": platform.platform(),
        "engine": stack.ok("docker", "version", "--format", "{{.Server.Version}}").strip(),
        "PostgreSQL": stack.sql("SHOW server_version"),
        "posts": posts,
        "requests a second": rate,
        "job holds, s": hold,
        "lock_timeout, s": lock_timeout(stack),
    }
    for name, value in how.items():
        print(f"{name:<22}{value}", flush=True)
    writers = fill(stack, posts)
    steps = plant_steps(stack, naive)

    print(f"\n{'operation':<17}{'form':<7}{'step, s':>8}{'requests':>10}{'failed':>8}", end="")
    print(f"{'slowest, s':>12}{'p99, ms':>10}{'p50, ms':>9}")

    def traffic() -> Traffic:
        return Traffic(stack.url, rate, posts, USERS, writers)

    phases = [quiet_phase(traffic, 10 if len(naive) > 1 else 1)]
    for operation, form, revision in steps:
        phases.append(run_step(stack, traffic(), operation, form, revision, hold))
        _print(phases[-1])
    return how, phases


def _print(phase: Phase) -> None:
    p99, p50 = phase.quantile(0.99) * 1000, phase.quantile(0.5) * 1000
    print(
        f"{phase.operation:<17}{phase.form:<7}{phase.step_ended - phase.step_began:>8.1f}{len(phase.answers):>10}"
        f"{phase.failed:>8}{phase.slowest:>12.2f}{p99:>10.0f}{p50:>9.1f}",
        flush=True,
    )


def verdict(phases: list[Phase], bound: float) -> list[str]:
    """Return what was not as it should be: safe forms within the bound (in seconds), a naive form beyond it."""

    def harmed(phase: Phase) -> bool:
        return phase.failed > 0 or phase.slowest > bound

    wrong = [
        f"{phase.operation}, {phase.form or 'no step'}: {phase.failed} requests failed, the slowest took "
        f"{phase.slowest:.2f} s (bound: {bound:.2f} s)"
        for phase in phases
        if phase.form != "naive" and harmed(phase)
    ]
    if not any(harmed(phase) for phase in phases if phase.form == "naive"):
        wrong.append("no naive form harmed a request, so this run shows nothing: take more rows")
    return wrong


def fell_behind(phases: list[Phase], rate: float) -> list[str]:
    """Return the phases in which fewer requests were sent than five in six of those that were due."""
    lines = []
    for phase in phases:
        reached = len(phase.answers) / max(phase.answers[-1].due - phase.answers[0].due, 1 / rate)
        if reached < rate * 5 / 6:
            lines.append(f"{phase.operation}, {phase.form or 'no step'}: {reached:.0f} requests a second of {rate:g}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/under-load.sh", description=__doc__)
    parser.add_argument("posts", type=int, nargs="?", default=1_000_000, help="rows of the table (1000000)")
    parser.add_argument("--rate", type=float, default=60, help="requests a second (60)")
    parser.add_argument("--strict", action="store_true", help="end with 1 if a target is missed")
    parser.add_argument("--hold", type=int, default=4, help="seconds that the job's transaction stays open (4)")
    parser.add_argument(
        "--short", action="store_true", help="of the naive forms only the first, which is enough for CI"
    )
    parser.add_argument("--json", type=Path, help="write every request to this file")
    parser.add_argument("--plot", type=Path, help="draw latency over time into this file (SVG)")
    options = parser.parse_args()
    # docker stop, kill: clean up as on Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="tangga-under-load-") as folder:
        copy_tree(Path(folder))
        stack = Stack(Path(folder), f"tangga-under-load-{os.getpid()}")
        try:
            naive = [*OPERATIONS][:1] if options.short else OPERATIONS
            how, phases = measure(stack, options.posts, options.rate, options.hold, naive)
        except AssertionError as problem:
            raise SystemExit(f"error: {problem}") from None
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        finally:
            stack.remove()
    raw = {"how": how, "phases": [asdict(phase) for phase in phases]}
    if options.json:
        options.json.write_text(json.dumps(raw))
    bound = how["lock_timeout, s"] + SLACK
    if options.plot:
        plot.draw(raw, bound, options.plot)
        print(f"\nlatency over time: {options.plot}")
    missed = verdict(phases, bound) + fell_behind(phases, options.rate)
    print("\n".join(["", *(f"Missed: {line}" for line in missed)]))
    if not missed:
        print(f"All targets are met. Safe forms: 0 failed, none slower than lock_timeout + {SLACK} s = {bound} s.")
    if missed and options.strict:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

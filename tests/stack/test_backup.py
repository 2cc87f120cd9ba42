"""make backup, restore and their like: what comes back is what was there, row by row, and nothing that fails costs anything."""

import json
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import httpx2
import pytest

from tests.databases import PATIENCE
from tests.migrations.staircase import HEAD, V9
from tests.stack.conftest import REPOSITORY, Stack, killing_docker, wait_for
from tests.stack.test_failures import Traffic

BEGAN = datetime.now().astimezone()
POSTS = int(os.environ.get("BACKUP_POSTS", "20000"))
FILL = f"""
INSERT INTO users (email, password) SELECT 'u' || n || '@example.com', md5(n::text) FROM generate_series(1, 100) AS n;
INSERT INTO posts (nama, umur, alamat, owner_id, published, no_hp, created_at)
SELECT 'Nama ' || md5(n::text), n % 90, E'Jalan\\t"' || n || E'"\\n é', 1 + n % 100, n % 7 <> 0,
       CASE WHEN n % 3 = 0 THEN '08' || n END, now() - n * interval '1.000001 s'
FROM generate_series(1, {POSTS}) AS n;
INSERT INTO votes (user_id, post_id) SELECT 1 + n * 7 % 100, n FROM generate_series(1, {POSTS}, 2) AS n;
"""


def rows(stack: Stack) -> str:
    """Return a checksum of each table's rows as COPY prints them, in order: not the way in which a backup is compared."""
    script = """
    for table in users posts votes; do
      psql -XqAt -U postgres -d tangga -c "COPY (SELECT * FROM $table ORDER BY 1, 2) TO STDOUT" | sha256sum
    done"""
    return stack.compose("exec", "-T", "db", "bash", "-euo", "pipefail", "-c", script)


def databases(stack: Stack) -> list[str]:
    names = stack.sql("SELECT datname FROM pg_database WHERE datname LIKE 'tangga%' ORDER BY 1", "postgres")
    return names.splitlines()


def backups(stack: Stack) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(stack.make("backups", "json=1"))
    return found


def newest(stack: Stack) -> Path:
    return stack.folder / "backups" / str(backups(stack)[0]["file"])


@pytest.fixture(scope="module")
def filled(stack: Stack) -> Stack:
    """Rows, and a backup of them."""
    stack.compose(
        "exec", "-T", "db", "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-U", "tangga_owner", "-d", "tangga", "-c", FILL
    )
    stack.make("backup")
    return stack


@contextmanager
def override(stack: Stack, text: str) -> Iterator[None]:
    file = stack.folder / "compose.override.yaml"
    file.write_text(text)
    try:
        yield
    finally:
        file.unlink()


def test_a_backup_and_its_manifest(filled: Stack) -> None:
    dump = newest(filled)
    manifest = json.loads(dump.with_suffix(".json").read_text())
    assert re.fullmatch(rf"tangga-\d{{8}}T\d{{6}}Z-{HEAD}\.dump", dump.name)
    assert manifest["file"] == dump.name
    assert manifest["database"] == "tangga"
    assert manifest["revision"] == HEAD
    assert manifest["image_version"] == "latest"
    assert manifest["bytes"] == dump.stat().st_size
    assert manifest["tables"]["public.posts"]["rows"] == POSTS
    assert manifest["sequences"]["public.posts_id_seq"] == POSTS
    assert BEGAN <= datetime.fromisoformat(manifest["created_at"]) <= datetime.now().astimezone()
    # To whoever reads it, a dump is as good as the database. The migrator's group, which is nobody's here, reads manifests.
    assert stat.S_IMODE(dump.stat().st_mode) == 0o600
    assert dump.stat().st_uid == os.getuid()
    assert (stat.S_IMODE(dump.parent.stat().st_mode), dump.parent.stat().st_gid) == (0o750, 10001)
    assert re.search(rf" +{POSTS:,}|whole +{dump.name}", filled.make("backups"))


def test_total_loss(filled: Stack) -> None:
    before = rows(filled)
    verified = filled.make("backup-verify")
    assert "every table has the rows that it had" in verified
    assert backups(filled)[0]["verified_at"]

    filled.make("down")
    filled.ok("docker", "volume", "rm", f"{filled.name}_db-data")
    filled.make("up")
    assert rows(filled) != before
    # Nothing to lose, so nothing is asked.
    print(verified, filled.make("restore", "f=newest"))
    assert rows(filled) == before
    assert filled.get("/readyz").status_code == 200
    headers = filled.log_in("after-the-loss@example.com")
    body = {"nama": "Ani", "umur": 1, "alamat": ""}
    created = httpx2.post(f"{filled.url}/posts", headers=headers, json=body, timeout=PATIENCE).json()
    assert created["id"] == POSTS + 1
    # The rights are those of before: the app still cannot touch what migrators keep.
    refused = filled.run(
        "docker",
        "compose",
        "exec",
        "-T",
        "db",
        "psql",
        "-U",
        "tangga_app",
        "-d",
        "tangga",
        "-c",
        "DELETE FROM alembic_version",
    )
    assert "permission denied" in refused.stdout
    filled.make("restore-confirm")
    assert databases(filled) == ["tangga"]
    (operation,) = [
        line for line in map(json.loads, (filled.folder / ".deploy/log.jsonl").read_text().splitlines())
        if line["action"] == "restore"
    ]  # fmt: skip
    assert operation["outcome"] == "ok"


def test_a_restore_under_traffic_and_back(filled: Stack) -> None:
    wanted = rows(filled)
    print(filled.make("backup"), filled.make("backups"))
    filled.sql("DELETE FROM posts WHERE id % 2 = 0")
    changed = rows(filled)
    refused = filled.run("make", "restore", "f=newest")
    assert refused.returncode != 0
    assert "yes=1" in refused.stdout
    assert databases(filled) == ["tangga"]
    with Traffic(filled.url) as traffic:
        filled.make("restore", "f=newest", "yes=1")
        assert rows(filled) == wanted
        filled.make("restore-undo")
    assert rows(filled) == changed
    print(f"{traffic.good} reads answered, {len(traffic.bad)} with 503")
    assert traffic.good > 100
    # Each swap ends the sessions that are in it; a request that was just being answered may notice.
    assert len(traffic.bad) <= 4, traffic.bad
    assert set(traffic.bad) <= {"503"}
    assert len(databases(filled)) == 2
    filled.make("restore-confirm")
    assert databases(filled) == ["tangga"]


@pytest.fixture(scope="module")
def whole(filled: Stack) -> tuple[Path, str]:
    """The newest backup, and the rows that the database has now."""
    return newest(filled), rows(filled)


def _flip_a_byte(dump: Path) -> None:
    content = bytearray(dump.read_bytes())
    content[len(content) // 2] ^= 1
    dump.write_bytes(content)


def _edit_manifest(dump: Path, old: str, new: str) -> None:
    file = dump.with_suffix(".json")
    text = file.read_text()
    changed = re.sub(old, new, text)
    assert changed != text
    file.write_text(changed)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_flip_a_byte, "is damaged"),
        (lambda dump: os.truncate(dump, dump.stat().st_size // 2), "is damaged"),
        (lambda dump: dump.with_suffix(".json").unlink(), "has no manifest"),
        (lambda dump: dump.unlink(), "its dump is not"),
        (lambda dump: _edit_manifest(dump, '"digest": "-?\\d', '"digest": "0'), "is not what the manifest describes: public."),
        (lambda dump: _edit_manifest(dump, '"count": 0', '"count": 1'), "is not what the manifest describes: large objects"),
        (lambda dump: _edit_manifest(dump, f'"revision": "{HEAD}"', '"revision": "0123456789ab"'), "deploy the image that made it (TAG=latest)"),
        (lambda dump: _edit_manifest(dump, '"server_version": "1', '"server_version": "91'), "made by PostgreSQL 91"),
        (lambda dump: _edit_manifest(dump, '"database_bytes": ', '"database_bytes": 9999999'), "make room there"),
    ],
    ids=["a byte", "truncated", "no manifest", "no dump", "other rows", "a large object less", "newer revision", "newer server", "no room"],
)  # fmt: skip
def test_what_cannot_be_restored_is_refused(filled: Stack, whole: tuple[Path, str], damage: object, said: str) -> None:
    assert callable(damage)
    dump, before = whole
    kept = [(file, file.read_bytes()) for file in (dump, dump.with_suffix(".json"))]
    try:
        damage(dump)
        refused = filled.run("make", "restore", f"f={dump.name}", "yes=1")
    finally:
        for file, content in kept:
            file.write_bytes(content)
    assert refused.returncode != 0
    assert said in refused.stdout
    assert re.search(r"^ +do: ", refused.stdout, re.M)
    assert databases(filled) == ["tangga"]
    assert rows(filled) == before


def test_a_backup_of_an_older_revision_is_migrated(filled: Stack) -> None:
    filled.make("rollback", "yes=1")
    filled.make("backup")
    filled.make("migrate")
    before = rows(filled)
    assert f"-{V9}.dump" in newest(filled).name
    filled.make("restore", "f=newest", "yes=1")
    assert filled.revision() == HEAD
    assert rows(filled) == before
    filled.make("restore-confirm")


def test_a_full_disk_leaves_the_older_backups_whole(filled: Stack) -> None:
    filled.make("backup")
    size = newest(filled).stat().st_size * 3 // 2
    small = {
        "type": "tmpfs",
        "device": "tmpfs",
        "o": f"size={size},uid={os.getuid()},gid={os.getgid()},mode=0700",
    }
    text = f"""
services: {{ backup: {{ volumes: ["small:/backups"] }} }}
volumes: {{ small: {{ driver_opts: {json.dumps(small)} }} }}
"""
    with override(filled, text):

        def in_backup(*command: str) -> str:
            return filled.compose("--progress", "quiet", "run", "--rm", "-T", "backup", *command)

        # The volume is there as long as a container uses it.
        filled.compose(
            "run", "--detach", "--rm", "--name", f"{filled.name}-holder", "--entrypoint", "sleep 300", "backup"
        )
        try:
            filled.make("backup")
            before = json.loads(in_backup("list", "--json"))
            failed = filled.run("make", "backup")
            assert failed.returncode != 0
            assert "error: the dump failed: could not write to output file: No space left on device" in failed.stdout
            assert json.loads(in_backup("list", "--json")) == before
            assert [backup["state"] for backup in before] == ["whole"]
            in_backup("check", "newest")
            left = filled.ok("docker", "exec", f"{filled.name}-holder", "ls", "-A", "/backups").split()
            assert left == [".lock", before[0]["file"], before[0]["file"].replace(".dump", ".json")]
        finally:
            filled.ok("docker", "rm", "--force", f"{filled.name}-holder")
    filled.ok("docker", "volume", "rm", f"{filled.name}_small")


def test_a_restore_that_is_killed_leaves_one_whole_database(filled: Stack, tmp_path: Path) -> None:
    restored = rows(filled)
    filled.make("backup")
    filled.sql("UPDATE posts SET umur = umur + 1")
    changed = rows(filled)
    query = "SELECT datname FROM pg_database WHERE datname = 'tangga_restoring'"
    there = f'docker compose exec -T db psql -XqAt -U postgres -c "{query}" | grep -q .'
    for moment, first, live in (
        ("backup load", f'docker "$@" & until {there}; do :; done', changed),  # while it is restored
        ("backup swap", "", changed),
        ("backup swap", 'docker "$@"', restored),  # the swap is done
    ):
        path = killing_docker(tmp_path, moment, first)
        killed = filled.run("setsid", "--wait", "make", "restore", "f=newest", "yes=1", PATH=path)
        assert killed.returncode != 0
        kill_containers(filled, "backup")
        assert ("tangga_restoring" in databases(filled)) is (live == changed)
        assert rows(filled) == live, moment
        assert filled.get("/posts/1").status_code == 200
    # The next one is not hindered by what they have left.
    filled.make("restore", "f=newest", "yes=1")
    assert rows(filled) == restored
    filled.make("restore-confirm")
    assert databases(filled) == ["tangga"]


def kill_containers(stack: Stack, service: str) -> None:
    labels = (f"project={stack.name}", f"service={service}", "oneoff=True")
    filters = [word for label in labels for word in ("--filter", f"label=com.docker.compose.{label}")]
    for container in stack.ok("docker", "ps", "--quiet", *filters).split():
        stack.run("docker", "rm", "--force", container)


def test_no_step_without_a_backup_where_that_is_asked_for(filled: Stack) -> None:
    plain = ("docker", "compose", "run", "--rm", "-T", "migrate", "alembic", "upgrade", "head")

    def refused_for_want_of_one() -> None:
        refused = filled.run(*plain)
        assert refused.returncode == 14
        assert f"a backup of tangga at {V9}" in refused.stdout
        assert filled.revision() == V9

    for file in (filled.folder / "backups").glob(f"*-{V9}.*"):
        file.unlink()
    filled.make("backup")  # fresh, but of another revision
    # Not asked for: the step runs.
    filled.make("rollback", "yes=1")
    filled.ok(*plain)
    filled.set_env_file("BACKUP_BEFORE_MIGRATE", "true")
    try:
        # Nothing pending: nothing is asked.
        filled.ok(*plain)
        filled.make("rollback", "yes=1")
        refused_for_want_of_one()
        # One is made first; if that fails, no step runs.
        with override(filled, "services: { backup: { environment: { PGPORT: 5433 } } }\n"):
            for target in ("migrate", "up"):
                failed = filled.run("make", target)
                assert failed.returncode != 0
                assert "error: the database could not be read: " in failed.stdout
                assert filled.revision() == V9
        count = len(backups(filled))
        filled.make("up")
        assert filled.revision() == HEAD
        assert len(backups(filled)) == count + 1
        filled.make("rollback", "yes=1")
        dump = newest(filled)
        os.truncate(dump, dump.stat().st_size - 1)
        refused_for_want_of_one()
        dump.unlink()
        dump.with_suffix(".json").unlink()
        filled.make("migrate")
    finally:
        filled.set_env_file("BACKUP_BEFORE_MIGRATE", "false")


def test_only_the_newest_stay_and_the_newest_that_is_verified(filled: Stack) -> None:
    verified = newest(filled).name
    filled.compose("run", "--rm", "-T", "backup", "verified", verified)
    orphan = filled.folder / "backups" / f"tangga-20200101T000000Z-{HEAD}.dump"
    orphan.write_bytes(b"somebody's")
    for _ in range(2):
        filled.make("backup", "keep=1")
    found = {str(backup["file"]): backup["state"] for backup in backups(filled)}
    assert [*found.values()] == ["whole", "whole", "no manifest"]
    assert verified in found
    assert newest(filled).name != verified
    refused = filled.run("make", "backup", "keep=some")
    assert refused.returncode != 0
    assert "keep=some" in refused.stdout
    orphan.unlink()


def test_backups_by_the_clock(filled: Stack) -> None:
    for name, value in (("COMPOSE_PROFILES", "scheduled-backups"), ("BACKUP_EVERY", "5s"), ("BACKUP_KEEP", "2")):
        filled.set_env_file(name, value)
    before = {backup["file"] for backup in backups(filled)}
    secrets = re.findall(
        r"^(?:DB_PASS|DB_OWNER_PASS|POSTGRES_PASSWORD)=(.+)$", (filled.folder / ".env").read_text(), re.M
    )
    filled.make("up")
    try:
        seen: set[str] = set()

        def two_more() -> bool:
            processes = filled.ok("ps", "-eo", "args")
            assert not [secret for secret in secrets if secret in processes]
            seen.update(str(backup["file"]) for backup in backups(filled) if backup["state"] == "whole")
            return len(seen - before) >= 2

        wait_for(two_more, "two backups")
        wait_for(lambda: filled.inspect("scheduled-backups", "{{.State.Health.Status}}") == "healthy", "health")
        filled.compose("stop", "scheduled-backups")
        # BACKUP_KEEP, the newest verified one, and one more if it was stopped before it came to delete.
        assert len(backups(filled)) <= 4
        stale = ("run", "--rm", "-T", "-e", "BACKUP_EVERY=1s", "scheduled-backups", "fresh")
        wait_for(lambda: filled.run("docker", "compose", *stale).returncode == 1, "a backup that is too old")
        assert "with BACKUP_EVERY=1s" in filled.run("docker", "compose", *stale).stdout
    finally:
        filled.compose("rm", "--stop", "--force", "scheduled-backups")
        filled.set_env_file("COMPOSE_PROFILES", "")


def test_two_at_once_take_turns(filled: Stack) -> None:
    count = len(backups(filled))
    running = [
        subprocess.Popen(["make", "backup", "keep=9"], cwd=filled.folder, env=filled.env, stdout=subprocess.DEVNULL)
        for _ in range(2)
    ]
    assert [process.wait(timeout=PATIENCE) for process in running] == [0, 0]
    assert count < len(backups(filled)) <= count + 2
    assert {backup["state"] for backup in backups(filled)} == {"whole"}


# What is said of so many tables with such names, six bytes of JSON for each control character, does not fit into one
# argument (128 KiB). BACKUP_PARTITIONS=10000 takes long: PostgreSQL looks at all partitions when one is attached.
PARTITIONS = int(os.environ.get("BACKUP_PARTITIONS", "400"))
MANY = f"""
CREATE TABLE day (id bigint, on_day date, PRIMARY KEY (id, on_day)) PARTITION BY RANGE (on_day);
SELECT format('CREATE TABLE %I PARTITION OF day FOR VALUES FROM (%L) TO (%L)', 'day_' || n || repeat(chr(1), 55), date '2000-01-01' + n, date '2000-01-02' + n)
FROM generate_series(1, {PARTITIONS}) AS n \\gexec
INSERT INTO day SELECT n, date '2000-01-01' + n FROM generate_series(1, {PARTITIONS}) AS n;
"""
# By the superuser, but for what the app and the owner make.
ODD = """
CREATE ROLE "Odd ""role";
CREATE ROLE grafana LOGIN;
GRANT USAGE ON SCHEMA public TO grafana;
ALTER DEFAULT PRIVILEGES FOR ROLE tangga_owner GRANT SELECT ON TABLES TO grafana;
CREATE SCHEMA "Other";
CREATE TABLE "Other"."the ""superuser's" (t text, id integer);
INSERT INTO "Other"."the ""superuser's" VALUES ('x', 1), ('x', 2);
CREATE TABLE "none" ();
CREATE EXTENSION postgres_fdw;
CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'far.example.test');
CREATE USER MAPPING FOR tangga_owner SERVER far OPTIONS (password 'of the mapping', user 'u');
CREATE FOREIGN TABLE far_away (id integer) SERVER far;
CREATE FUNCTION seen() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE EVENT TRIGGER seen ON ddl_command_end EXECUTE FUNCTION seen();
CREATE PUBLICATION everything FOR ALL TABLES;
CREATE SUBSCRIPTION feed CONNECTION 'host=far.example.test' PUBLICATION p WITH (connect = false);
SELECT lo_from_bytea(4001, convert_to(repeat('x', 5000), 'UTF8'));
ALTER LARGE OBJECT 4001 OWNER TO tangga_app;
-- With a hole, and zeros at its end.
DO $$ BEGIN PERFORM lo_create(4002); PERFORM lo_put(4002, 10000, 'abc\\000\\000'); END $$;
SET ROLE tangga_owner;
CREATE TABLE tenants (name text);
INSERT INTO tenants VALUES ('a'), ('b');
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON tenants TO "Odd ""role" USING (name = current_user);
-- Whoever reads this as text by a cast runs the owner's code.
CREATE TABLE spy (id integer);
INSERT INTO spy VALUES (1);
CREATE FUNCTION as_text(spy) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'run by %', current_user; END $$;
CREATE CAST (spy AS text) WITH FUNCTION as_text(spy);
"""
HELD = """
SELECT count(*), sum(id) FROM day;
TABLE "Other"."the ""superuser's";
SELECT count(*) FROM tenants;
SELECT oid, lomowner::regrole, encode(sha256(lo_get(oid)), 'hex') FROM pg_largeobject_metadata ORDER BY 1;
SELECT srvname, usename, umoptions FROM pg_user_mappings;
SELECT evtname, evtowner::regrole FROM pg_event_trigger;
SELECT pubname FROM pg_publication;
SELECT subname FROM pg_subscription JOIN pg_database AS d ON d.oid = subdbid WHERE datname = current_database();
SELECT polname, polroles::regrole[] FROM pg_policy;
SELECT relforcerowsecurity FROM pg_class WHERE relname = 'tenants';
SELECT has_schema_privilege('grafana', 'public', 'USAGE');
SELECT defaclobjtype, defaclacl FROM pg_default_acl WHERE defaclnamespace = 0 ORDER BY 1;
"""


def as_superuser(stack: Stack, script: str) -> str:
    """Run a script of psql, which `Stack.sql` cannot."""
    (stack.folder / "script.sql").write_text(script)
    stack.compose("cp", "script.sql", "db:/var/lib/postgresql/data/script.sql")
    return stack.compose(
        "exec", "-T", "db", "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "tangga",
        "-f", "/var/lib/postgresql/data/script.sql",
    )  # fmt: skip


def test_whatever_a_database_can_hold_comes_back(filled: Stack) -> None:
    as_superuser(filled, MANY + ODD)
    before = as_superuser(filled, HELD)
    # The app may lock what it may write; it does not keep a backup from being made.
    locked = "SET statement_timeout = 0; BEGIN; LOCK TABLE posts IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(3600)"
    password = f"PGPASSWORD={filled.setting('DB_PASS')}"
    app = ("psql", "-Xq", "-h", "127.0.0.1", "-U", "tangga_app", "-d", "tangga", "-c", locked)
    filled.compose("exec", "-T", "--detach", "--env", password, "db", *app)
    exclusive = "SELECT count(*) FROM pg_locks WHERE relation = 'posts'::regclass AND mode = 'AccessExclusiveLock'"
    wait_for(lambda: filled.sql(exclusive) == "1", "the app's lock")
    made = filled.make("backup", "keep=9")
    assert re.search(r"Ended a session of tangga_app \(process \d+\), which kept posts from being read", made), made
    # On a server that has none of these roles.
    verified = filled.make("backup-verify", "f=newest")
    assert 'Made roles that the backup names, without a log-in: Odd "role, grafana\n' in verified
    print(made, verified, filled.make("restore", "f=newest", "yes=1"))
    assert as_superuser(filled, HELD) == before
    # The one that is dropped has a subscription.
    filled.make("restore-confirm")
    assert databases(filled) == ["tangga"]
    # Where nobody can log in as the superuser, the owner reads, and what it may not read is named.
    filled.sql("ALTER ROLE postgres PASSWORD 'another'", "postgres")
    refused = filled.run("make", "backup")
    assert "error: the database could not be read: permission denied for schema Other" in refused.stdout
    assert 'GRANT pg_read_all_data TO "tangga_owner"' in refused.stdout


def test_the_page_names_the_exit_code() -> None:
    assert re.search(r"^\| 14 \| ", (REPOSITORY / "docs/operators.md").read_text(), re.M)

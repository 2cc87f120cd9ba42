"""make db-upgrade: the data on a server of another major version, equal row by row; until then the old one serves."""

import json
import os
import re
import stat
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.databases import PATIENCE
from tests.stack.conftest import OWNER, Stack, killing_docker, wait_for
from tests.stack.test_backup import FILL, rows
from tests.stack.test_failures import Traffic

BODY = {"nama": "Ani", "umur": 1, "alamat": ""}


def version(stack: Stack) -> str:
    return stack.sql("SHOW server_version").split(".")[0]


def volumes(stack: Stack) -> list[str]:
    """Return the volumes that hold a database, as .env calls them."""
    label = ("--filter", f"label=com.docker.compose.project={stack.name}")
    names = stack.ok("docker", "volume", "ls", "--quiet", *label).split()
    return sorted(name.removeprefix(f"{stack.name}_") for name in names if "_db-data" in name)


def setting(stack: Stack, name: str) -> str:
    return "".join(re.findall(rf"^{name}=(.*)$", (stack.folder / ".env").read_text(), re.M)[-1:])


def post(stack: Stack, headers: dict[str, str]) -> int:
    return httpx2.post(f"{stack.url}/posts", headers=headers, json=BODY, timeout=PATIENCE).status_code


def reads(stack: Stack) -> bool:
    return stack.get("/posts/1").status_code == 200


class Writer:
    """Posts, one after another, until stopped; notes how each was answered."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self.answers: dict[str, int] = {}
        self._url = url
        self._headers = headers
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with httpx2.Client(base_url=self._url, headers=self._headers, timeout=PATIENCE) as client:
            while not self._stop.wait(0.05):
                name = f"during {len(self.answers)}"
                self.answers[name] = client.post("/posts", json=BODY | {"nama": name}).status_code

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@contextmanager
def changed(file: Path, old: str, new: str) -> Iterator[None]:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))
    try:
        yield
    finally:
        file.write_text(text)


@pytest.fixture(scope="module")
def old(make_stack: Callable[[str], Stack]) -> Iterator[Stack]:
    """A stack with rows on PostgreSQL 15."""
    stack = make_stack("db-upgrade")
    for script in ("scripts/prepare/env.sh", "scripts/prepare/images.sh"):
        stack.ok(script)
    image = stack.ok("scripts/prepare/images.sh", "--postgres", "15").splitlines()[-1]
    stack.set_env_file("POSTGRES_IMAGE", image)
    stack.make("up")
    assert version(stack) == "15"
    fill = ("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-U", OWNER, "-d", "tangga", "-c", FILL)
    stack.compose("exec", "-T", "db", *fill)
    yield stack
    stack.remove()


def test_a_volume_of_another_major_is_named(old: Stack) -> None:
    seventeen = old.ok("scripts/prepare/images.sh", "--postgres", "17").splitlines()[-1]
    with old.changed_env_file(POSTGRES_IMAGE=seventeen):
        refused = old.run("make", "up")
    assert refused.returncode != 0
    assert (
        f"error: the volume db-data holds the data of PostgreSQL 15, and {seventeen} is PostgreSQL 17" in refused.stdout
    )
    assert "make db-upgrade to=17" in refused.stdout
    old.make("up")
    assert reads(old)


COPYING = (
    'docker compose exec -T db psql -XqAt -U postgres -c "SELECT 1 FROM pg_stat_activity'
    " WHERE application_name = 'pg_dump'\" | grep -q ."
)


# The copy is running; the old server has stopped, and .env still names it.
@pytest.mark.parametrize(
    ("moment", "first"),
    [("transfer.sh", f'docker "$@" & until {COPYING} || ! kill -0 $!; do :; done'), ("compose kill db", 'docker "$@"')],
    ids=["while it is copied", "before the switch"],
)
def test_a_kill_in_the_middle_leaves_the_old_volume_serving(
    old: Stack, tmp_path: Path, moment: str, first: str
) -> None:
    headers, before = old.log_in(), rows(old)
    path = killing_docker(tmp_path, moment, first)
    killed = old.run("setsid", "--wait", "make", "db-upgrade", "to=17", PATH=path)
    assert killed.returncode != 0
    assert setting(old, "DB_VOLUME") == ""
    if "kill" in moment:
        old.make("up")
    assert version(old) == "15"
    assert rows(old) == before
    assert reads(old)
    # Writers were kept out by a session that has ended with the script.
    wait_for(lambda: post(old, headers) == 201, "a write")
    # Whoever comes next notes its end.
    assert "Note: db-upgrade, started by " in old.run("make", "db-upgrade", "confirm=1").stdout
    ended = json.loads((old.folder / ".deploy/log.jsonl").read_text().splitlines()[-2])
    assert (ended["action"], ended["outcome"], ended["reason"]) == ("db-upgrade", "failed", "killed")


def test_who_loses_the_lock_does_not_switch(old: Stack) -> None:
    """Somebody ends the session that keeps writers out, and writes."""
    write = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tangga-db-upgrade' AND state LIKE 'idle in%'",
        "UPDATE posts SET umur = umur + 1 WHERE id = 7",
    )
    lines = "\n".join(f'from query -d "$database" -c "{statement}"' for statement in write)
    with changed(old.folder / "services/postgres/transfer.sh", "  # So that both stop at once.\n", f"{lines}\n"):
        refused = old.run("make", "db-upgrade", "to=17")
    assert refused.returncode != 0
    assert "error: the tables cannot be kept locked: " in refused.stdout
    assert (version(old), volumes(old), reads(old)) == ("15", ["db-data"], True)


def test_a_difference_stops_it(old: Stack) -> None:
    write = 'to query -d "$database" -c "UPDATE posts SET umur = umur + 1 WHERE id = 7"'
    with changed(old.folder / "services/postgres/transfer.sh", "  compare\n", f"{write}\ncompare\n"):
        refused = old.run("make", "db-upgrade", "to=17")
    assert refused.returncode != 0
    assert 'error: the rows of the two servers differ: "public.posts"' in refused.stdout
    with changed(
        old.folder / "services/postgres/transfer.sh",
        "  compare\n",
        'to query -d "$database" -c "ALTER TABLE posts ALTER nama DROP NOT NULL"\ncompare\n',
    ):
        refused = old.run("make", "db-upgrade", "to=17")
    assert refused.returncode != 0
    assert "error: the schemas of the two servers differ: " in refused.stdout
    assert (version(old), volumes(old), reads(old)) == ("15", ["db-data"], True)


def test_up_and_back_and_down(old: Stack) -> None:
    headers, before = old.log_in(), rows(old)
    with Traffic(old.url) as traffic:
        said = old.make("db-upgrade", "to=17")
    assert version(old) == "17"
    assert rows(old) == before
    assert "equal table by table" in said
    # While one server stops and the other starts, nothing else: reads went on during the copy.
    assert traffic.good > 50
    assert set(traffic.bad) <= {"503"}
    print(said, f"{traffic.good} reads answered, {len(traffic.bad)} with 503")
    assert post(old, headers) == 201
    new = setting(old, "DB_VOLUME")
    assert volumes(old) == ["db-data", new]
    assert stat.S_IMODE((old.folder / ".env").stat().st_mode) == 0o600

    for arguments, cause in (
        (("to=15",), "the volume of the last upgrade, db-data, is still kept"),
        (("back=1",), "what was written since the upgrade is not on the volume db-data"),
    ):
        refused = old.run("make", "db-upgrade", *arguments)
        assert refused.returncode != 0
        assert f"error: {cause}" in refused.stdout
    written = rows(old)
    old.make("db-upgrade", "back=1", "yes=1")
    assert (version(old), rows(old)) == ("15", before)
    # Nothing is lost for good until it is confirmed.
    old.make("db-upgrade", "back=1", "yes=1")
    assert (version(old), rows(old)) == ("17", written)
    old.make("db-upgrade", "confirm=1")
    assert volumes(old) == [new]

    with Writer(old.url, headers) as writer:
        said = old.make("db-upgrade", "to=15")
    print(said, Counter(writer.answers.values()))
    stored = set(old.sql("SELECT nama FROM posts WHERE nama LIKE 'during %'").splitlines())
    acknowledged = {name for name, status in writer.answers.items() if status == 201}
    assert acknowledged
    assert acknowledged <= stored
    assert set(writer.answers.values()) <= {201, 503, 504}
    old.sql("DELETE FROM posts WHERE nama LIKE 'during %'")
    assert (version(old), rows(old)) == ("15", written)
    old.make("db-upgrade", "confirm=1")
    assert len(volumes(old)) == 1
    old.make("up")
    assert post(old, headers) == 201
    # Roles and rights came along: the app still cannot touch what migrators keep.
    for user, right in ((OWNER, "t"), ("tangga_app", "f")):
        assert old.sql(f"SELECT has_table_privilege('{user}', 'alembic_version', 'UPDATE')") == right
    operations = [json.loads(line) for line in (old.folder / ".deploy/log.jsonl").read_text().splitlines()]
    upgrades = [
        (line["outcome"], line["from"][:13], line["to"][:13]) for line in operations if line["action"] == "db-upgrade"
    ]
    assert upgrades[-3:] == [
        ("ok", "PostgreSQL 15", "PostgreSQL 17"),
        ("failed", "", ""),
        ("ok", "PostgreSQL 17", "PostgreSQL 15"),
    ]


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("to=15",), "the database is PostgreSQL 15 already"),
        (("to=9",), "postgres:9-trixie is neither here nor to be pulled"),
        (("confirm=1",), "no volume from before an upgrade is kept"),
        (("back=1", "yes=1"), "no volume from before an upgrade is kept"),
    ],
)
def test_what_it_refuses(old: Stack, arguments: tuple[str, ...], cause: str) -> None:
    refused = old.run("make", "db-upgrade", *arguments)
    assert refused.returncode != 0
    assert f"error: {cause}" in refused.stdout
    assert os.linesep + "   do: " in refused.stdout

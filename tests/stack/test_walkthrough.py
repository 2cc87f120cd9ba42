"""The tutorial's walkthrough, in containers, on tables that hold 100,000 posts."""

import hashlib

import pytest

from tests.migrations.staircase import HEAD, V1, V2, V3, V4, V6
from tests.stack.conftest import Stack

POSTS = 100_000


class Walk:
    """The same command as plain Alembic in a container, or as a make target."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def alembic(self, *arguments: str) -> str:
        return self.stack.compose("run", "--rm", "-T", "migrate", "alembic", *arguments)

    def digest(self, *columns: str, table: str = "posts") -> str:
        """Every value of the columns, row by row, in order."""
        query = f"COPY (SELECT {', '.join(columns)} FROM {table} ORDER BY id) TO STDOUT"
        return hashlib.sha256(self.stack.sql(query).encode()).hexdigest()

    def count(self, table: str) -> int:
        return int(self.stack.sql(f"SELECT count(*) FROM {table}"))


@pytest.fixture(scope="module")
def walk(stack: Stack) -> Walk:
    return Walk(stack)


def test_the_walkthrough_on_populated_tables(walk: Walk) -> None:
    stack, alembic = walk.stack, walk.alembic
    alembic("downgrade", "base")
    assert V1 not in alembic("current")

    alembic("upgrade", V1)
    assert V1 in alembic("current")
    stack.sql(
        "INSERT INTO posts (nama, umur, published, created_at)"
        f" SELECT 'nama ' || n, n % 90, n % 3 = 0, now() - n * interval '1 minute' FROM generate_series(1, {POSTS}) n"
    )
    v1_columns = ("id", "nama", "umur", "published", "created_at")
    posts_v1 = walk.digest(*v1_columns)

    alembic("upgrade", V2)
    assert HEAD in alembic("heads")
    assert walk.digest(*v1_columns) == posts_v1
    assert walk.count("posts WHERE alamat <> ''") == 0
    stack.sql("UPDATE posts SET alamat = 'Jalan ' || id")

    alembic("downgrade", V1)
    assert walk.digest(*v1_columns) == posts_v1
    alembic("upgrade", V2)
    stack.sql("UPDATE posts SET alamat = 'Jalan ' || id")
    v2_columns = (*v1_columns, "alamat")
    posts = walk.digest(*v2_columns)

    alembic("upgrade", V3)
    stack.sql(
        "INSERT INTO users (email, password) SELECT 'user' || n || '@example.com', 'x' FROM generate_series(1, 100) n"
    )
    users = walk.digest("id", "email", "password", "created_at", table="users")

    alembic("upgrade", "+1")
    assert walk.digest(*v2_columns) == posts
    assert walk.count("posts JOIN users ON users.id = owner_id WHERE users.password = '!'") == POSTS
    assert walk.count("users") == 101
    assert stack.sql("SELECT convalidated FROM pg_constraint WHERE conname = 'post_users_fk'") == "t"

    alembic("downgrade", "-1")
    assert walk.digest(*v2_columns) == posts
    assert walk.digest("id", "email", "password", "created_at", table="users") == users
    alembic("upgrade", V4)
    stack.sql("UPDATE posts SET owner_id = (SELECT min(id) FROM users)")

    alembic("upgrade", "head")
    stack.sql("INSERT INTO votes SELECT (SELECT min(id) FROM users), id FROM posts")
    stack.sql("UPDATE posts SET no_hp = '08' || id")
    assert walk.digest(*v2_columns) == posts
    assert walk.count("votes") == POSTS
    # What the API answers is what the table holds.
    answer = stack.get("/posts?limit=1").json()[0]
    assert (answer["id"], answer["votes"], answer["no_hp"]) == (POSTS, 1, f"08{POSTS}")

    # The walkthrough ends at v6.
    alembic("downgrade", V6)
    for step in range(5, 0, -1):
        alembic("downgrade", "-1")
        assert walk.count("posts") == POSTS, f"rows lost on the way down to v{step}"
    assert V1 in alembic("current")
    assert walk.digest(*v1_columns) == posts_v1
    alembic("upgrade", "head")
    assert walk.digest(*v1_columns) == posts_v1
    assert stack.get("/readyz").status_code == 200
    history = alembic("history").splitlines()
    assert [line.partition(", ")[2] for line in history if ", " in line][-6:] == [
        "v6 tambah kolom no_hp",
        "v5 auto generate untuk vote",
        "v4 add foreign-key to posts table",
        "v3 buat tabel users",
        "v2 tambah field alamat",
        "v1 create table posts",
    ]


def test_the_same_by_make(walk: Walk) -> None:
    stack = walk.stack
    posts = walk.digest("id", "nama", "umur")
    assert HEAD in stack.make("current")
    stack.make("downgrade", f"to={V1}", "yes=1")
    assert stack.revision() == V1
    stack.make("upgrade", f"to={V2}")
    assert stack.revision() == V2
    stack.make("migrate", f"to={V4}")
    assert stack.revision() == V4
    stack.make("rollback", "yes=1")
    assert stack.revision() == V3
    stack.make("rollback", "to=-2", "yes=1")
    assert stack.revision() == V1
    assert stack.get("/readyz").json()["reason"] == "behind"
    assert stack.run("make", "check").returncode != 0
    stack.make("migrate")
    assert stack.revision() == HEAD
    assert walk.digest("id", "nama", "umur") == posts
    stack.make("check")

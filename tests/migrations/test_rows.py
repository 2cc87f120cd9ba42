"""Every step, up and down, on tables that hold rows."""

import psycopg2.errors
import pytest

from services.api.auth.password import password_matches
from tests.databases import migrate, query
from tests.migrations.staircase import HEAD, REVISIONS, V1, V2, V3, V4, V5, V6, add_posts, add_user, catalogue, rows

PLACEHOLDER = "placeholder@tangga.invalid"


def _file_of(database: str, table: str) -> int:
    [(file,)] = query(database, "SELECT pg_relation_filenode(%s)", table)
    return int(file)


def _emails(database: str) -> list[str]:
    return [row["email"] for row in rows(database, "users")]


@pytest.fixture
def posts_at_v1(database: str) -> str:
    migrate(database, "upgrade", V1)
    add_posts(database, 50)
    return database


def test_v1_makes_a_table_that_fills_in_its_defaults(database: str) -> None:
    migrate(database, "upgrade", V1)
    query(database, "INSERT INTO posts (nama, umur) VALUES ('Ani', 30)")
    [row] = rows(database, "posts", "created_at")
    assert row == {"id": 1, "nama": "Ani", "umur": 30, "published": True}
    assert query(database, "SELECT created_at BETWEEN now() - interval '1 minute' AND now() FROM posts") == [(True,)]
    migrate(database, "downgrade", "base")
    migrate(database, "upgrade", V1)
    assert rows(database, "posts") == []


def test_v2_gives_old_rows_an_empty_address_and_new_ones_none(posts_at_v1: str) -> None:
    before = rows(posts_at_v1, "posts")
    migrate(posts_at_v1, "upgrade", V2)
    assert rows(posts_at_v1, "posts") == [row | {"alamat": ""} for row in before]
    with pytest.raises(psycopg2.errors.NotNullViolation):
        add_posts(posts_at_v1, 1)
    add_posts(posts_at_v1, 1, alamat="Jl. Melati 1")
    migrate(posts_at_v1, "downgrade", V1)
    assert rows(posts_at_v1, "posts")[:50] == before
    assert len(rows(posts_at_v1, "posts")) == 51
    migrate(posts_at_v1, "upgrade", V2)
    assert {row["alamat"] for row in rows(posts_at_v1, "posts")} == {""}


def test_v3_leaves_posts_alone(posts_at_v1: str) -> None:
    migrate(posts_at_v1, "upgrade", V2)
    before = rows(posts_at_v1, "posts")
    migrate(posts_at_v1, "upgrade", V3)
    assert rows(posts_at_v1, "posts") == before
    add_user(posts_at_v1, "ani@example.com")
    with pytest.raises(psycopg2.errors.UniqueViolation):
        add_user(posts_at_v1, "ani@example.com")
    migrate(posts_at_v1, "downgrade", V2)
    assert rows(posts_at_v1, "posts") == before
    migrate(posts_at_v1, "upgrade", V3)
    assert rows(posts_at_v1, "users") == []


def test_v4_gives_old_posts_one_owner_who_cannot_log_in(posts_at_v1: str) -> None:
    migrate(posts_at_v1, "upgrade", V3)
    ani = add_user(posts_at_v1, "ani@example.com")
    posts, users = rows(posts_at_v1, "posts"), rows(posts_at_v1, "users")
    migrate(posts_at_v1, "upgrade", V4)
    [placeholder] = [user for user in rows(posts_at_v1, "users") if user not in users]
    assert placeholder["email"] == PLACEHOLDER
    assert placeholder["id"] != ani
    for password in ("!", "", "nobody has this password"):
        assert not password_matches(password, placeholder["password"])
    assert rows(posts_at_v1, "posts") == [post | {"owner_id": placeholder["id"]} for post in posts]
    # A new post must bring its own owner.
    with pytest.raises(psycopg2.errors.NotNullViolation):
        add_posts(posts_at_v1, 1, alamat="")
    add_posts(posts_at_v1, 1, alamat="", owner_id=ani)

    migrate(posts_at_v1, "downgrade", V3)
    assert rows(posts_at_v1, "users") == users
    assert rows(posts_at_v1, "posts")[:50] == posts
    migrate(posts_at_v1, "upgrade", V4)
    assert _emails(posts_at_v1).count(PLACEHOLDER) == 1
    assert len({post["owner_id"] for post in rows(posts_at_v1, "posts")}) == 1
    assert len(rows(posts_at_v1, "posts")) == 51


def test_v4_without_posts_makes_nobody(database: str) -> None:
    migrate(database, "upgrade", V3)
    add_user(database, "ani@example.com")
    migrate(database, "upgrade", V4)
    assert _emails(database) == ["ani@example.com"]
    with pytest.raises(psycopg2.errors.NotNullViolation):
        add_posts(database, 1, alamat="")
    migrate(database, "downgrade", V3)
    assert _emails(database) == ["ani@example.com"]


def test_v4_shuts_out_whoever_registered_the_placeholders_address(posts_at_v1: str) -> None:
    migrate(posts_at_v1, "upgrade", V3)
    somebody = add_user(posts_at_v1, PLACEHOLDER)
    migrate(posts_at_v1, "upgrade", V4)
    [user] = rows(posts_at_v1, "users")
    assert (user["id"], user["password"]) == (somebody, "!")


def test_the_foreign_key_rejects_and_cascades(posts_at_v1: str) -> None:
    migrate(posts_at_v1, "upgrade", V3)
    ani = add_user(posts_at_v1, "ani@example.com")
    migrate(posts_at_v1, "upgrade", V4)
    with pytest.raises(psycopg2.errors.ForeignKeyViolation):
        add_posts(posts_at_v1, 1, alamat="", owner_id=ani + 1000)
    add_posts(posts_at_v1, 3, alamat="", owner_id=ani)
    query(posts_at_v1, "DELETE FROM users WHERE id = %s", ani)
    assert len(rows(posts_at_v1, "posts")) == 50
    query(posts_at_v1, "DELETE FROM users WHERE email = %s", PLACEHOLDER)
    assert rows(posts_at_v1, "posts") == []


def test_v5_and_v6_leave_rows_alone_and_votes_cascade(posts_at_v1: str) -> None:
    migrate(posts_at_v1, "upgrade", V4)
    posts, users = rows(posts_at_v1, "posts"), rows(posts_at_v1, "users")
    ani = add_user(posts_at_v1, "ani@example.com")
    users = rows(posts_at_v1, "users")

    migrate(posts_at_v1, "upgrade", V5)
    assert (rows(posts_at_v1, "posts"), rows(posts_at_v1, "users")) == (posts, users)
    query(posts_at_v1, "INSERT INTO votes (user_id, post_id) SELECT u.id, p.id FROM users u, posts p")
    with pytest.raises(psycopg2.errors.UniqueViolation):
        query(posts_at_v1, "INSERT INTO votes (user_id, post_id) VALUES (%s, 1)", ani)
    for user_id, post_id in ((ani + 1000, 1), (ani, 1000)):
        with pytest.raises(psycopg2.errors.ForeignKeyViolation):
            query(posts_at_v1, "INSERT INTO votes (user_id, post_id) VALUES (%s, %s)", user_id, post_id)
    votes = rows(posts_at_v1, "votes")
    assert len(votes) == 100

    migrate(posts_at_v1, "upgrade", V6)
    assert rows(posts_at_v1, "posts") == [post | {"no_hp": None} for post in posts]
    assert rows(posts_at_v1, "votes") == votes
    query(posts_at_v1, "UPDATE posts SET no_hp = '0812'")
    migrate(posts_at_v1, "downgrade", V5)
    assert (rows(posts_at_v1, "posts"), rows(posts_at_v1, "votes")) == (posts, votes)

    query(posts_at_v1, "DELETE FROM posts WHERE id = 1")
    assert rows(posts_at_v1, "votes") == [vote for vote in votes if vote["post_id"] != 1]
    query(posts_at_v1, "DELETE FROM users WHERE id = %s", ani)
    assert {vote["user_id"] for vote in rows(posts_at_v1, "votes")} == {users[0]["id"]}

    migrate(posts_at_v1, "downgrade", V4)
    assert rows(posts_at_v1, "posts") == posts[1:]
    migrate(posts_at_v1, "upgrade", V6)
    assert rows(posts_at_v1, "votes") == []
    assert rows(posts_at_v1, "posts") == [post | {"no_hp": None} for post in posts[1:]]


@pytest.mark.parametrize("lowest", ["base", *REVISIONS[:-1]])
def test_a_populated_staircase_goes_down_and_up_again(database: str, lowest: str) -> None:
    migrate(database, "upgrade", HEAD)
    before = catalogue(database)
    ani = add_user(database, "ani@example.com")
    add_posts(database, 5, alamat="Jl. Melati 1", owner_id=ani, no_hp="0812")
    query(database, "INSERT INTO votes (user_id, post_id) SELECT %s, id FROM posts", ani)
    kept = rows(database, "posts", "alamat", "owner_id", "no_hp")
    migrate(database, "downgrade", lowest)
    migrate(database, "upgrade", HEAD)
    assert rows(database, "posts", "alamat", "owner_id", "no_hp") == ([] if lowest == "base" else kept)
    after = catalogue(database)
    if lowest not in (V5, V4):
        # A column that was dropped comes back behind the others.
        before["columns"].sort()
        after["columns"].sort()
    assert after == before


@pytest.mark.parametrize(("below", "step"), [(V1, V2), (V3, V4), (V5, V6)])
def test_adding_a_column_does_not_rewrite_the_table(posts_at_v1: str, below: str, step: str) -> None:
    migrate(posts_at_v1, "upgrade", below)
    file = _file_of(posts_at_v1, "posts")
    migrate(posts_at_v1, "upgrade", step)
    assert _file_of(posts_at_v1, "posts") == file
    # What a rewrite looks like: a default that is not the same for every row.
    query(posts_at_v1, "ALTER TABLE posts ADD COLUMN extra double precision DEFAULT random()")
    assert _file_of(posts_at_v1, "posts") != file

"""One statement per route, by hand: for the app of raw.py, and for pgbench."""

_COLUMNS = """p.id, p.nama, p.umur, p.alamat, p.published, p.no_hp, p.created_at, p.owner_id,
u.email AS owner_email, u.created_at AS owner_created_at,
(SELECT count(*) FROM votes v WHERE v.post_id = p.id) AS votes"""

GET = f"SELECT {_COLUMNS} FROM posts p JOIN users u ON u.id = p.owner_id WHERE p.id = %(id)s"
LIST = f"SELECT {_COLUMNS} FROM posts p JOIN users u ON u.id = p.owner_id ORDER BY p.id DESC LIMIT 10"
CREATE = f"""WITH p AS (
INSERT INTO posts (nama, umur, alamat, published, no_hp, owner_id)
VALUES ('Ani', %(id)s, 'Jl. Melati 1', true, NULL, %(user)s) RETURNING *)
SELECT {_COLUMNS} FROM p JOIN users u ON u.id = p.owner_id"""


def for_pgbench(statement: str, posts: int, users: int) -> str:
    r"""Return the statement as a pgbench script, with random ids (\set is pgbench's)."""
    return (
        f"\\set id random(1, {posts})\n\\set user random(1, {users})\n{statement % {'id': ':id', 'user': ':user'}};\n"
    )

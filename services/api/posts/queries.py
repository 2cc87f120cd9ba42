"""Posts in SQL: every function is one statement, built once when the module is loaded."""

from functools import cache
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, bindparam, delete, exists, func, insert, select, update
from sqlalchemy.sql.selectable import FromClause

from services.api.db.models import Post, User, Vote


def _with_owner_and_votes(posts: FromClause) -> Select[Any]:
    """Select posts with owner and vote count. The count is asked per row of the page, so it follows the page's size."""
    votes = select(func.count()).select_from(Vote).where(Vote.post_id == posts.c.id).scalar_subquery()
    return select(
        *posts.c,
        User.email.label("owner_email"),
        User.created_at.label("owner_created_at"),
        votes.label("votes"),
    ).join_from(posts, User, User.id == posts.c.owner_id)


_posts = Post.__table__
_columns = [*_posts.c]
_by_id = _with_owner_and_votes(_posts).where(_posts.c.id == bindparam("post_id"))


@cache
def _page(*, after: bool, skip: bool, search: bool) -> Select[Any]:
    """Build the statement of a page. Its posts are found first: the rest is asked only for rows that are shown."""
    # Newest first. Ids grow with time and are unique, so they also give every page a firm beginning and end.
    posts = select(*_columns).order_by(_posts.c.id.desc()).limit(bindparam("limit"))
    if after:
        posts = posts.where(_posts.c.id < bindparam("after"))
    if skip:
        posts = posts.offset(bindparam("skip"))
    if search:
        posts = posts.where(_posts.c.nama.ilike(bindparam("pattern"), escape="\\"))
    page = posts.subquery("page")
    return _with_owner_and_votes(page).order_by(page.c.id.desc())


# Inside a CTE, SQLAlchemy wants values spelt out, and their parameters named unlike their columns.
_writable: dict[str, Any] = {
    name: bindparam(f"new_{name}") for name in ("nama", "umur", "alamat", "published", "no_hp")
}
_insert = _with_owner_and_votes(
    insert(Post).values(_writable | {"owner_id": bindparam("user_id")}).returning(*_columns).cte("written")
)
_mine = (Post.id == bindparam("post_id"), Post.owner_id == bindparam("user_id"))
_update = _with_owner_and_votes(update(Post).where(*_mine).values(_writable).returning(*_columns).cte("written"))
_delete = delete(Post).where(*_mine).returning(Post.id)
_facts = select(
    exists().where(User.id == bindparam("user_id")).label("user_exists"),
    exists().where(Post.id == bindparam("post_id")).label("post_exists"),
)


def _new(values: dict[str, object]) -> dict[str, object]:
    return {f"new_{name}": value for name, value in values.items()}


def find(connection: Connection, post_id: int) -> RowMapping | None:
    """Return one post, or None."""
    return connection.execute(_by_id, {"post_id": post_id}).mappings().one_or_none()


def page(connection: Connection, limit: int, skip: int, after: int | None, search: str) -> list[RowMapping]:
    """Return up to `limit` posts, newest first, that come after the post `after` (keyset) or after `skip` rows."""
    statement = _page(after=after is not None, skip=skip > 0, search=bool(search))
    escaped = search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    values = {"limit": limit, "after": after, "skip": skip, "pattern": f"%{escaped}%"}
    return list(connection.execute(statement, values).mappings())


def create(connection: Connection, user_id: int, values: dict[str, object]) -> RowMapping:
    """Insert a post; raises IntegrityError (post_users_fk) if the user is gone."""
    return connection.execute(_insert, _new(values) | {"user_id": user_id}).mappings().one()


def replace(connection: Connection, post_id: int, user_id: int, values: dict[str, object]) -> RowMapping | None:
    """Overwrite the user's own post; None if it is not there or not theirs."""
    parameters = _new(values) | {"post_id": post_id, "user_id": user_id}
    return connection.execute(_update, parameters).mappings().one_or_none()


def remove(connection: Connection, post_id: int, user_id: int) -> bool:
    """Delete the user's own post; False if it is not there or not theirs."""
    return connection.execute(_delete, {"post_id": post_id, "user_id": user_id}).one_or_none() is not None


def facts(connection: Connection, post_id: int, user_id: int) -> tuple[bool, bool]:
    """Tell (user exists, post exists): why a statement found nothing to change."""
    row = connection.execute(_facts, {"post_id": post_id, "user_id": user_id}).one()
    return row.user_exists, row.post_exists

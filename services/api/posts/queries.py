"""Posts in SQL: every function is one statement, built once when the module is loaded."""

from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, delete, exists, func, insert, literal_column, select, update
from sqlalchemy.sql.selectable import FromClause

from services.api.db.connection import Runner
from services.api.db.models import Post, User, Vote
from services.api.db.statement import Row, Statement

USUAL_LIMIT = 10
_FAR = 1000  # rows that `skip` may pass over in no time
_SHORTER = "Look for three characters or more; instead of `skip`, follow the `Link` header."


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
_by_id = Statement(_with_owner_and_votes(_posts).where(_posts.c.id == bindparam("post_id")))


@cache
def _page(*, usual: bool, after: bool, skip: bool, search: bool, scans: bool) -> Statement:
    """Build the statement of a page. Its posts are found first: the rest is asked only for rows that are shown."""
    # Written out, the usual limit is known to the planner, which then plans once for all requests (decision 23).
    limit: Any = literal_column(str(USUAL_LIMIT)) if usual else bindparam("limit")
    # Newest first. Ids grow with time and are unique, so they also give every page a firm beginning and end.
    posts = select(*_columns).order_by(_posts.c.id.desc()).limit(limit)
    if after:
        posts = posts.where(_posts.c.id < bindparam("after"))
    if skip:
        posts = posts.offset(bindparam("skip"))
    if search:
        posts = posts.where(_posts.c.nama.ilike(bindparam("pattern"), escape="\\"))
    page = posts.subquery("page")
    return Statement(_with_owner_and_votes(page).order_by(page.c.id.desc()), scans=_SHORTER if scans else "")


# Inside a CTE, SQLAlchemy wants values spelt out, and their parameters named unlike their columns.
_writable: dict[str, Any] = {
    name: bindparam(f"new_{name}") for name in ("nama", "umur", "alamat", "published", "no_hp")
}
_insert = Statement(
    _with_owner_and_votes(
        insert(Post).values(_writable | {"owner_id": bindparam("user_id")}).returning(*_columns).cte("written")
    )
)
_mine = (Post.id == bindparam("post_id"), Post.owner_id == bindparam("user_id"))
_update = Statement(
    _with_owner_and_votes(update(Post).where(*_mine).values(_writable).returning(*_columns).cte("written"))
)
_delete = Statement(delete(Post).where(*_mine).returning(Post.id))
_facts = Statement(
    select(
        exists().where(User.id == bindparam("user_id")).label("user_exists"),
        exists().where(Post.id == bindparam("post_id")).label("post_exists"),
    )
)


def _new(values: dict[str, object]) -> dict[str, object]:
    return {f"new_{name}": value for name, value in values.items()}


async def find(db: Runner, post_id: int) -> Row | None:
    """Return one post, or None."""
    return await db.row(_by_id, post_id=post_id)


async def page(db: Runner, limit: int, skip: int, after: int | None, search: str) -> list[Row]:
    """Return up to `limit` posts, newest first, that come after the post `after` (keyset) or after `skip` rows."""
    statement = _page(
        usual=limit == USUAL_LIMIT,
        after=after is not None,
        skip=skip > 0,
        search=bool(search),
        scans=bool(search) or skip > _FAR,
    )
    escaped = search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return await db.rows(statement, limit=limit, after=after, skip=skip, pattern=f"%{escaped}%")


async def create(db: Runner, user_id: int, values: dict[str, object]) -> Row:
    """Insert a post; raises psycopg2.IntegrityError (post_users_fk) if the user is gone."""
    [row] = await db.rows(_insert, user_id=user_id, **_new(values))
    return row


async def replace(db: Runner, post_id: int, user_id: int, values: dict[str, object]) -> Row | None:
    """Overwrite the user's own post; None if it is not there or not theirs."""
    return await db.row(_update, post_id=post_id, user_id=user_id, **_new(values))


async def remove(db: Runner, post_id: int, user_id: int) -> bool:
    """Delete the user's own post; False if it is not there or not theirs."""
    return await db.row(_delete, post_id=post_id, user_id=user_id) is not None


async def facts(db: Runner, post_id: int, user_id: int) -> tuple[bool, bool]:
    """Tell (user exists, post exists): why a statement found nothing to change."""
    [row] = await db.rows(_facts, post_id=post_id, user_id=user_id)
    return row["user_exists"], row["post_exists"]

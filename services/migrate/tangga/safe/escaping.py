"""SQL of a step's author, as SQLAlchemy takes it."""


def escaped(sql: str) -> str:
    """Return an author's SQL as `sqlalchemy.text` wants it: a colon in it is a colon, and no parameter."""
    return sql.replace(":", "\\:")

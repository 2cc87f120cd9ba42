"""How many statements a request sent to the database, and how long it waited for them."""

from contextvars import ContextVar


class Used:
    """What one request has used of the database so far."""

    __slots__ = ("seconds", "statements")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.statements = 0


# Set by the middleware for each request.
current: ContextVar[Used | None] = ContextVar("used", default=None)

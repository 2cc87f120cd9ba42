"""Cursors that report what they execute: a class for each driver, psycopg2 and psycopg (3)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib import import_module
from typing import Any, Protocol

from sqlalchemy import URL


class Recorder(Protocol):
    """Who is told of every statement: its text (what it is told before may lack the values), and how to execute it."""

    def run(self, connection: Any, sql: str, text: Callable[[], str], execute: Callable[[], Any]) -> None:  # noqa: D102
        ...

    def watching(self, connection: Any, sql: str, text: Callable[[], str]) -> AbstractContextManager[None]:
        """The same for what is executed in the body, and is allowed in a transaction."""


def factory(url: URL, recorder: Recorder) -> Callable[..., Any]:
    """Return what the driver of a URL is to call for each cursor of a connection (its option `cursor_factory`)."""
    made = _of_psycopg if url.get_driver_name() == "psycopg" else _of_psycopg2
    return partial(made(), recorder)


def rows(connection: Any, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """Execute on a cursor that reports nothing, and return the rows, if there are any."""
    with _plain(connection) as cursor:
        cursor.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


def _plain(connection: Any) -> Any:
    if hasattr(connection, "pgconn"):
        return import_module("psycopg").Cursor(connection)
    import psycopg2.extensions

    return connection.cursor(cursor_factory=psycopg2.extensions.cursor)


def _of_psycopg2() -> type:
    import psycopg2.extensions

    class Cursor(psycopg2.extensions.cursor):
        """Knows the statement with its values once it is executed."""

        def __init__(self, recorder: Recorder, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.recorder = recorder

        def text(self) -> str:
            return (self.query or b"").decode()

        def execute(self, query: Any, vars: Any = None) -> None:
            self.recorder.run(self.connection, str(query), self.text, partial(super().execute, query, vars))

        def executemany(self, query: Any, vars_list: Any) -> None:
            self.recorder.run(self.connection, str(query), self.text, partial(super().executemany, query, vars_list))

        def copy_expert(self, sql: Any, *arguments: Any, **options: Any) -> None:
            execute = partial(super().copy_expert, sql, *arguments, **options)
            self.recorder.run(self.connection, str(sql), self.text, execute)

    return Cursor


def _of_psycopg() -> type:
    psycopg: Any = import_module("psycopg")

    class Cursor(psycopg.Cursor):  # type: ignore[misc] # this driver need not be installed
        """Sends the values beside the statement; another kind of cursor puts them into it."""

        def __init__(self, recorder: Recorder, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.recorder = recorder

        def text(self, query: Any, params: Any) -> str:
            return str(psycopg.ClientCursor(self.connection).mogrify(query, params))

        def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
            execute = partial(super().execute, query, params, **options)
            self.recorder.run(self.connection, str(query), partial(self.text, query, params), execute)
            return self

        def executemany(self, query: Any, params_seq: Any, **options: Any) -> None:
            several: Sequence[Any] = [*params_seq]
            execute = partial(super().executemany, query, several, **options)
            text = partial(self.text, query, several[-1] if several else None)
            self.recorder.run(self.connection, str(query), text, execute)

        @contextmanager
        def copy(self, statement: Any, params: Any = None, **options: Any) -> Iterator[Any]:
            text = partial(self.text, statement, params)
            with (
                self.recorder.watching(self.connection, str(statement), text),
                super().copy(statement, params, **options) as copy,
            ):
                yield copy

    return Cursor

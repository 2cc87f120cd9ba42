"""`alembic ...` in this process, ten times as fast as in one of its own: the same exit code and the same lines.

What it cannot show: another tangga than this one (a copy with a line changed), or another version of any module that
was imported before; what a start of the program costs, what a kill leaves behind; and the short cut for a database at
head (precheck.py), which stands before Alembic is loaded.
"""

import contextlib
import gc
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from functools import partialmethod
from pathlib import Path
from subprocess import CompletedProcess
from unittest import mock

from alembic.config import Config

from tangga import cli
from tests.databases import PROJECT, owner_environment
from tests.support.plain_words import plain_words

# What log.to_stderr() makes of these is the next command's to make.
_LOGGERS = ("alembic.runtime.migration", "alembic.autogenerate", "tangga")


def alembic(
    database: str, *arguments: str, project: Path = PROJECT, environment: Mapping[str, str] | None = None
) -> CompletedProcess[str]:
    """Run `alembic ...` in the folder `project`, as the owner of a database."""
    return run(arguments, project, owner_environment(database) | dict(environment or {}))


def run(arguments: tuple[str, ...], folder: Path, environment: Mapping[str, str]) -> CompletedProcess[str]:
    """Run `alembic ...` in a folder, with these variables besides those of this process."""
    stdout, stderr = io.StringIO(), io.StringIO()
    code = 0
    with (
        _as_if_new(folder, environment),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
        # Alembic's own lines go to what was stdout when it was imported.
        mock.patch.object(Config, "__init__", partialmethod(Config.__init__, stdout=stdout)),
    ):
        try:
            cli.main(arguments)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1 if end.code else 0
    return CompletedProcess(arguments, code, stdout.getvalue(), stderr.getvalue())


@contextlib.contextmanager
def _as_if_new(folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Give the body what a new process would find, and take back afterwards what it leaves."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.NOTSET)
    collected = gc.get_threshold()
    with (
        mock.patch.dict(os.environ, environment),
        plain_words(),
        mock.patch.object(sys, "path", [*sys.path]),
        contextlib.chdir(folder),
        warnings.catch_warnings(),
    ):
        try:
            yield
        finally:
            # A command collects little, for it ends soon. Here, what an error holds would stay open: connections.
            gc.set_threshold(*collected)

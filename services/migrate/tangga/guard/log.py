"""What an operator reads while a migration runs."""

import logging
import warnings

_NOISE = ("Context impl", "Will assume", "Generating static SQL")


def to_stderr() -> None:
    """Show Alembic's own lines and ours on stderr, one format, no timestamps (the container log has them)."""
    # failures.py says it in one line.
    warnings.filterwarnings("ignore", "Revision .* is not present")
    handler = logging.StreamHandler()
    handler.addFilter(lambda record: not str(record.msg).startswith(_NOISE))
    handler.setFormatter(logging.Formatter("migrate: %(message)s"))
    # Alembic's logger and ours, not the root: other libraries' chatter is not for the operator.
    for name in ("alembic.runtime.migration", "alembic.autogenerate", "tangga"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.INFO)
        logger.propagate = False


def be_heard() -> None:
    """Show our own lines beside env.py's logging, whose fileConfig silences every logger that it does not name."""
    for name, logger in logging.root.manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and name.partition(".")[0] == "tangga":
            logger.disabled = False
    ours = logging.getLogger("tangga")
    if not ours.handlers:
        ours.addHandler(logging.StreamHandler())
        ours.setLevel(logging.INFO)
        ours.propagate = False

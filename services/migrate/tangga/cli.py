"""Alembic's command line with the commands that it lacks, one module per command.

A command's module has HELP, `arguments(parser)` and `run(config)`; the options are in `config.cmd_opts`.
"""

import importlib
from collections.abc import Sequence

from alembic.config import CommandLine

from services.api.settings import MigrateSettings
from tangga.revision import files
from tangga.failures import reported_failures

# Name on the command line -> module. Those that try steps out need the scratch server, which the container `proof` has.
COMMANDS = {
    "plan": "tangga.plan.command",
    "lint": "tangga.lint.command",
    "log": "tangga.journal.history",
    "status": "services.migrate.status",
    "drift": "tangga.drift.command",
    "verify": "tangga.verify.command",
    "graph": "tangga.graph.command",
    "losses": "tangga.undo.losses",
    "restore-data": "tangga.undo.restore",
    "reparent": "tangga.reparent.command",
    "squash": "tangga.squash.command",
}


def main(arguments: Sequence[str]) -> None:
    """Run one command; ends the program with the exit codes of tangga/exits.py."""
    line = CommandLine(prog="alembic")
    # Only what was asked for is imported; without a command of ours, all are, for the help page.
    ours = [name for name in COMMANDS if name in arguments]
    for name in ours or (COMMANDS if {"-h", "--help"} & set(arguments[:1]) else ()):
        module = importlib.import_module(COMMANDS[name])
        parser = line.subparsers.add_parser(name, help=module.HELP, description=module.__doc__)
        module.arguments(parser)
        parser.set_defaults(cmd=(module.run, [], {}))
    with reported_failures(MigrateSettings.load()):
        files.strict()
        line.main(["--raiseerr", *arguments])

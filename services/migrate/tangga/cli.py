"""Alembic's command line with the commands that it lacks, one module per command.

A command's module has HELP, `arguments(parser)` and `run(project)`; the options are in `project.config.cmd_opts`. A
project adds commands of its own by `[tool.tangga.commands]`.
"""

import importlib
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from typing import Any

from alembic.config import CommandLine, Config

from tangga.environment import reported_failures
from tangga.project import Project
from tangga.revision import files

# Name on the command line -> module. Those that try steps out need a scratch server.
COMMANDS = {
    "plan": "tangga.plan.command",
    "lint": "tangga.lint.command",
    "log": "tangga.journal.command",
    "drift": "tangga.drift.command",
    "verify": "tangga.verify.command",
    "graph": "tangga.graph.command",
    "losses": "tangga.undo.losses",
    "restore-data": "tangga.undo.restore",
    "reparent": "tangga.reparent.command",
    "squash": "tangga.squash.command",
}


def main(arguments: Sequence[str] | None = None, prog: str = "alembic") -> None:
    """Run one command; ends the program with the exit codes of exits.py."""
    arguments = sys.argv[1:] if arguments is None else arguments
    line = CommandLine(prog=prog)
    project = _project(line, arguments)
    commands = COMMANDS | project.commands
    with reported_failures(project):
        # Only what was asked for is imported; without a command of ours, all are, for the help page.
        ours = [name for name in commands if name in arguments]
        for name in ours or (commands if {"-h", "--help"} & set(arguments[:1]) else ()):
            module = importlib.import_module(commands[name])
            parser = line.subparsers.add_parser(name, help=module.HELP, description=module.__doc__)
            module.arguments(parser)
            parser.set_defaults(cmd=(_command(name, module), [], {}))
        if project.has_steps:
            files.strict(*project.scripts._version_locations)
        line.main(["--raiseerr", *arguments])


def tangga() -> None:
    """Be the program `tangga`."""
    main(prog="tangga")


def _command(name: str, module: Any) -> Callable[[Config], None]:
    def run(config: Config) -> None:
        module.run(Project(config))

    run.__name__ = name  # by it guard/command.py knows Alembic's own
    return run


def _project(line: CommandLine, arguments: Sequence[str]) -> Project:
    """Return the project that the options name, before the command is known."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-c", "--config", action="append")
    parser.add_argument("-n", "--name", default="alembic")
    options = parser.parse_known_args(arguments)[0]
    toml, ini = line._inis_from_config(options)
    return Project(Config(file_=ini, toml_file=toml, ini_section=options.name))

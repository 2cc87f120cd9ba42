"""Alembic's command line with the commands that it lacks, one module per command.

A command's module has HELP, `arguments(parser)` and `run(project)`; the options are in `project.config.cmd_opts`. A
project adds commands of its own by `[tool.tangga.commands]`.
"""

import gc
import importlib
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from alembic.config import CommandLine, Config
from alembic.util import CommandError

from tangga import flask_migrate, hurried
from tangga.environment import reported_failures
from tangga.project import Project
from tangga.revision import files, head_file

# Name on the command line -> module.
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
    "doctor": "tangga.doctor.command",
}
# They read files, and run no env.py: an application is loaded for what a file does with it, and may be missing.
_READ_FILES = ("lint", "history", "heads", "branches", "show", "list_templates", "init", "merge", "reparent", "doctor")
# They try steps out.
_NEED_SCRATCH = ("plan", "drift", "verify", "graph", "squash", "doctor")


def main(arguments: Sequence[str] | None = None, prog: str = "alembic") -> None:
    """Run one command; ends the program with the exit codes of exits.py."""
    # A command is short and keeps most of what it makes: the collector found nothing, in an eighth of a plan's time.
    gc.set_threshold(100_000, 20, 20)
    hurried.listen()
    line = _Line(prog=prog)
    project, arguments = _project(line, sys.argv[1:] if arguments is None else arguments)
    commands = COMMANDS | project.commands
    with reported_failures(project), _application(project, {*arguments}):
        # Only the module of the command is imported; without a command of ours, all of them, for the help page.
        ours = [name for name in commands if name in arguments]
        for name in ours or (commands if {"-h", "--help"} & set(arguments[:1]) else ()):
            module = importlib.import_module(commands[name])
            parser = line.subparsers.add_parser(name, help=module.HELP, description=module.__doc__)
            module.arguments(parser)
            if name in COMMANDS:
                _where(parser, scratch=name in _NEED_SCRATCH)
            parser.set_defaults(cmd=(_command(name, module), [], {}))
        # The doctor says himself what keeps the steps from being loaded.
        if project.has_steps and "doctor" not in ours:
            files.strict(*project.scripts._version_locations)
        line.main(["--raiseerr", *arguments])
        if line.parser.parse_args(arguments).cmd[0].__name__ in ("revision", "merge"):
            head_file.keep(project)


def tangga() -> None:
    """Be the program `tangga`."""
    main(prog="tangga")


def _where(parser: ArgumentParser, *, scratch: bool) -> None:
    parser.add_argument(
        "--url", dest="database_url", help="the database, before what is configured: postgresql://user@host/database"
    )
    if scratch:
        parser.add_argument(
            "--scratch", dest="scratch_url", metavar="docker|URL",
            help="where steps are tried out: a container made for it, or a server, as a superuser's URL",
        )  # fmt: skip
        parser.add_argument(
            "--scratch-image",
            metavar="IMAGE",
            help="of that container (default: postgres:VERSION, the live one's)",
        )


def _command(name: str, module: Any) -> Callable[[Config], None]:
    def run(config: Config) -> None:
        with Project(config) as project:
            module.run(project)

    run.__name__ = name  # by it guard/command.py knows Alembic's own
    return run


def _application(project: Project, arguments: set[str]) -> AbstractContextManager[None]:
    if not project.has_steps or not arguments or {"-h", "--help"} & arguments:
        return nullcontext()
    try:
        env = Path(project.scripts.dir) / "env.py"
    except CommandError:  # the command itself says that there is no such folder
        return nullcontext()
    return flask_migrate.application(env, needed=not {*_READ_FILES} & arguments)


class _Line(CommandLine):
    """Alembic's command line, for projects of Flask-Migrate too."""

    def run_cmd(self, config: Config, options: Namespace) -> None:
        """Run the command that the options name."""
        flask_migrate.complete(config)
        super().run_cmd(config, options)


def _project(line: CommandLine, arguments: Sequence[str]) -> tuple[Project, Sequence[str]]:
    """Return the project that the options name, before the command is known, and the arguments that name it."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-c", "--config", action="append")
    parser.add_argument("-n", "--name", default="alembic")
    options = parser.parse_known_args(arguments)[0]
    toml, ini = line._inis_from_config(options)
    project = Project(Config(file_=ini, toml_file=toml, ini_section=options.name))
    if options.config or project.has_steps or (own := flask_migrate.found(Path.cwd())) is None:
        return project, arguments
    return Project(Config(own, ini_section=options.name)), ["-c", own, *arguments]

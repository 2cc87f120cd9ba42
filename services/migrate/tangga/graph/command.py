"""Draw the steps with what is applied, and the tables as they are at a revision: in the terminal, and as SVG files.

The tables are read from a scratch database on which the steps up to that revision were run.
"""

import argparse
from pathlib import Path

from alembic.script import ScriptDirectory

from tangga.exits import UNKNOWN_REVISION, Stop
from tangga.graph import drawing
from tangga.graph.states import states
from tangga.journal.history import look
from tangga.project import Project
from tangga.remedies import say
from tangga.scratch.server import Scratch
from tangga.words import print_lines

HELP = "Draw the steps with what is applied, and the tables at a revision."

FOLDER = "graphs"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("at", nargs="?", default="head", help="the revision to draw the tables of (default: head)")
    parser.add_argument("--svg", action="store_true", help=f"write SVG files into {FOLDER}/ instead")


def run(project: Project) -> None:
    """Print or write both drawings; raises Stop for a revision that is not there."""
    options = project.config.cmd_opts
    assert options is not None
    at = _revision(project.scripts, options.at)
    found = states(project.scripts, look(project.settings).current)
    schema = _schema(project, at)
    # Not in the image that ships, whose help page imports this module: rich and Matplotlib.
    if options.svg:
        from tangga.graph import svg

        _write({"steps": svg.steps(project.scripts, found), f"tables-{at}": svg.tables(schema)})
    else:
        from tangga.graph import terminal

        terminal.show_steps(project.scripts, found)
        terminal.show_tables(schema, at)


def _schema(project: Project, at: str) -> drawing.Schema:
    """Return the tables as they are at a revision: on a scratch database that goes up to there."""
    with Scratch(project).database() as engine, engine.connect() as connection:
        if at != "base":
            project.upgrade(connection, at)
        return drawing.read(connection)


def _write(drawings: dict[str, bytes]) -> None:
    folder = Path(FOLDER)
    folder.mkdir(exist_ok=True)
    # A drawing can be made anew at any time, so git does not keep it.
    (folder / ".gitignore").write_text("*\n")
    for name, content in drawings.items():
        file = folder / f"graph-{name}.svg"
        file.write_bytes(content)
        print_lines(str(file))


def _revision(scripts: ScriptDirectory, name: str) -> str:
    if name in ("base", "heads") or (name == "head" and len(scripts.get_heads()) > 1):
        return "base" if name == "base" else "heads"
    script = scripts.get_revision(name)
    if script is None:
        raise Stop(f"can't locate revision {name}", f"{say('history')} lists the revisions", UNKNOWN_REVISION)
    return script.revision

"""Draw the steps with what is applied, and the tables as they are at a revision: in the terminal, and as SVG files.

The tables are read from a scratch database on which the steps up to that revision were run.
"""

import argparse
from pathlib import Path

from alembic.script import ScriptDirectory

from tangga.exits import UNKNOWN_REVISION, Stop
from tangga.journal.history import applied_below, look
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
    # Not in the image that ships, whose help page imports this module.
    from tangga.graph import drawing

    options = project.config.cmd_opts
    assert options is not None
    at = _revision(project.scripts, options.at)
    current = look(project.settings).current
    below = applied_below(project.scripts, current)
    states = {script.revision: "pending" for script in project.scripts.walk_revisions()}
    states |= dict.fromkeys(below, "applied") | dict.fromkeys(current, "current")
    with Scratch(project).database() as engine, engine.connect() as connection:
        if at != "base":
            project.upgrade(connection, at)
        schema = drawing.read(connection)
    if options.svg:
        from tangga.graph import svg as drawing_svg

        folder = Path(FOLDER)
        folder.mkdir(exist_ok=True)
        # What is drawn anew at any time is not for git.
        (folder / ".gitignore").write_text("*\n")
        svgs = {"steps": drawing_svg.steps(project.scripts, states), f"tables-{at}": drawing_svg.tables(schema)}
        for name, svg in svgs.items():
            file = folder / f"graph-{name}.svg"
            file.write_bytes(svg)
            print_lines(str(file))
    else:
        drawing.show_steps(project.scripts, states)
        drawing.show_tables(schema, at)


def _revision(scripts: ScriptDirectory, name: str) -> str:
    if name in ("base", "heads") or (name == "head" and len(scripts.get_heads()) > 1):
        return "base" if name == "base" else "heads"
    script = scripts.get_revision(name)
    if script is None:
        raise Stop(f"can't locate revision {name}", f"{say('history')} lists the revisions", UNKNOWN_REVISION)
    return script.revision

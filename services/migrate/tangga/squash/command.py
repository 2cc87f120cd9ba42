"""Fold the steps from the first up to one of them into a single baseline, which keeps that step's revision.

A database at that revision or past it has nothing to do: `alembic_version` and the later steps stay as they are. The
baseline is what pg_dump prints of a scratch database at that revision. It is written only when it has been proven
there: the same schema and rows at the revision, the same schema at head, and nothing left after going down.
"""

import os
from argparse import ArgumentParser
from pathlib import Path

from tangga import connect
from tangga.exits import ALEMBIC_REFUSES, Stop
from tangga.project import Project
from tangga.remedies import say
from tangga.revision import head_file
from tangga.scratch.server import Scratch
from tangga.squash import source
from tangga.squash.folding import fold, require_past
from tangga.squash.proof import prove
from tangga.words import file_name, folder_name, print_lines

HELP = "fold the first steps into one baseline, proven equal; databases past it are left untouched"


def arguments(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("to", help="the last step to be folded; its revision stays")


def run(project: Project) -> None:
    """Fold, prove, write; raises Stop if it must not or cannot be done, and has changed nothing then."""
    assert project.config.cmd_opts is not None
    folded = fold(project, project.config.cmd_opts.to)
    last = folded[-1]
    with connect.engine(project.settings.url, "squash").connect() as connection:
        require_past(project, connection, last)
    versions = Path(str(project.scripts.versions))
    if not os.access(versions, os.W_OK):
        raise Stop(f"{folder_name(versions)} cannot be written to here", say("squash"), ALEMBIC_REFUSES)
    baseline = versions / source.file_name(last)
    content = prove(project, Scratch(project), folded, baseline.name)
    new = baseline.with_suffix(".new")
    new.write_text(content)
    for step in folded:
        Path(step.path).unlink()
    new.rename(baseline)
    head_file.keep(project)
    print_lines(
        f"proven: the same schema at {last.revision} and at head, the same rows, nothing left after going down",
        f"folded: {len(folded)} steps into {file_name(baseline)}",
        f"A database below {last.revision} needs a release that still has the old files, up to there, first.",
        "Look at it (git diff), then commit.",
    )

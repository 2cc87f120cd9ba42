"""Compare the live database with its steps, and the models with the schema; nothing is changed.

The steps up to the live database's revision are run on a scratch database, and the two schemas are compared as pg_dump
prints them. So it sees what Alembic's `check` cannot: triggers, functions, views, grants, the bodies of constraints,
the conditions of indexes. The checksum in migration_log shows a file that was changed after it was applied.
"""

import json
import sys
import time
from argparse import ArgumentParser

from tangga.drift.comparison import compare
from tangga.drift.files import accept
from tangga.exits import DRIFT, UNPROVEN, Stop
from tangga.project import Project
from tangga.remedies import say
from tangga.words import count

HELP = "compare the live database with its steps and the models with the schema; find files changed after they ran"


def arguments(parser: ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.add_argument(
        "--accept", metavar="REVISION", help="note that the file of this step may differ from what was applied"
    )


def run(project: Project) -> None:
    """Print one line per difference; raises Stop (DRIFT) if there is any.

    Without a difference, it raises Stop (UNPROVEN) if something could not be compared.
    """
    assert project.config.cmd_opts is not None
    if project.config.cmd_opts.accept:
        accept(project, project.config.cmd_opts.accept)
        sys.stdout.write(f"accepted: {project.config.cmd_opts.accept} as its file is now\n")
        return
    start = time.monotonic()
    compared, found, notes, unproven = compare(project)
    seconds = round(time.monotonic() - start, 1)
    if project.config.cmd_opts.json:
        document = {"objects": compared, "seconds": seconds, "drift": found, "notes": notes, "unproven": unproven}
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        lines = [*found, *(f"note: {note}" for note in notes), *(f"not compared: {line}" for line in unproven)]
        if not found:
            # What was not compared may differ.
            what = "no drift between steps and database" if notes or unproven else "no drift"
            lines.append(f"{what}: {compared} objects compared in {seconds} s")
        sys.stdout.write("".join(f"{line}\n" for line in lines))
    if found:
        raise Stop(
            f"drift: {count(len(found), 'difference')} between files and database",
            f"put the database right, or write a step that says the same{say('more-on-proof')}; for a changed file: "
            "alembic drift --accept REVISION",
            DRIFT,
        )
    if unproven:
        raise Stop(
            f"drift: no difference in what was compared, but {count(len(unproven), 'thing')} could not be compared",
            "the line says what and why" + say("more-on-proof"),
            UNPROVEN,
        )

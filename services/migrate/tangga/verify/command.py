"""Prove every step on a scratch database: up, down and up again, with generated rows in every table before it.

A step is at fault if the schema after going down is not the one before it (leftover types, functions, triggers,
sequences, grants, lost defaults), if values change or rows go that were there before it, or if going up again fails or
gives another schema. What a step means to change it declares, with the reason, and what cannot be undone too:

    changes_data = {"posts.nama": "spaces at both ends are cut off, for good"}
    irreversible = "the old passwords are gone"

Besides: the SQL that --sql prints must build the same schema, and the models must agree with it.
"""

import sys
from argparse import ArgumentParser

from tangga.exits import FINDINGS, Stop
from tangga.project import Project
from tangga.remedies import say
from tangga.verify import view
from tangga.verify.walk import verify
from tangga.words import count

HELP = "go up, down and up again through every step, with rows, on a scratch database"


def arguments(parser: ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--rows", type=int, default=100, metavar="N", help="rows in every table (default: 100)")
    parser.add_argument("--from", dest="start", metavar="REVISION", help="verify this step and those after it only")
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def run(project: Project) -> None:
    """Print how long each step took and one line per fault; raises Stop (FINDINGS) if there is any."""
    options = project.config.cmd_opts
    assert options is not None
    report = verify(project, options.rows, options.start)
    sys.stdout.write(view.document(report) if options.json else view.page(report, options.rows))
    if report.findings:
        raise Stop(
            f"verify: {count(len(report.findings), 'fault')}",
            "mend the step; what it means to change it declares as changes_data, what cannot be undone as irreversible"
            + say("more-on-proof"),
            FINDINGS,
        )

"""Prove every step on a scratch database: up, down and up again, with generated rows in every table before it.

A step is at fault if the schema after going down is not the one before it (leftover types, functions, triggers,
sequences, grants, lost defaults), if values change or rows go that were there before it, or if going up again fails or
gives another schema. A step declares what it means to change, and what cannot be undone, with the reason:

    changes_data = {"posts.nama": "spaces at both ends are cut off, for good"}
    irreversible = "the old passwords are gone"

Rows that it needs, where generated ones do not suit it, it gives as `rows` (filling.py). What could not be looked at (a
table that takes no generated row, a step that refuses them) is said, and is not "verified".

Besides: the SQL that --sql prints must build the same schema, and the models must agree with it.
"""

import sys
from argparse import ArgumentParser

from tangga.exits import FINDINGS, UNPROVEN, Stop
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
    parser.add_argument("--to", metavar="REVISION", help="verify the steps up to this one only")
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def run(project: Project) -> None:
    """Print how long each step took and one line per fault; raises Stop (FINDINGS) if there is any.

    Without a fault, it raises Stop (UNPROVEN) if something could not be looked at.
    """
    options = project.config.cmd_opts
    assert options is not None
    report = verify(project, options.rows, options.start, options.to)
    sys.stdout.write(view.document(report) if options.json else view.page(report, options.rows))
    if report.findings:
        raise Stop(
            f"verify: {count(len(report.findings), 'fault')}",
            "mend the step; what it means to change it declares as changes_data, what cannot be undone as irreversible"
            + say("more-on-proof"),
            FINDINGS,
        )
    if report.unproven:
        raise Stop(
            f"verify: no fault in what was looked at, but {count(len(report.unproven), 'thing')} could not be proven",
            "give the step rows of its own that fit, as `rows`" + say("more-on-proof"),
            UNPROVEN,
        )

"""Show what migrate would do now: it is tried out on a scratch copy of the live database's schema, with a few rows.

Every statement of the pending steps, the locks that PostgreSQL took for it, whether it rewrites or scans a table, how
large that is in the live database, what the linter finds, what would be lost, and whether the rows that are there meet
what the steps demand of them. The live database is only read.
"""

import json
import sys
from argparse import ArgumentParser
from contextlib import redirect_stdout

from tangga import causes
from tangga.exits import FINDINGS, STEP_FAILED, Stop
from tangga.plan.assertions import VIOLATED
from tangga.plan.making import make
from tangga.plan.model import Plan, as_document
from tangga.project import Project

HELP = "Show what migrate would do: statements, locks, sizes, findings."


def arguments(parser: ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("to", nargs="?", default="head", help="the revision to go up to (default: head)")
    parser.add_argument("--json", action="store_true", help="one document with everything, for programs")
    parser.add_argument(
        "--seconds", type=int, default=60, help="how long a question to the live database may take (default: 60)"
    )


def run(project: Project) -> None:
    """Print the plan; raises Stop if a step fails, or the live rows do not meet what a step demands."""
    options = project.config.cmd_opts
    assert options is not None
    # What a step prints is not part of the document.
    with redirect_stdout(sys.stderr):
        plan = make(project, options.to, seconds=options.seconds)
    if options.json:
        sys.stdout.write(json.dumps(as_document(plan), indent=2) + "\n")
    else:
        from tangga.plan import view  # the container that serves has no rich

        view.show(plan)
    verdict(plan)


def verdict(plan: Plan) -> None:
    """Raise Stop if this plan must not be carried out."""
    if step := plan.failed:
        assert step.error is not None
        raise Stop(
            f"on the scratch copy, {step.error}",
            f"{causes.remedy(step.error) or 'mend the step'}; the live database is as it was",
            STEP_FAILED,
        )
    if violated := plan.with_outcome(VIOLATED):
        names = ", ".join(f"{each.demand} {each.name} on {each.table}" for each in violated)
        raise Stop(
            f"the rows of the live database do not meet {names}",
            "mend them first, by a step of its own that comes before; the counts are above",
            FINDINGS,
        )

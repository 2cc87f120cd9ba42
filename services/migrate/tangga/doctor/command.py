"""Say what of this project works here, what does not, and why; nothing is changed, and no step and no env.py is run.

The configuration, env.py (read, not run), the files of the steps, the driver, the models, the live database, the
scratch server, the linters, git.
"""

import sys
from argparse import ArgumentParser

from tangga.doctor import view
from tangga.doctor.database import database
from tangga.doctor.here import configuration, driver, env_py, files, git, linters, models
from tangga.doctor.servers import scratch_server
from tangga.exits import FINDINGS, Stop
from tangga.project import Project
from tangga.words import count

HELP = "Say what of this project works here, what does not, and why."


def arguments(parser: ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def run(project: Project) -> None:
    """Print a page; raises Stop (FINDINGS) if something does not work."""
    options = project.config.cmd_opts
    assert options is not None
    signs = [configuration(project)]
    if signs[0].state != "bad":
        signs += env_py(project) + files(project)
    signs += [driver(), *models(project), *database(project), scratch_server(project), linters(), git(project)]
    sys.stdout.write(view.document(signs) if options.json else view.page(signs))
    if bad := [sign for sign in signs if sign.state == "bad"]:
        raise Stop(f"doctor: {count(len(bad), 'thing')} to be put right", "see above", FINDINGS)

"""Plans, made in this process, and what tests ask of them."""

import io
import os
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

from tangga.exits import Stop
from tangga.plan import command, making, view
from tangga.plan.model import Plan
from tests.databases import owner_environment
from tests.migrations.proving import project_of
from tests.support.library import FOLDER


def plan_of(database: str, project: Path = FOLDER, to: str = "head", seconds: int = 60) -> Plan:
    """Make a plan in this process."""
    with mock.patch.dict(os.environ, owner_environment(database)):
        return making.make(project_of(project, database), to, seconds=seconds)


def code_of(made: Plan) -> int:
    """Return the exit code that the command would have."""
    try:
        command.verdict(made)
    except Stop as stop:
        return stop.code
    return 0


def printed(made: Plan) -> str:
    """Return what a person reads."""
    output = io.StringIO()
    with redirect_stdout(output):
        view.show(made)
    return output.getvalue()


def by_statement(made: Plan, revision: str) -> dict[str, dict[str, Any]]:
    """Return statement -> table -> what it does there."""
    [step] = [step for step in made.steps if step.revision == revision]
    return {each.sql: {touch.table: touch for touch in each.touches} for each in step.statements}

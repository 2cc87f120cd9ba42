"""What a roll-out in the swarm says of a release that does not become ready."""

from pathlib import Path

import pytest

from tests.unit.scripts.doing import do
from tests.unit.scripts.operations import says

BEHIND = '503 {"status": "not ready", "detail": "the reason of /readyz"}'
NO_ANSWER = "no answer: timed out"
EARLIER, LATER = '"2026-01-01T00:00:01Z"', '"2026-01-01T00:00:02Z"'
UNHEALTHY = "task: non-zero exit (137): dockerexec: unhealthy container"


def rolled_back(folder: Path, tasks: list[str], checks: list[str]) -> None:
    (folder / "fake/rolled-back").touch()
    says(folder, "inspect --format {{json .CreatedAt}}*", *tasks)
    says(folder, "inspect --format {{.Status.ContainerStatus.ContainerID}} new", "container")
    says(folder, "inspect --format {{.Status.ContainerStatus.ContainerID}} old", "another")
    says(folder, "inspect --format {{with .State.Health}}* container", *checks)


@pytest.mark.parametrize(
    ("checks", "why"),
    [
        ([BEHIND, ""], "the reason of /readyz"),
        # It was busy, or had begun to end.
        ([BEHIND, "", NO_ANSWER, "", "Health check exceeded timeout (5s)"], "the reason of /readyz"),
        (['503 {"detail": "an earlier one"}', BEHIND], "the reason of /readyz"),
        ([NO_ANSWER], UNHEALTHY),
        ([], UNHEALTHY),
    ],
)
def test_the_reason_is_what_readyz_said_else_what_the_swarm_says(checks: list[str], why: str, tmp_path: Path) -> None:
    tasks = [f"{LATER} failed new {UNHEALTHY}"]
    outcome = do("swarm-deploy", tmp_path, prepare=lambda folder: rolled_back(folder, tasks, checks))
    assert outcome.code == 1
    assert f"error: the new tasks did not become ready: {why}; the swarm has rolled back" in outcome.printed


@pytest.mark.parametrize("state", ["failed", "rejected", "complete"])
def test_the_newest_task_that_ended_by_itself_has_the_reason(state: str, tmp_path: Path) -> None:
    """The swarm lists tasks by slot, so an older failure may come first."""
    others = [f"{EARLIER} failed old of the release before", '"2026-01-01T00:00:03Z" shutdown old']
    tasks = [others[0], f"{LATER} {state} new", others[1]]
    outcome = do("swarm-deploy", tmp_path, prepare=lambda folder: rolled_back(folder, tasks, [BEHIND]))
    assert "did not become ready: the reason of /readyz;" in outcome.printed

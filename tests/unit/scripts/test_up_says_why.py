"""make up, when Compose does not make a container, when one fails, and when there is no step to make."""

import dataclasses
import itertools
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.scripts.operations import OPERATIONS, Outcome, place, run

# What Compose says when it does not make or start a container, and what the remedy names.
FROM_DAEMON = "Error response from daemon: "
NO_NETWORK = f"failed to create network project_default: {FROM_DAEMON}"
REFUSALS = {
    f'{FROM_DAEMON}Conflict. The container name "/project-db-1" is already in use by container "0a1b". You have to '
    "remove (or rename) that container to be able to reuse that name.": "docker rm project-db-1",
    f"{NO_NETWORK}could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the "
    "network": "docker network prune",
    f"{NO_NETWORK}all predefined address pools have been fully subnetted": "docker network prune",
    f"{FROM_DAEMON}invalid volume specification: '/srv/a:b/roles.sql:/docker-entrypoint-initdb.d/10.sql:ro'": "colon",
    f"{FROM_DAEMON}page not found": "another make",
    f"{FROM_DAEMON}No such container: 0a1b": "another make",
    f"{FROM_DAEMON}something that nobody has seen before": "make up",
}
FIRST = next(iter(REFUSALS))


@pytest.mark.parametrize(
    ("service", "said"), [*zip(itertools.cycle(["db", "migrate", "api"]), REFUSALS), ("api", FIRST), ("migrate", FIRST)]
)
def test_up_says_why_compose_did_not_start_a_container(
    service: str, said: str, well: Callable[[str], Outcome], tmp_path: Path
) -> None:
    number = place(well("up"), f"^compose up .* {service}$")
    _, got = run(tmp_path / "refused", OPERATIONS["up"], FAIL_AT=number, FAIL_WITH=said)
    assert got.code != 0
    errors = [line for line in got.printed.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, got.printed
    assert errors[0].endswith(f": {said}"), got.printed
    assert re.search(rf"^   do: .*{re.escape(REFUSALS[said])}", got.printed, re.M), got.printed
    # There is a log of the container of the run before; it says nothing of this.
    assert "of the day before" not in got.printed
    assert "see above" not in got.printed


ENDED = {
    "migrate": "migrate-1  | error: of the day before\nmigrate-1 exited with code 5\nAborting on container exit...\n"
    " Container project-migrate-1  Stopping\n Container project-migrate-1  Stopped",
    "db": " Container project-db-1  Waiting\ncontainer project-db-1 is unhealthy",
    "api": " Container project-api-1  Error\ncontainer project-api-1 exited (1)",
}


@pytest.mark.parametrize("service", ENDED)
def test_up_says_what_a_container_said_that_failed(
    service: str, well: Callable[[str], Outcome], tmp_path: Path
) -> None:
    number = place(well("up"), f"^compose up .* {service}$")
    _, got = run(tmp_path / "ended", OPERATIONS["up"], FAIL_AT=number, FAIL_WITH=ENDED[service])
    assert got.code != 0
    assert re.search(r"^    \| error: of the day before", got.printed, re.M), got.printed
    cause = "migration failed (exit 1): of the day before" if service == "migrate" else "did not become "
    assert re.search(rf"^error: .*{re.escape(cause)}", got.printed, re.M), got.printed


def test_up_without_any_step_says_so(tmp_path: Path) -> None:
    operation = dataclasses.replace(OPERATIONS["up"], prepare=lambda folder: (folder / "fake/no-step").touch())
    _, got = run(tmp_path / "up", operation)
    assert re.search("^  revision  none: no step has run", got.printed, re.M), got.printed

"""What several modules of unit tests use."""

import functools
from collections.abc import Callable

import pytest

from tests.unit.scripts.operations import OPERATIONS, Outcome, run


@pytest.fixture(scope="session")
def well(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Outcome]:
    """Return what comes of an operation when nothing fails."""

    @functools.cache
    def once(name: str) -> Outcome:
        _, outcome = run(tmp_path_factory.mktemp("well") / "copy", OPERATIONS[name])
        assert outcome.code == 0, outcome.printed
        return outcome

    return once

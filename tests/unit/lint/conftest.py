from pathlib import Path

import pytest

from tangga.lint import examples


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """A history with one step, whose tables are in use; to plant steps in."""
    examples.start(tmp_path)
    return tmp_path

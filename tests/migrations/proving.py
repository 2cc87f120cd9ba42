"""What the tests of the proving commands share: the scratch server as those commands see it."""

import os
from unittest import mock

from services.api.settings import ScratchSettings
from tangga.scratch.server import Scratch
from tests.databases import owner_environment, template


def settings(live: str | None = None) -> ScratchSettings:
    """Return the settings of the container `proof`, with this live database."""
    with mock.patch.dict(os.environ, owner_environment(live or template())):
        return ScratchSettings.load()


def scratch(live: str | None = None) -> Scratch:
    """Return the scratch server, with this live database beside it."""
    return Scratch(settings(live))

import os

from sqlalchemy import make_url

from tangga.settings import ScratchSettings

# On the server's own machine.
_CREDENTIALS = 'PGUSER="$POSTGRES_USER"\nPGPASSWORD="$POSTGRES_PASSWORD"'


def scratch() -> ScratchSettings:
    return ScratchSettings(make_url(os.environ["SCRATCH_URL"]), _CREDENTIALS)

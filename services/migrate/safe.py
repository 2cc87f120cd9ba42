"""What `from services.migrate import safe` finds: steps that were written before tangga was a package say so.

They are not changed: a database has noted the checksum of each file that it has run.
"""

from tangga.safe import *  # noqa: F403 - all that it offers, under the old name

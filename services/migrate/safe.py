"""What `from services.migrate import safe` finds. Steps that were written before tangga was a package import it so.

Those steps are not changed: a database has noted the checksum of each file that it has run.
"""

from tangga.safe import *  # noqa: F403 - all that it offers, under the old name

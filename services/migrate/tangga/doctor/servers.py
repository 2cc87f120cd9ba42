"""Whether there is a server to try steps out on; none is started."""

import os

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tangga import connect, container
from tangga.causes import one_line
from tangga.doctor.model import Sign
from tangga.exits import Stop
from tangga.project import Project


def scratch_server(project: Project) -> Sign:
    """Look for a scratch server: the one that is named, or docker and an image for it."""
    options = project.config.cmd_opts
    given = getattr(options, "scratch_url", None) or os.environ.get("SCRATCH_URL")
    try:
        if given == "docker" or (not given and "scratch" not in project.table):
            image = container.found(getattr(options, "scratch_image", None))
            return Sign("scratch server", "good", f"--scratch docker: {image}")
        server = project.scratch.url
        with connect.engine(server, "doctor").connect() as connection:
            superuser = connection.scalar(text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"))
        where = f"{server.host or 'localhost'}:{server.port or 5432}"
        if not superuser:
            return Sign(
                "scratch server", "bad", f"{server.username} is no superuser at {where}", "take a superuser's URL"
            )
        return Sign("scratch server", "good", where)
    except Stop as stop:
        return Sign("scratch server", "bad", stop.what, stop.remedy)
    except (SystemExit, ImportError) as error:
        return Sign("scratch server", "bad", one_line(error), "see the lines above")
    except DBAPIError as error:
        return Sign("scratch server", "bad", one_line(error), "correct its address, the user or the password")

"""What is to be seen in the live database, in a session that cannot write."""

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from tangga import connect
from tangga.catalogue.ours import OF_THE_APPLICATION
from tangga.causes import one_line
from tangga.doctor.model import Sign
from tangga.exits import Stop
from tangga.project import Project, applied, version_table
from tangga.words import count

_SERVER = text("""
    SELECT current_setting('server_version'), current_user, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
""")
_SCHEMAS = text(f"""
    SELECT nspname, count(c.oid) FILTER (WHERE relkind IN ('r', 'p') AND NOT relispartition),
           count(c.oid) FILTER (WHERE relispartition)
    FROM pg_namespace AS n LEFT JOIN pg_class AS c ON relnamespace = n.oid
    WHERE {OF_THE_APPLICATION} GROUP BY 1 ORDER BY 1
""")  # noqa: S608 - a condition of ours.py
_TYPES = text(f"""
    SELECT count(*) FILTER (WHERE typtype = 'e'), count(*) FILTER (WHERE typtype = 'd')
    FROM pg_type JOIN pg_namespace AS n ON n.oid = typnamespace WHERE {OF_THE_APPLICATION}
""")  # noqa: S608 - a condition of ours.py
_EXTENSIONS = text("SELECT extname || ' ' || extversion FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1")


def database(project: Project) -> list[Sign]:
    """Look at the live database: the server, its schemas, types and extensions, the version table, what is pending."""
    try:
        if not project.names_a_database:
            text = "none is named; verify and lint need none"
            return [Sign("database", "bad", text, "set DATABASE_URL, or name it: --url postgresql://...")]
        settings = project.settings
        session = {"default_transaction_read_only": "on", "statement_timeout": "10s", "lock_timeout": "1s"}
        engine = connect.engine(settings.url, "doctor", autocommit=True, session=session)
        with engine.connect() as live:
            version, user, superuser = live.execute(_SERVER).one()
            where = f"{settings.database} at {settings.address}, PostgreSQL {version.split()[0]}, as {user}"
            note = " (a superuser: what its rights forbid nobody sees here)" if superuser else ""
            return [Sign("database", "good", where + note), *_contents(live), *_position(project, live)]
    except Stop as stop:
        return [Sign("database", "bad", stop.what, stop.remedy)]
    except (SystemExit, ImportError) as error:
        return [Sign("database", "bad", one_line(error), "see the lines above")]
    except DBAPIError as error:
        return [Sign("database", "bad", one_line(error), "is it running there, are the address and the user right?")]


def _contents(live: Connection) -> list[Sign]:
    schemas = [
        f"{name} ({count(tables, 'table')}{f', {partitions} partitions' if partitions else ''})"
        for name, tables, partitions in live.execute(_SCHEMAS)
    ]
    enums, domains = live.execute(_TYPES).one()
    extensions = live.scalars(_EXTENSIONS).all()
    found = [Sign("schemas", "good", ", ".join(schemas) or "none")]
    if enums or domains:
        found.append(Sign("types", "good", f"{count(enums, 'enum')}, {count(domains, 'domain')}"))
    if extensions:
        remedy = "a scratch server must have them: --scratch-image" if len(extensions) else ""
        found.append(Sign("extensions", "note", ", ".join(extensions), remedy))
    return found


def _position(project: Project, live: Connection) -> list[Sign]:
    table = version_table(live)
    if table is None:
        return [Sign("version table", "note", "none: no step has run")]
    at = applied(live)
    what = f"{table}: at {', '.join(at) or 'nothing'}"
    try:
        pending = len(project.pending(at))
    except Exception as error:  # files that do not load have a line of their own; an unknown revision has none
        return [
            Sign("version table", "bad", f"{what}: {one_line(error)}", "use the files that this database came from")
        ]
    return [Sign("version table", "good", f"{what}, {pending} pending")]

"""What to do next, in the words of the project: a stack that has `make migrate` says so in its configuration.

`[tool.tangga.remedies]` in pyproject.toml replaces these texts by their names; what stands in braces is filled in.
"""

from collections.abc import Mapping
from typing import Any

_texts = {
    # Commands.
    "migrate": "alembic upgrade head",
    "migrate-to": "alembic upgrade {to}",
    "downgrade-to": "alembic downgrade {to}",
    "downgrade-there": "there: alembic downgrade {to}",
    "stamp": "alembic stamp {revision}",
    "revision": "alembic revision",
    "revision-auto": "alembic revision --autogenerate",
    "merge": 'alembic merge heads -m "..."',
    "history": "tangga log",
    "history-page": "tangga log --page {page}",
    "check": "tangga drift",
    "plan": "tangga plan",
    "graph": "tangga graph",
    "squash": "tangga squash ...",
    "reparent": "tangga reparent",
    "reparent-of": "tangga reparent {revision}",
    "reparent-onto": "tangga reparent ... --onto ...",
    "lint": "tangga lint",
    "write-head": "tangga lint --write-head",
    "write-baseline": "tangga lint --baseline {file} --write-baseline",
    "help": "tangga --help",
    "as-owner": "as the owner of the tables",
    # Sentences.
    "not-writable": "make the folder writable for whoever runs this",
    "unreadable": "let everybody read it (chmod -R a+rX {folder})",
    "unreachable": "is it running there, and is the address right?",
    "refused": "correct the user or the password in the URL",
    "pooler": "name the server itself, and its own port",
    "no-squawk": "install it: pip install 'tangga[lint]'",
    "hidden-state": "its state is not ours to see: GRANT pg_read_all_stats",
    "save-dir": "MIGRATE_SAVE_DIR",
    "traceback": "MIGRATE_TRACEBACK=true shows where",
    "outage": "deploy it while nothing runs",
    "more-on-proof": "",
    "extension-denied": "the owner of the schema may not make it: let a superuser make it before the migration",
    "extension-owned": "a superuser made it, so it stays when the step goes down: take its DROP EXTENSION out",
    "extension-missing": "install it on the database's server",
    "role-denied": "roles are the server's, and no step's: let a superuser make it before the migration",
    "not-owner": (
        "somebody else made it: as a superuser, ALTER ... OWNER TO the owner of the schema, or GRANT what is missing"
    ),
}


def use(texts: Mapping[str, str]) -> None:
    """Take a project's own words; raises ValueError for a name that is none of ours."""
    if unknown := sorted(texts.keys() - _texts.keys()):
        raise ValueError(f"[tool.tangga.remedies] has names that nothing asks for: {', '.join(unknown)}")
    _texts.update(texts)


def say(name: str, **values: Any) -> str:
    """Return a text, with `values` filled in."""
    return _texts[name].format(**values)

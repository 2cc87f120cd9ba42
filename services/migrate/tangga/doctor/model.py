"""What a project has: one line a subject, and which commands work with it."""

from typing import Literal, NamedTuple

State = Literal["good", "note", "bad"]

# What each command needs; what is bad there keeps it from working.
NEEDS = {
    "lint": ("configuration", "files", "linters"),
    "log": ("configuration", "files", "driver", "database"),
    "upgrade, downgrade": ("configuration", "files", "driver", "database", "heads"),
    "plan": ("configuration", "files", "driver", "database", "scratch server", "linters", "heads"),
    "drift": ("configuration", "files", "driver", "database", "scratch server"),
    "verify": ("configuration", "files", "driver", "scratch server", "linters"),
    "graph": ("configuration", "files", "driver", "database", "scratch server"),
    "squash": ("configuration", "files", "driver", "scratch server", "linters"),
}


class Sign(NamedTuple):
    """What was found of a subject; `remedy` is there if something is to be done about it."""

    subject: str
    state: State
    what: str
    remedy: str = ""


def missing(signs: list[Sign]) -> dict[str, list[str]]:
    """Return for each command the subjects that keep it from working; [] if it works."""
    bad = {sign.subject for sign in signs if sign.state == "bad"}
    return {command: [need for need in needs if need in bad] for command, needs in NEEDS.items()}

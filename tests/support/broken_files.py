"""Revision files that cannot be loaded, or that make no chain: what is in them, and the words that name the fault."""

from tests.support.library import HEAD, L2

# As an author would write it, so that precheck.py can read it as text.
STEP = """revision = "{0}"
down_revision = {1}


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
"""
_ABOVE = STEP.format("0000000000a1", f"'{HEAD}'")

FILES: dict[str, tuple[str | bytes, str]] = {
    "of itself": (STEP.format("0000000000a1", "'0000000000a1'"), "Self-loop"),
    "NUL byte": (f"{_ABOVE}\0", "null bytes"),
    "UTF-16": (_ABOVE.encode("utf-16"), "null bytes"),
    "a number below": (STEP.format("0000000000a1", "7"), "expected str instance, int found"),
    "a number": (_ABOVE.replace('"0000000000a1"', "7"), "'int' object is not iterable"),
    "no revision": (_ABOVE.replace("revision", "rev", 1), "revision id"),
    "nothing below": (_ABOVE.replace("down_", "up_"), "down_revision"),
    "no Python": ("pass pass", "invalid syntax"),
    "cannot import": (f"import nonsense\n{_ABOVE}", "No module named 'nonsense'"),
    "raises": ("raise RuntimeError('no such luck')", "RuntimeError: no such luck"),
    "ends the program": ("import sys\nsys.exit(4)", "SystemExit: 4"),
    "a letter that may not be": (STEP.format("a@b", f"'{HEAD}'"), "not allowed in revision identifier"),
    "a label that is taken": (f"{_ABOVE}branch_labels = ('{L2}',)\n", "already used"),
}

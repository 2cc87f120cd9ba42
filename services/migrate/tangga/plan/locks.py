"""PostgreSQL's table locks: which is the stronger, and what others cannot do meanwhile."""

from collections.abc import Collection
from typing import Final

# The weakest first (documentation, 13.3.1).
MODES: Final = {
    "ACCESS SHARE": "nothing",
    "ROW SHARE": "nothing",
    "ROW EXCLUSIVE": "nothing",
    "SHARE UPDATE EXCLUSIVE": "nothing",
    "SHARE": "writes",
    "SHARE ROW EXCLUSIVE": "writes",
    "EXCLUSIVE": "writes",
    "ACCESS EXCLUSIVE": "reads, writes",
}
# As pg_locks names them: AccessShareLock.
IN_PG_LOCKS: Final = {mode.title().replace(" ", "") + "Lock": mode for mode in MODES}
_STRENGTH = {mode: strength for strength, mode in enumerate(MODES)}

# The locks on each relation, by its number.
Modes = dict[int, set[str]]


def strength(*modes: str) -> int:
    """Return how strong the strongest of some lock modes is; -1 without any."""
    return max((_STRENGTH[mode] for mode in modes), default=-1)


def by_strength(modes: Collection[str]) -> list[str]:
    """Return lock modes in order, the weakest first."""
    return sorted(modes, key=_STRENGTH.__getitem__)

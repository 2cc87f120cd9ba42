"""Objects that are printed differently, and are the same.

PostgreSQL prints some expressions in another form once they have been loaded from what it had printed: `x IN (...)` on
a varchar, in a CHECK or in an index. A database that was restored has that form, and so has a baseline. What pg_dump
prints of both sides is loaded and printed again: what is the same then is no difference.
"""

from collections.abc import Callable

from tangga.catalogue import dump
from tangga.exits import Stop

Objects = dict[str, str]


def differences(
    expected: Objects, found: Objects, expected_again: Callable[[], Objects], found_again: Callable[[], Objects]
) -> list[str]:
    """Return one line per difference, in words; the functions say what either side is, loaded and printed again."""
    if expected == found:
        return []
    try:
        ours, theirs = expected_again(), found_again()
    except Stop:  # what cannot be loaded excuses nothing
        return dump.differences(expected, found)
    same = {name for name in ours.keys() & theirs.keys() if ours[name] == theirs[name]}
    return dump.differences(expected | {name: found[name] for name in same & expected.keys() & found.keys()}, found)

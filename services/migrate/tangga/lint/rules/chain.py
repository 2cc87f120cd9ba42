"""The files, and how they hang together: a file that is odd is named, and the others are looked at all the same.

Found by tangga/revision: loading.py and head_file.py. No exception covers them; at all but the last, Alembic stops.
"""

from tangga.lint.rule import Family, Rule
from tangga.revision.loading import ID_TWICE, MISSING, NO_CHAIN, NOT_LOADED

STALE_HEAD_FILE = Rule(
    "stale-head-file",
    why="{what}",
    remedy="if two branches have both added a step, put one on top of the other ({reparent}) or join them ({merge}); "
    "this writes the file: {write-head}",
)

FAMILY = Family(
    "The files, and how they hang together",
    (
        Rule(
            NOT_LOADED,
            why="{what}",
            remedy="mend that file, install what it imports, or take it away; until then nobody knows what it does",
        ),
        Rule(
            ID_TWICE,
            why="{what}, and Alembic would run one of the two",
            remedy="keep one of the files; what the other is to do goes into a step of its own, with its own id: "
            "{revision}",
        ),
        Rule(
            MISSING,
            why="{what}",
            remedy="bring the file of that revision back, or correct the name",
        ),
        Rule(
            NO_CHAIN,
            why="{what}",
            remedy="correct that line: a step stands on another one, and its label is nobody else's",
        ),
        STALE_HEAD_FILE,
    ),
)

"""Exit codes, and the error that carries one.

1 is left to the interpreter, 2 is argparse's too; 255 is Alembic's own.
"""

WRONG_SETTING = 2
STEP_FAILED = 3
LOCK_NOT_OBTAINED = 4
UNREACHABLE = 5
AHEAD = 6
SEVERAL_HEADS = 7
BEHIND = 8
DRIFT = 9
TABLE_LOCK_NOT_OBTAINED = 10
WOULD_LOSE_DATA = 11
FINDINGS = 12
UNKNOWN_REVISION = 13
NO_BACKUP = 14
REVISION_FILES = 15
SCRATCH_FAILED = 16
UNPROVEN = 17
ALEMBIC_REFUSES = 255


class Stop(Exception):
    """End the program: `what` happened, what to do next (`remedy`), and the exit code. Printed without a traceback."""

    def __init__(self, what: str, remedy: str, code: int) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy
        self.code = code

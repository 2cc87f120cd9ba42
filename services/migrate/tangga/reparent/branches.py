"""What stands on each head, which of it is the author's own, and which head it is to stand on."""

from pathlib import Path

from alembic.script import Script, ScriptDirectory
from alembic.util import to_tuple

from tangga.exits import ALEMBIC_REFUSES, SEVERAL_HEADS, Stop
from tangga.journal.history import title
from tangga.remedies import say


class Branch:
    """What only one of several heads stands on."""

    def __init__(self, scripts: ScriptDirectory, head: str) -> None:
        shared = {step for other in scripts.get_heads() if other != head for step in _below(scripts, other)}
        self.head = head
        # The newest first.
        self.steps = [step for step in scripts.walk_revisions() if step in _below(scripts, head) - shared]

    def first(self) -> Script:
        """Return the step that the branch begins with; raises Stop if a merge is among its steps."""
        for step in self.steps:
            if step.is_merge_point:
                raise Stop(
                    f"{step.revision} ({title(step)}) is a merge of two branches, and cannot be put elsewhere",
                    f"join the heads instead: {say('merge')}",
                    ALEMBIC_REFUSES,
                )
        return self.steps[-1]


def _below(scripts: ScriptDirectory, head: str) -> set[Script]:
    """Return what stands below a head by down_revision: depends_on makes no branch."""
    found: set[Script] = set()
    left = [head]
    while left:
        step = scripts.get_revision(left.pop())
        assert step is not None
        if step not in found:
            found.add(step)
            left += to_tuple(step.down_revision, default=())
    return found


def branch_of(branches: list[Branch], revision: str) -> Branch:
    """Return the branch that a step is on; raises Stop if it is below all of them."""
    found = [branch for branch in branches if revision in {step.revision for step in branch.steps}]
    if not found:
        raise Stop(
            f"{revision} is below all heads: no branch begins above it",
            f"name a step of one of the branches: {_choice(branches)}",
            ALEMBIC_REFUSES,
        )
    return found[0]


def unapplied(branches: list[Branch], applied: set[str]) -> Branch:
    """Return the only branch of which nothing has run; the first if all have, for the refusal names its steps.

    Raises Stop if it may be somebody else's: to change a file that others have would harm them.
    """
    found = [branch for branch in branches if not {step.revision for step in branch.steps} & applied]
    if len(found) > 1:
        raise Stop(
            f"nothing of these branches has run in this database, so it is not known which is yours: {_choice(found)}",
            f"name yours: {say('reparent-of', revision=found[0].head)}, for example",
            SEVERAL_HEADS,
        )
    if found and _newest(found[0]) >= min(_oldest(branch) for branch in branches if branch is not found[0]):
        raise Stop(
            f"{_choice(found)} has not run here, but its files are newer than the others, as if they came with a pull",
            f"name a step of yours: {say('reparent-of', revision='...')}; if it has run here, take it back first",
            SEVERAL_HEADS,
        )
    return found[0] if found else branches[0]


def _newest(branch: Branch) -> float:
    return max(Path(step.path).stat().st_mtime for step in branch.steps)


def _oldest(branch: Branch) -> float:
    return min(Path(step.path).stat().st_mtime for step in branch.steps)


def other_head(scripts: ScriptDirectory, others: list[str], applied: set[str], wanted: str | None) -> str:
    """Return which of the other heads the branch is to stand on: the one that is wanted, the only one, or what has run.

    Raises Stop if that is not one.
    """
    if wanted is not None:
        revision = scripts.get_revision(wanted)
        if revision is None or revision.revision not in others:
            raise Stop(f"{wanted} is not another head", f"the others: {', '.join(others)}", ALEMBIC_REFUSES)
        return revision.revision
    candidates = others if len(others) == 1 else [head for head in others if head in applied]
    if len(candidates) != 1:
        raise Stop(
            f"there are {len(others)} other heads: {', '.join(others)}",
            f"say which: {say('reparent-onto')}",
            SEVERAL_HEADS,
        )
    return candidates[0]


def named(script: Script) -> str:
    """Return a step as a person knows it: its revision and what it does."""
    return f"{script.revision} ({title(script)})"


def _choice(branches: list[Branch]) -> str:
    return ", ".join(named(step) for branch in branches for step in branch.steps[:1])

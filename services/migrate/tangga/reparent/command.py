"""Put a local branch, none of whose steps has run here, onto the other head: one chain again, without a merge step.

Only the `down_revision` of the branch's first file is changed, and the "Revises:" line of its docstring.
"""

import argparse
import ast
import importlib.util
import re
import shutil
import sys
from pathlib import Path

from alembic.script import Script, ScriptDirectory
from alembic.util import to_tuple

from tangga.exits import ALEMBIC_REFUSES, SEVERAL_HEADS, Stop
from tangga.guard.command import require_folder
from tangga.journal.history import applied_below, look, title
from tangga.project import Project
from tangga.remedies import say

HELP = "Put local, unapplied steps onto the other head."

_REVISES = re.compile(rb"^(Revises: )[^\r\n]*", re.MULTILINE)


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


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("revision", nargs="?", default="head", help="a step of the branch to move (default: find it)")
    parser.add_argument("--onto", help="the head to put it on, where there are more than two")


def run(project: Project) -> None:
    """Change the file; raises Stop if that is not safe, DBAPIError if the database cannot be asked."""
    options = project.config.cmd_opts
    assert options is not None
    scripts = project.scripts
    heads = scripts.get_heads()
    if len(heads) < 2:
        sys.stdout.write(f"one head, {', '.join(heads) or 'no step yet'}: nothing to do\n")
        return
    applied = applied_below(scripts, look(project.settings).current)
    branches = [Branch(scripts, head) for head in heads]
    if options.revision == "head":
        branch = _unapplied(branches, applied)
    else:
        found = scripts.get_revision(options.revision)
        branch = _branch_of(branches, found.revision if found else options.revision)
    if ran := [step for step in branch.steps if step.revision in applied]:
        raise Stop(
            f"already applied in this database: {', '.join(map(_named, ran))}",
            f"take it back first ({say('downgrade-to', to=branch.first().down_revision or 'base')}), "
            f"or join the heads: {say('merge')}",
            ALEMBIC_REFUSES,
        )
    first = branch.first()
    onto = _onto(scripts, [head for head in heads if head != branch.head], applied, options.onto)
    if circle := {step.revision for step in branch.steps} & applied_below(scripts, [onto]):
        raise Stop(
            f"{onto} depends on {', '.join(sorted(circle))} (depends_on), so the branch cannot stand on it",
            f"join the heads instead: {say('merge')}",
            ALEMBIC_REFUSES,
        )
    file = Path(first.path)
    require_folder(file.parent)
    source = file.read_bytes()
    changed = rewritten(source, first, onto)
    replace(file, source, changed)
    try:
        left = ScriptDirectory.from_config(project.config).get_heads()
        problem = None if len(left) == len(heads) - 1 else f"there are {len(left)} heads then"
    except Exception as error:  # a file of the author's own runs here: it may raise anything
        problem = f"{type(error).__name__}: {error}"
    if problem:
        replace(file, changed, source)
        raise Stop(
            f"{first.revision} cannot stand on {onto}: {problem}",
            f"nothing was changed: look at {say('history')}, then run it again",
            ALEMBIC_REFUSES,
        )
    name = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
    lines = [
        f"{_named(first)} stood on {first.down_revision or 'nothing'}, and stands on {onto} now",
        f"changed: {name}",
        f"one head: {left[0]}; next: {say('migrate')}"
        if len(left) == 1
        else f"still {len(left)} heads: {', '.join(left)}",
    ]
    sys.stdout.writelines(f"{line}\n" for line in lines)


def rewritten(source: bytes, script: Script, onto: str) -> bytes:
    """Return a file with another down_revision; raises Stop if the file does not say what was loaded.

    Works on bytes: line ends, and whatever else the author wrote, stay as they are.
    """
    module = ast.parse(source)
    values = [
        node.value
        for node in module.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and target.id == "down_revision"
    ]
    constant = values[0] if len(values) == 1 else None
    if not isinstance(constant, ast.Constant) or constant.value != script.down_revision:
        raise Stop(
            f"{Path(script.path).name} does not hold `down_revision = {script.down_revision!r}` just once, as text: "
            "it is written in another way, or was changed this moment",
            "run it again, or change that line by hand",
            ALEMBIC_REFUSES,
        )
    lines = source.splitlines(keepends=True)
    # ast counts bytes of UTF-8, from 0; lines from 1.
    line = lines[constant.lineno - 1]
    quote = line[constant.col_offset : constant.col_offset + 1]
    quote = quote if quote in (b"'", b'"') else b'"'
    value = quote + onto.encode() + quote
    lines[constant.lineno - 1] = line[: constant.col_offset] + value + line[constant.end_col_offset :]
    text = module.body[0]
    if ast.get_docstring(module) is not None:
        head = b"".join(lines[: text.end_lineno])
        return _REVISES.sub(rb"\g<1>" + onto.encode(), head, count=1) + b"".join(lines[text.end_lineno :])
    return b"".join(lines)


def replace(file: Path, expected: bytes, new: bytes) -> None:
    """Put `new` in the place of `expected`; raises Stop if the file holds something else by now."""
    beside = file.with_suffix(".new")
    try:
        beside.write_bytes(new)
        shutil.copymode(file, beside)
        if file.read_bytes() != expected:
            raise Stop(f"{file.name} was changed by another program this moment", "run it again", ALEMBIC_REFUSES)
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
    # Python takes byte code for fresh if the size and the second are the same, as they may be here.
    Path(importlib.util.cache_from_source(str(file))).unlink(missing_ok=True)


def _branch_of(branches: list[Branch], revision: str) -> Branch:
    found = [branch for branch in branches if revision in {step.revision for step in branch.steps}]
    if not found:
        raise Stop(
            f"{revision} is below all heads: no branch begins above it",
            f"name a step of one of the branches: {_choice(branches)}",
            ALEMBIC_REFUSES,
        )
    return found[0]


def _unapplied(branches: list[Branch], applied: set[str]) -> Branch:
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


def _onto(scripts: ScriptDirectory, others: list[str], applied: set[str], wanted: str | None) -> str:
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


def _choice(branches: list[Branch]) -> str:
    return ", ".join(_named(step) for branch in branches for step in branch.steps[:1])


def _named(script: Script) -> str:
    return f"{script.revision} ({title(script)})"

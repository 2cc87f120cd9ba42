"""Put a local branch, none of whose steps has run here, onto the other head: one chain again, without a merge step.

Only the `down_revision` of the branch's first file is changed, and the "Revises:" line of its docstring.
"""

import argparse
from pathlib import Path

from alembic.script import Script, ScriptDirectory

from tangga.exits import ALEMBIC_REFUSES, Stop
from tangga.guard.command import require_folder
from tangga.journal.history import applied_below, look
from tangga.project import Project
from tangga.remedies import say
from tangga.reparent.branches import Branch, branch_of, named, other_head, unapplied
from tangga.reparent.rewriting import replace, rewritten
from tangga.revision import head_file
from tangga.words import print_lines

HELP = "Put local, unapplied steps onto the other head."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("revision", nargs="?", default="head", help="a step of the branch to move (default: find it)")
    parser.add_argument("--onto", help="the head to put it on, where there are more than two")


def run(project: Project) -> None:
    """Change the file; raises Stop if that is not safe, DBAPIError if the database cannot be asked."""
    options = project.config.cmd_opts
    assert options is not None
    heads = project.scripts.get_heads()
    if len(heads) < 2:
        print_lines(f"one head, {', '.join(heads) or 'no step yet'}: nothing to do")
        return
    first, onto = _chosen(project, heads, options)
    left = _moved(project, first, onto, len(heads) - 1)
    head_file.keep(project)
    file = Path(first.path)
    print_lines(
        f"{named(first)} stood on {first.down_revision or 'nothing'}, and stands on {onto} now",
        f"changed: {file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file}",
        f"one head: {left[0]}; next: {say('migrate')}"
        if len(left) == 1
        else f"still {len(left)} heads: {', '.join(left)}",
    )


def _chosen(project: Project, heads: list[str], options: argparse.Namespace) -> tuple[Script, str]:
    """Return the first step of the branch to move, and the head to put it on.

    Raises Stop if there is not one of each, or a step of the branch has run.
    """
    scripts = project.scripts
    applied = applied_below(scripts, look(project.settings).current)
    branches = [Branch(scripts, head) for head in heads]
    if options.revision == "head":
        branch = unapplied(branches, applied)
    else:
        found = scripts.get_revision(options.revision)
        branch = branch_of(branches, found.revision if found else options.revision)
    if ran := [step for step in branch.steps if step.revision in applied]:
        raise Stop(
            f"already applied in this database: {', '.join(map(named, ran))}",
            f"take it back first ({say('downgrade-to', to=branch.first().down_revision or 'base')}), "
            f"or join the heads: {say('merge')}",
            ALEMBIC_REFUSES,
        )
    first = branch.first()
    onto = other_head(scripts, [head for head in heads if head != branch.head], applied, options.onto)
    if circle := {step.revision for step in branch.steps} & applied_below(scripts, [onto]):
        raise Stop(
            f"{onto} depends on {', '.join(sorted(circle))} (depends_on), so the branch cannot stand on it",
            f"join the heads instead: {say('merge')}",
            ALEMBIC_REFUSES,
        )
    return first, onto


def _moved(project: Project, first: Script, onto: str, expected: int) -> list[str]:
    """Put the branch that begins with `first` onto a head, and return the heads that are left.

    Raises Stop unless they are as many as expected; the file is as it was then.
    """
    file = Path(first.path)
    require_folder(file.parent)
    source = file.read_bytes()
    changed = rewritten(source, first, onto)
    replace(file, source, changed)
    left: list[str] = []
    try:
        left = ScriptDirectory.from_config(project.config).get_heads()
        problem = None if len(left) == expected else f"there are {len(left)} heads then"
    except Exception as error:  # a file of the author's own runs here: it may raise anything
        problem = f"{type(error).__name__}: {error}"
    if problem:
        replace(file, changed, source)
        raise Stop(
            f"{first.revision} cannot stand on {onto}: {problem}",
            f"nothing was changed: look at {say('history')}, then run it again",
            ALEMBIC_REFUSES,
        )
    return left

"""Which steps are looked at: all but history (lint_from), those that a branch adds (--since), those that are named."""

import os
import subprocess
from pathlib import Path

from alembic.script import Script
from alembic.script.revision import ResolutionError
from alembic.util import CommandError

from tangga.exits import WRONG_SETTING, Stop
from tangga.project import Project
from tangga.remedies import say

# A hook of git's has them, for git in the folder that it was called in.
_OF_A_HOOK = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")


def history(project: Project) -> set[str]:
    """Return the steps below the one that `lint_from` names: they have been released, and are what they are.

    Raises Stop if there is no such step.
    """
    first = project.table.get("lint_from")
    if first is None:
        return set()
    try:
        script = project.scripts.get_revision(first)
        below = {each.revision for each in project.scripts.iterate_revisions(first, "base")}
    except (CommandError, ResolutionError, TypeError) as error:
        raise Stop(
            f"[tool.tangga] lint_from = {first!r} is no step", f"{say('history')} lists them", WRONG_SETTING
        ) from error
    return below - {script.revision}


def added_since(project: Project, ref: str, steps: list[Script]) -> set[str]:
    """Return the steps whose files are new since this branch left `ref`, committed or not; raises Stop, if git does."""
    folder = project.folder
    _git(folder, "rev-parse", "--quiet", "--verify", "--end-of-options", f"{ref}^{{commit}}", about=ref)
    base = _git(folder, "merge-base", "--", ref, "HEAD", about=ref).strip()
    top = Path(_git(folder, "rev-parse", "--show-toplevel").rstrip("\n"))
    changed = _git(top, "diff", "--name-only", "--no-ext-diff", "--diff-filter=A", "--find-renames", "-z", base)
    untracked = _git(top, "ls-files", "--others", "--exclude-standard", "-z")
    new = {(top / name).resolve() for name in (changed + untracked).split("\0") if name}
    return {script.revision for script in steps if Path(script.path).resolve() in new}


def _git(folder: Path, *arguments: str, about: str = "") -> str:
    try:
        finished = subprocess.run(  # noqa: S603 - a fixed program
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - wherever it is installed
            env={name: value for name, value in os.environ.items() if name not in _OF_A_HOOK},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="surrogateescape",
        )  # fmt: skip
    except FileNotFoundError:
        raise Stop("--since asks git, which is not installed here", "install git", WRONG_SETTING) from None
    if finished.returncode:
        raise Stop(*_refused(arguments[0], finished.stderr, about), WRONG_SETTING)
    return finished.stdout


def _refused(command: str, stderr: str, ref: str) -> tuple[str, str]:
    """Return what git says in one line, and what to do."""
    said = " ".join(stderr.strip().partition("\n")[0].split()).removeprefix("fatal: ")
    if "dubious ownership" in said:
        return f"git: {said}", "let git read it: git config --global --add safe.directory <the folder>"
    if "not a git repository" in said:
        return f"git: {said}", "--since needs the repository: run it in a checkout"
    if command == "rev-parse":
        return f"git knows no {ref}", "fetch it first (git fetch origin; in CI, fetch-depth: 0), or name another commit"
    if command == "merge-base" and not said:
        what = f"git finds nothing that {ref} and this branch have in common"
        return what, "fetch the whole history: git fetch --unshallow (in CI, fetch-depth: 0)"
    return f"git {command}: {said or 'it failed'}", "run it by hand"

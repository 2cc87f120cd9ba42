"""The file HEAD beside the steps, one line a head: two branches that both add a step conflict in git.

Without it they merge green, for they add files of different names, and the two heads are found when nobody can go up.
A project asks for the file by having it, or by `head_file = true` in [tool.tangga]. Then `revision`, `merge`,
`reparent` and `squash` write it, and `lint` looks whether it is right.
"""

from pathlib import Path

from alembic.script import ScriptDirectory

from tangga.exits import ALEMBIC_REFUSES, Stop
from tangga.project import Project
from tangga.remedies import say

NAME = "HEAD"


def path(project: Project) -> Path:
    """Return where the file is, or would be: in the folder that holds env.py."""
    return Path(project.scripts.dir, NAME)


def is_kept(project: Project) -> bool:
    """Tell whether the project asks for the file."""
    return bool(project.table.get("head_file")) or path(project).exists()


def write(project: Project) -> None:
    """Write the heads of the files as they are now; raises Stop if the file cannot be written."""
    file = path(project)
    text = _text(ScriptDirectory.from_config(project.config).get_heads())
    try:
        if not file.exists() or file.read_bytes() != text.encode():
            file.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise Stop(
            f"{project.shown(file)} cannot be written: {error.strerror}",
            f"{say('not-writable')}; then: {say('write-head')}",
            ALEMBIC_REFUSES,
        ) from error


def keep(project: Project) -> None:
    """Write the file anew if the project asks for it; raises Stop if it cannot be written."""
    if is_kept(project):
        write(project)


def fault(project: Project) -> str | None:
    """Return what is wrong with the file; None if nothing is, or if nobody asks for it."""
    if not is_kept(project):
        return None
    file, heads = path(project), project.scripts.get_heads()
    try:
        said = file.read_bytes().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return f"the file is not there; its line would be {' and '.join(sorted(heads)) or 'none'}"
    except OSError as error:
        return f"the file cannot be read: {error.strerror}"
    if any(line.startswith(("<<<<<<<", "=======", ">>>>>>>")) for line in said):
        return "it holds a conflict of git's: two branches have both added a step"
    if said != sorted(heads):
        return f"it says {', '.join(said) or 'nothing'}, but the head is {', '.join(sorted(heads)) or 'nothing'}"
    return None


def _text(heads: list[str]) -> str:
    return "".join(f"{head}\n" for head in sorted(heads))

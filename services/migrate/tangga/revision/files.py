"""The revision files: an id that is there twice, and a file that cannot be loaded, are named before anything runs.

Alembic only warns of the former, and goes on with one of the two files. Of the latter it says what, but not where.
"""

import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from alembic.script import Script, ScriptDirectory
from alembic.util import to_tuple

from tangga.causes import one_line
from tangga.exits import REVISION_FILES, UNKNOWN_REVISION, Stop
from tangga.remedies import say
from tangga.words import file_name, folder_name

_TWICE = "is present more than once"
_SHOWN = 6


def strict(*folders: str | Path) -> None:
    """Make Alembic's warning of an id that is there twice an error; refuse a folder that cannot be read.

    Alembic takes that one for an empty folder. Raises Stop.
    """
    warnings.filterwarnings("error", f"Revision .* {_TWICE}", UserWarning)
    for folder in folders:
        try:
            any(Path(folder).iterdir())
        except FileNotFoundError:
            pass  # no step yet
        except OSError as error:
            raise Stop(
                f"the folder {folder_name(folder)} cannot be read: {error.strerror}",
                say("unreadable", folder=Path(folder).parent.name),
                REVISION_FILES,
            ) from error


def explained(error: BaseException, load: Callable[[], ScriptDirectory]) -> Stop | None:
    """Return what an error that came from loading the revisions means; None if it came from elsewhere."""
    if isinstance(error, UserWarning) and _TWICE in str(error):
        return _twice(load())
    for each in (error, error.__cause__):
        if each is None:
            continue
        frames = [*_frames(each.__traceback__)]
        if file := next((file for name, file in frames if name == "_from_path"), None):
            return Stop(
                f"{file} cannot be loaded: {one_line(each)}",
                f"mend that file{_form(each)}; nothing was run",
                REVISION_FILES,
            )
        if "_revision_map" in {name for name, _ in frames}:
            return _no_chain(each, load())
    return None


def _frames(tb: TracebackType | None) -> Iterator[tuple[str, str]]:
    """Yield the functions of Alembic's loader that the error went through, and the file that each was loading."""
    while tb is not None:
        code = tb.tb_frame.f_code
        if "alembic/script/" in code.co_filename:
            yield code.co_name, file_name(str(tb.tb_frame.f_locals.get("path", "")))
        tb = tb.tb_next


def _form(error: BaseException) -> str:
    """Add what such a file must say, where the error is not one of Python's own about it."""
    if isinstance(error, SyntaxError | ImportError | OSError | SystemExit):
        return ""
    return f', or take it away; it needs revision = "..." and down_revision = "...", as {say("revision")} writes them'


def _twice(scripts: ScriptDirectory) -> Stop:
    files: dict[str, list[Script]] = {}
    for script in scripts._load_revisions():
        files.setdefault(script.revision, []).append(script)
    twins = {revision: found for revision, found in files.items() if len(found) > 1}
    named = "; ".join(f"{revision} in {' and '.join(map(_named, found))}" for revision, found in twins.items())
    return Stop(
        f"a revision id is used twice: {named}",
        f"keep one of the files; what the other is to do goes into a step of its own ({say('revision')}), with its own "
        "id. Nothing was run",
        REVISION_FILES,
    )


def _no_chain(error: BaseException, scripts: ScriptDirectory) -> Stop:
    """Name the files of the revisions that the error is about: each can be loaded, and together they make no chain."""
    text, loaded = one_line(error), {_named(script): script for script in scripts._load_revisions()}
    if isinstance(error, KeyError) and error.args:
        missing = str(error.args[0])
        above = [file for file, script in loaded.items() if missing in _below(script)]
        return Stop(
            f"can't locate revision {missing}, which {' and '.join(above) or 'a file'} names as its down_revision or "
            "depends_on",
            "bring the file of that revision back, or correct the name; nothing was run",
            UNKNOWN_REVISION,
        )
    about = [file for file, script in loaded.items() if any(not isinstance(name, str) for name in _below(script))]
    about = about or [file for file, script in loaded.items() if re.search(rf"\b{re.escape(script.revision)}\b", text)]
    more = f" and {len(about) - _SHOWN} more" if len(about) > _SHOWN else ""
    return Stop(
        f"the files in {folder_name(str(scripts.versions))} make no chain: {text} "
        f"({', '.join(about[:_SHOWN]) or 'no file is named'}{more})",
        "correct the down_revision (a text, None or a tuple of texts) or the label in what is named; nothing was run",
        REVISION_FILES,
    )


def _below(script: Script) -> tuple[object, ...]:
    return (*to_tuple(script.down_revision, default=()), *to_tuple(script.dependencies, default=()))


def _named(script: Script) -> str:
    return file_name(script.path)

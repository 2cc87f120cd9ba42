"""The steps as far as they can be read: what is at fault in a file is named, and the other files can be looked at.

Alembic stops at the first file that is odd, so one of them would silence whoever looks at all. A file that cannot be
loaded, and a step that is missing, get a stand-in that does nothing, so that the steps above it have a place.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from alembic.script import Script, ScriptDirectory
from alembic.script.revision import CycleDetected, RevisionError, RevisionMap
from alembic.util import to_tuple

from tangga.causes import one_line
from tangga.words import file_name

NOT_LOADED, ID_TWICE, MISSING, NO_CHAIN = "file-not-loaded", "id-twice", "step-missing", "no-chain"
_BELOW = ("down_revision", "depends_on")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class Fault(NamedTuple):
    """What is at fault in a file of the steps: one of the kinds above, in words."""

    kind: str
    # "" if the file does not say it.
    revision: str
    path: str
    line: int
    what: str


class Readable(NamedTuple):
    """What is at fault in the files, and the revisions that are stand-ins: nothing is known of what those do."""

    faults: list[Fault]
    stand_ins: set[str]


# Whoever loaded the files as Alembic does has been told of the first that is at fault.
ALL = Readable([], set())


def text_of(path: str | Path) -> str:
    """Return what a file says, whatever its bytes are."""
    content = _bytes(path)
    return content.decode("utf-16" if content.startswith(_UTF_16) else "utf-8", errors="replace")


def line_of(path: str | Path, attribute: str) -> int:
    """Return the line that sets an attribute of a step; 1 if none does."""
    text = text_of(path)
    found = re.search(rf"^{attribute}\b", text, re.MULTILINE)
    return text.count("\n", 0, found.start()) + 1 if found else 1


def readable(scripts: ScriptDirectory) -> Readable:
    """Let `scripts` hold what can be read, in an order that holds together; return what is at fault."""
    loading = _Loading(scripts)
    loading.look_at_labels()
    loading.look_below()
    loading.break_circles()
    steps = [Script(each.module, each.revision, each.path) for each in loading.steps.values()]
    scripts.revision_map = RevisionMap(lambda: steps)
    return Readable(sorted(loading.faults, key=lambda fault: (fault.path, fault.line)), loading.stand_ins)


class _Loading:
    """The files, one after the other; each look says what is at fault and takes it out of the step's attributes."""

    def __init__(self, scripts: ScriptDirectory) -> None:
        self.faults: list[Fault] = []
        self.steps: dict[str, Script] = {}
        # Ids, and labels, which stand for their step's.
        self._names: dict[str, str] = {}
        self.stand_ins: set[str] = set()
        unread: list[Path] = []
        for path in _files(scripts):
            try:
                script = Script._from_path(scripts, path)
            except (Exception, SystemExit) as error:  # a file of somebody's own runs here: it may raise anything
                self._fault(NOT_LOADED, _id_in(path), path, _line(error, path), _said(error, path))
                unread.append(path)
            else:
                self._take(script)
        for path in unread:
            self._stand_in(_id_in(path), path, _assigned(path, "down_revision"))

    def look_at_labels(self) -> None:
        """A label is a text, and nobody else's."""
        for script in self.steps.values():
            kept = []
            for label in to_tuple(getattr(script.module, "branch_labels", None), default=()):
                if not isinstance(label, str):
                    self._about(script, NO_CHAIN, "branch_labels", f"branch_labels holds {label!r}, which is no text")
                elif other := self._names.get(label):
                    what = f"the label {label} is that of {file_name(self.steps[other].path)}"
                    self._about(script, NO_CHAIN, "branch_labels", what)
                else:
                    self._names[label] = script.revision
                    kept.append(label)
            _set(script, "branch_labels", kept)

    def look_below(self) -> None:
        """What a step stands on is another step, and there."""
        for script in [*self.steps.values()]:
            for attribute in _BELOW:
                kept = [name for name in _parts(script, attribute) if self._holds(script, attribute, name)]
                _set(script, attribute, kept)

    def break_circles(self) -> None:
        """Of the steps that stand on each other, each is at fault, and stands on none of them."""
        left = {revision: self._below(script) for revision, script in self.steps.items()}
        while free := {revision for revision, below in left.items() if not below & left.keys()}:
            left = {revision: below for revision, below in left.items() if revision not in free}
        # What is left is in a circle, or above one.
        while above := left.keys() - {name for below in left.values() for name in below}:
            left = {revision: below for revision, below in left.items() if revision not in above}
        for revision in left:
            script = self.steps[revision]
            self._about(
                script, NO_CHAIN, "down_revision", f"these steps stand on each other: {', '.join(sorted(left))}"
            )
            for attribute in _BELOW:
                _set(script, attribute, [name for name in _parts(script, attribute) if self._names[name] not in left])

    def _take(self, script: Script | None) -> None:
        if script is None:
            return
        if twin := self.steps.get(script.revision):
            for one, other in ((twin, script), (script, twin)):
                what = f"{file_name(other.path)} has the id {script.revision} too"
                self._about(one, ID_TWICE, "revision", what)
        else:
            self._keep(script)

    def _keep(self, script: Script) -> None:
        self.steps[script.revision] = script
        self._names[script.revision] = script.revision

    def _holds(self, script: Script, attribute: str, name: Any) -> bool:
        if not isinstance(name, str):
            what = f"{attribute} holds {name!r}: it is a text, None, or a tuple of texts"
            self._about(script, NO_CHAIN, attribute, what)
            return False
        if self._names.get(name) == script.revision:
            self._about(script, NO_CHAIN, attribute, f"{attribute} names the step itself")
            return False
        if name not in self._names or (name in self.stand_ins and not self._is_a_file(name)):
            self._about(script, MISSING, attribute, f"there is no step {name}, which {attribute} names")
            self._stand_in(name, Path(script.path), None)
        return name in self._names

    def _is_a_file(self, revision: str) -> bool:
        return any(fault.revision == revision and fault.kind == NOT_LOADED for fault in self.faults)

    def _below(self, script: Script) -> set[str]:
        return {self._names[name] for attribute in _BELOW for name in _parts(script, attribute)}

    def _stand_in(self, revision: str, path: Path, below: Any) -> None:
        module = ModuleType(path.stem)
        attributes: Mapping[str, Any] = {
            "revision": revision,
            "down_revision": tuple(name for name in to_tuple(below, default=()) if isinstance(name, str)) or None,
            "upgrade": lambda: None,
            "downgrade": lambda: None,
        }
        vars(module).update(attributes)
        try:
            script = Script(module, revision, path)
        except RevisionError:  # no id
            return
        if revision and revision not in self.steps:
            self._keep(script)
            self.stand_ins.add(revision)

    def _about(self, script: Script, kind: str, attribute: str, what: str) -> None:
        self._fault(kind, script.revision, Path(script.path), line_of(script.path, attribute), what)

    def _fault(self, kind: str, revision: str, path: Path, line: int, what: str) -> None:
        self.faults.append(Fault(kind, revision, str(path), line, what))


def _files(scripts: ScriptDirectory) -> Iterable[Path]:
    found = [
        path.resolve()
        for folder in scripts._version_locations
        if Path(folder).exists()
        for path in Script._list_py_dir(scripts, Path(folder))
    ]
    return dict.fromkeys(found)


def _bytes(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:  # said already: it cannot be loaded
        return b""


def _parts(script: Script, attribute: str) -> tuple[Any, ...]:
    return tuple(to_tuple(getattr(script.module, attribute, None), default=()))


def _set(script: Script, attribute: str, kept: list[Any]) -> None:
    if tuple(kept) != _parts(script, attribute):
        setattr(script.module, attribute, tuple(kept) or None)


def _said(error: BaseException, path: Path) -> str:
    hint = "; it is UTF-16, and Python reads UTF-8" if _bytes(path).startswith(_UTF_16) else ""
    return f"it cannot be loaded: {one_line(error)}{hint}"


def _line(error: BaseException, path: Path) -> int:
    """Return the line of a file at which loading it failed."""
    if isinstance(error, SyntaxError) and error.lineno:
        return error.lineno
    content = _bytes(path)
    if b"\0" in content:
        return content.count(b"\n", 0, content.index(b"\0")) + 1
    attribute = "down_revision" if isinstance(error, CycleDetected) else "revision"
    return [line_of(path, attribute), *_lines(error, path)][-1]


def _lines(error: BaseException, path: Path) -> Iterator[int]:
    tb = error.__traceback__
    while tb is not None:
        if tb.tb_frame.f_code.co_filename == str(path):
            yield tb.tb_lineno
        tb = tb.tb_next


def _id_in(path: Path) -> str:
    found = _assigned(path, "revision")
    return found if isinstance(found, str) else ""


def _assigned(path: Path, name: str) -> Any:
    """Return what a file that cannot be loaded says of an attribute; None if that is no constant in one line."""
    found = re.search(rf"^{name}\b[^=\n]*=[ \t]*([^\r\n]+)", text_of(path), re.MULTILINE)
    try:
        return ast.literal_eval(found[1]) if found else None
    except (SyntaxError, ValueError):
        return None

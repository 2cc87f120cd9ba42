"""What the models make and what the steps made, object by object, as pg_dump prints both."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from tangga.catalogue.ours import UNNAMED
from tangga.drift.beside import BESIDE

_PARTS = ("column", "constraint", "check constraint", "foreign key", "index")
# What no model describes. Privileges are left out: there are many, and they are no one's name.
_UNDESCRIBED = (
    "function", "procedure", "aggregate", "view", "materialized view", "trigger", "event trigger", "rule", "policy",
    "row security", "domain", "extension", "statistics", "sequence", "table",
)  # fmt: skip
# Alembic compares defaults, and knows that now() is CURRENT_TIMESTAMP; and whether NULL may be.
_COMPARED = re.compile(r"(?<! BY) DEFAULT .*?(?= NOT NULL$|$)|( CONSTRAINT \S+)? NOT NULL$", re.DOTALL)
# A table of which nothing is said but its columns and constraints, which are objects of their own.
_PLAIN = re.compile(r"CREATE TABLE [^\n]+ \(\n\);$", re.MULTILINE)


class Difference(NamedTuple):
    """An object that is not the same on both sides: what the models make, what the steps made; None is nothing."""

    name: str
    model: str | None
    steps: str | None


class Within(NamedTuple):
    """What differs, how many objects were compared, and the names of those that no model describes."""

    found: list[Difference]
    objects: int
    undescribed: list[str]


class Sides(NamedTuple):
    """The two sides by the objects' names, and the names of the models' tables."""

    models: dict[str, str]
    steps: dict[str, str]
    tables: set[str]


def compared(objects: dict[str, str], beside: dict[str, str], quote: Callable[[str], str]) -> Within:
    """Compare what stands beside with what it stands beside; `beside` says which schema is whose twin."""
    sides = both(objects, beside, quote)
    models, steps = _of_models(sides.models, sides), _of_models(sides.steps, sides)
    found = [*differences(models, steps), *_types_left(sides, {*beside})]
    names = models.keys() | steps.keys() | {f"table {title}" for title in sides.tables}
    return Within(found, len(names), [*_undescribed(sides)])


def differences(models: dict[str, str], steps: dict[str, str]) -> Iterator[Difference]:
    """Yield what differs. The same under another name is no difference here: Alembic compares names, where it can."""
    renamed = {(table_of(name), models[name]) for name in models.keys() - steps.keys()}
    renamed &= {(table_of(name), steps[name]) for name in steps.keys() - models.keys()}
    for name in sorted(models.keys() | steps.keys()):
        model, step = models.get(name), steps.get(name)
        if model != step and (table_of(name), model or step) not in renamed:
            yield Difference(name, model, step)


def both(objects: dict[str, str], beside: dict[str, str], quote: Callable[[str], str]) -> Sides:
    """Tell the models' objects from the steps', and name them alike."""

    def put_back(words: str, names: dict[str, str]) -> str:
        for twin, name in names.items():
            words = words.replace(f"{twin}.", name)
        return words

    models, steps = {}, {}
    in_names = {twin: "" if name == UNNAMED else f"{name}." for name, twin in beside.items()}
    in_words = {twin: f"{quote(name)}." for name, twin in beside.items()}
    for name, definition in objects.items():
        if BESIDE in name:
            models[put_back(name, in_names)] = put_back(definition, in_words)
        else:
            steps[name] = definition
    return Sides(models, steps, {name.removeprefix("table ") for name in models if name.startswith("table ")})


def subject(line: str) -> str:
    """Return what a line is about: the table, or table.part."""
    words = line.partition(": ")[0]
    return next((words.removeprefix(f"{kind} ") for kind in ("table", *_PARTS) if words.startswith(f"{kind} ")), words)


def table_of(name: str) -> str:
    """Return the table that an object is a part of; "" if it is none's."""
    return subject(name).rpartition(".")[0]


def _of_models(side: dict[str, str], sides: Sides) -> dict[str, str]:
    """Return what both sides must have: the parts of the models' tables, and the models' sequences."""
    sequences = _sequences(sides.models)
    return {
        name: _COMPARED.sub("", definition) if name.startswith("column ") else definition
        for name, definition in side.items()
        if (_is_a(name, _PARTS) and table_of(name) in sides.tables) or name in sequences or _says_how(name, sides)
    }  # fmt: skip


def _says_how(name: str, sides: Sides) -> bool:
    """Tell whether the models say of a table how it is kept: UNLOGGED, WITH, PARTITION BY, INHERITS.

    What they say nothing of is the steps' affair, as partitions are.
    """
    model = sides.models.get(name) if _is_a(name, ["table"]) and name in sides.steps else None
    return model is not None and not _PLAIN.match(model)


def _sequences(side: dict[str, str]) -> set[str]:
    """Return the sequences that stand by themselves: no serial's, and no identity's."""
    return {
        name for name, definition in side.items()
        if _is_a(name, ["sequence"]) and definition.startswith("CREATE ")
        and f"sequence owned by {name.removeprefix('sequence ')}" not in side
    }  # fmt: skip


def _types_left(sides: Sides, schemas: set[str]) -> Iterator[Difference]:
    """Yield the enums that no model names, and that only the models' tables could use."""
    for name, definition in sides.steps.items():
        found = re.match(r"CREATE TYPE (\S+) AS ENUM", definition) if _is_a(name, ["type"]) else None
        title = name.removeprefix("type ")
        schema = title.rpartition(".")[0] or UNNAMED
        if not found or name in sides.models or schema not in schemas:
            continue
        used = rf"(?<!\w){re.escape(found[1])}(?!\w)"
        others = (each for each in sides.steps if each != name and table_of(each) not in sides.tables)
        used_by = [*sides.models.values(), *(sides.steps[each] for each in others)]
        if not any(re.search(used, each) for each in used_by):
            yield Difference(name, None, definition)


def _undescribed(sides: Sides) -> Iterator[str]:
    named = _sequences(sides.models)
    free = _sequences(sides.steps)
    for name in sides.steps:
        if name.startswith("sequence ") and (name in named or name not in free):
            continue
        if _is_a(name, _UNDESCRIBED) and name.removeprefix("table ") not in sides.tables:
            yield name


def _is_a(name: str, kinds: Iterable[str]) -> bool:
    return name.startswith(tuple(f"{kind} " for kind in kinds)) and not name.startswith(("sequence owned by ",))

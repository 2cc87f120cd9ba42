"""A file with another down_revision: two lines of it change, and only if nobody else has changed it meanwhile."""

import ast
import importlib.util
import re
import shutil
from pathlib import Path

from alembic.script import Script

from tangga.exits import ALEMBIC_REFUSES, Stop

_REVISES = re.compile(rb"^(Revises: )[^\r\n]*", re.MULTILINE)


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

"""One line of one file gets another revision, and the line of its docstring; nothing else, to the byte."""

import os
import py_compile
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.script import Script, ScriptDirectory
from alembic.util import load_python_file

from tangga.exits import ALEMBIC_REFUSES, Stop
from tangga.reparent.rewriting import replace, rewritten

OLD, NEW = "00000000000a", "00000000000b"


def _script(folder: Path, source: bytes) -> Script:
    (folder / "versions").mkdir()
    (folder / "versions/below.py").write_text(f"revision = {OLD!r}\ndown_revision = None\n")
    (folder / "versions/mine.py").write_bytes(source)
    script = ScriptDirectory(folder).get_revision("mine")
    assert script is not None
    return script


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_rest_of_the_file_is_the_same_to_the_byte(tmp_path: Path, newline: str) -> None:
    text = (
        f'"""v7 é 表\n\nRevises: {OLD}\n\nIt follows {OLD}.\n"""\n\nfrom collections.abc import Sequence\n\n'
        f'revision: str = "mine"; down_revision: str | Sequence[str] | None =   "{OLD}"  # é: not {OLD}\n'
        f'branch_labels = None\ndepends_on = None\nNOTE = "down_revision = {OLD}"\t\n\n\n'
        "def upgrade() -> None:\n    pass\n\n\ndef downgrade() -> None:\n    pass"
    ).replace("\n", newline)
    found = rewritten(text.encode(), _script(tmp_path, text.encode()), NEW)
    expected = text.replace(f"Revises: {OLD}", f"Revises: {NEW}").replace(f'=   "{OLD}"', f'=   "{NEW}"')
    assert found.decode() == expected


@pytest.mark.parametrize(
    ("written", "becomes"),
    [
        (f"down_revision = '{OLD}'", f"down_revision = '{NEW}'"),
        (f'down_revision: str | None = "{OLD}"', f'down_revision: str | None = "{NEW}"'),
        (f'down_revision = (\n    "{OLD}"\n)', f'down_revision = (\n    "{NEW}"\n)'),
        (f'down_revision = r"{OLD}"', f'down_revision = "{NEW}"'),
    ],
    ids=["plain", "annotated", "in brackets", "a prefix"],
)
def test_a_revision_that_is_plain_text_is_replaced(tmp_path: Path, written: str, becomes: str) -> None:
    source = f'revision = "mine"\n{written}\n'.encode()
    assert rewritten(source, _script(tmp_path, source), NEW) == f'revision = "mine"\n{becomes}\n'.encode()


def test_the_first_step_of_a_history_gets_one_below_it(tmp_path: Path) -> None:
    source = b'revision = "mine"\ndown_revision = None\n'
    assert rewritten(source, _script(tmp_path, source), NEW) == f'revision = "mine"\ndown_revision = "{NEW}"\n'.encode()


@pytest.mark.parametrize(
    "written",
    [
        f"down_revision = {OLD[:6]!r} + {OLD[6:]!r}",
        f'down_revision = "{OLD}"\nif True:\n    pass\ndown_revision = "{OLD}"',
        f'down_revision = ("{OLD}",)',
    ],
    ids=["two parts", "twice", "a tuple"],
)
def test_another_way_to_write_it_is_left_to_the_author(tmp_path: Path, written: str) -> None:
    source = f'revision = "mine"\n{written}\n'.encode()
    with pytest.raises(Stop) as stopped:
        rewritten(source, _script(tmp_path, source), NEW)
    assert stopped.value.code == ALEMBIC_REFUSES
    assert "mine.py does not hold `down_revision = " in stopped.value.what
    assert "by hand" in stopped.value.remedy


def test_what_was_loaded_is_not_what_stands_there_now(tmp_path: Path) -> None:
    source = f'revision = "mine"\ndown_revision = "{OLD}"\n'.encode()
    script = _script(tmp_path, source)
    with pytest.raises(Stop, match="was changed this moment"):
        rewritten(source.replace(OLD.encode(), b"another"), script, NEW)


def test_a_file_is_replaced_whole_with_its_mode_and_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_bytes(b"old")
    file.chmod(0o640)
    replace(file, b"old", b"new")
    assert file.read_bytes() == b"new"
    assert file.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["mine.py"]


def test_a_file_that_another_program_changed_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_bytes(b"another")
    with pytest.raises(Stop, match="was changed by another program"):
        replace(file, b"old", b"new")
    assert file.read_bytes() == b"another"
    assert [each.name for each in tmp_path.iterdir()] == ["mine.py"]


def test_byte_code_of_the_same_second_is_not_taken_for_the_new_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    old = f'revision = "mine"\ndown_revision = "{OLD}"\n'.encode()
    new = old.replace(OLD.encode(), NEW.encode())
    file.write_bytes(old)
    stat = file.stat()

    def loaded_after(write: Callable[[], object]) -> str:
        file.write_bytes(old)
        os.utime(file, (stat.st_atime, stat.st_mtime))
        py_compile.compile(str(file))
        write()
        # As if all this had taken no time.
        os.utime(file, (stat.st_atime, stat.st_mtime))
        return str(load_python_file(str(tmp_path), file.name).down_revision)

    # The harm.
    assert loaded_after(lambda: file.write_bytes(new)) == OLD
    assert loaded_after(lambda: replace(file, old, new)) == NEW

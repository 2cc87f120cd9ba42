"""The folders of saves: found in their order, and refused where they are not as they were written."""

import gzip
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from tangga.undo.saves import Damaged, Item, Save, lines, saves, sha256


def _save(folder: Path, name: str, rows: bytes = b"1\tx\n2\ty\n") -> Path:
    path = folder / name
    path.mkdir(parents=True)
    (path / "1_books.gz").write_bytes(gzip.compress(rows))
    item = Item("deleted-rows", "books", ["id", "title"], ["id"], 2, "1_books.gz", sha256(path / "1_books.gz"))
    save = Save("abc", "v1", "2026-11-29T12:00:00.000001+00:00", "tangga", [item])
    (path / "manifest.json").write_text(json.dumps(asdict(save)))
    return path


def test_saves_are_found_the_oldest_first_and_what_was_cut_off_is_not(tmp_path: Path) -> None:
    for name in ("20261129T120002Z_b", "20261129T120001Z_a", ".20261129T120003Z_c.partial"):
        _save(tmp_path, name)
    (tmp_path / "20261129T120000Z_empty").mkdir()
    found = saves(tmp_path)
    assert [each.path.name for each in found] == ["20261129T120001Z_a", "20261129T120002Z_b"]
    assert found[0].save.items[0].columns == ["id", "title"]
    assert saves(tmp_path / "nothing") == []


def test_a_save_remembers_when_it_was_put_back(tmp_path: Path) -> None:
    _save(tmp_path, "a")
    [kept] = saves(tmp_path)
    assert kept.restored is None
    kept.note_restored()
    kept.note_restored()
    assert (kept.restored or "").endswith(" UTC")


def test_what_is_as_it_was_written_is_taken(tmp_path: Path) -> None:
    assert lines(_save(tmp_path, "a") / "1_books.gz") == 2
    saves(tmp_path)[0].verify()


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


@pytest.mark.parametrize("damage", ["changed", "cut", "gone", "another file of the same kind"])
def test_rows_that_are_not_as_they_were_written_are_refused(tmp_path: Path, damage: str) -> None:
    file = _save(tmp_path, "a") / "1_books.gz"
    content = file.read_bytes()
    if damage == "changed":
        file.write_bytes(content[:20] + bytes([content[20] ^ 1]) + content[21:])
    elif damage == "cut":
        _cut(file)
    elif damage == "gone":
        file.unlink()
    else:
        file.write_bytes(gzip.compress(b"3\tz\n"))
    with pytest.raises(Damaged, match=r"1_books\.gz"):
        saves(tmp_path)[0].verify()


def test_fewer_rows_than_were_noted_are_refused(tmp_path: Path) -> None:
    path = _save(tmp_path, "a")
    content = json.loads((path / "manifest.json").read_text())
    content["items"][0]["rows"] = 3
    (path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(Damaged, match="does not hold 3 rows"):
        saves(tmp_path)[0].verify()


@pytest.mark.parametrize(
    "text", ['{"revision": ', "[]", "{}", '{"items": [{"kind": "x"}]}', '{"items": [], "else": 1}']
)
def test_a_manifest_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    (_save(tmp_path, "a") / "manifest.json").write_text(text)
    with pytest.raises(Damaged, match=r"a/manifest\.json is damaged"):
        saves(tmp_path)

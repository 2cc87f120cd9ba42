"""The folders that keep what steps down would have lost: found again, and read back. saving.py writes them.

<MIGRATE_SAVE_DIR>/<UTC time>_<revision>/
    manifest.json               what is here (`Save` and `Item` below)
    1_posts_dropped-columns.gz  rows as COPY ... TO STDOUT prints them, one per line; sha256sum checks it
    restored                    written by restore-data: when
"""

import gzip
import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection

from tangga.catalogue.ours import UNNAMED
from tangga.connect import copy_in

MANIFEST = "manifest.json"
RESTORED = "restored"
# What the operator reads for each kind of loss.
KINDS = {
    "dropped-table": "dropped table",
    "dropped-columns": "dropped columns",
    "deleted-rows": "deleted rows",
    "changed-rows": "changed rows",
    "whole-table": "whole table, for this step cannot be foreseen",
}
# Fixed, so that a save can be read back whatever the database's own settings are by then.
NOTATION = """
    SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL intervalstyle = 'postgres'; SET LOCAL extra_float_digits = 3;
    SET LOCAL bytea_output = 'hex'; SET LOCAL row_security = off; SET LOCAL jit = off
"""
_BLOCK = 1 << 20


class Damaged(Exception):
    """A save is not as it was written."""


@dataclass
class Item:
    """Rows of one table. Names are quoted as SQL wants them; without a `key`, rows cannot be told apart."""

    kind: str
    table: str
    columns: list[str]
    key: list[str]
    rows: int
    file: str = ""
    sha256: str = ""

    def __str__(self) -> str:
        what = self.table.removeprefix(f"{UNNAMED}.")
        if self.kind in ("dropped-columns", "changed-rows") and self.key:
            names = [name for name in self.columns if name not in self.key]
            what += f".{names[0]}" if len(names) == 1 else f" ({', '.join(names)})"
        return what


@dataclass
class Save:
    """What one step down would have lost. `time` is the database's clock, in ISO 8601, UTC."""

    revision: str
    message: str
    time: str
    database: str
    items: list[Item] = field(default_factory=list)


@dataclass
class Kept:
    """A save that is there."""

    path: Path
    save: Save

    @property
    def restored(self) -> str | None:
        """When restore-data put it back; None if it never did."""
        marker = self.path / RESTORED
        return marker.read_text().splitlines()[-1] if marker.exists() else None

    def note_restored(self) -> None:
        """Note that it was put back now."""
        with (self.path / RESTORED).open("a") as file:
            file.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n")

    def verify(self) -> None:
        """Read everything; raises Damaged unless it is as it was written."""
        for item in self.save.items:
            path = self.path / item.file
            try:
                if sha256(path) != item.sha256:
                    raise Damaged(f"{path} is damaged: its SHA-256 is not the one in {MANIFEST}")
                if lines(path) != item.rows:
                    raise Damaged(f"{path} is damaged: it does not hold {item.rows} rows")
            except (OSError, EOFError) as error:
                raise Damaged(f"{path} cannot be read: {error}") from error

    def load(self, connection: Connection, item: Item, into: str) -> None:
        """Copy the rows into a table that has the item's columns."""
        with gzip.open(self.path / item.file) as file:
            copy_in(connection, f"{into} ({', '.join(item.columns)})", file)


def saves(directory: Path) -> list[Kept]:
    """Return all saves, the oldest first; raises Damaged if a manifest cannot be read."""
    found = []
    for manifest in sorted(directory.glob(f"[!.]*/{MANIFEST}")):
        try:
            content = json.loads(manifest.read_text(encoding="utf-8"))
            content["items"] = [Item(**item) for item in content["items"]]
            found.append(Kept(manifest.parent, Save(**content)))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise Damaged(f"{manifest} is damaged: {error}") from error
    return found


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lines(path: Path) -> int:
    """Count the rows of a file of a save; reading to the end also compares gzip's check sum."""
    with gzip.open(path) as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(_BLOCK), b""))

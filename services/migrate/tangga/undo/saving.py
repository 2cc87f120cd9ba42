"""The folders that keep what steps down would have lost: written, read back, and found again.

<MIGRATE_SAVE_DIR>/<UTC time>_<revision>/
    manifest.json               what is here (`Save` and `Item` below)
    1_posts_dropped-columns.gz  rows as COPY ... TO STDOUT prints them, one per line; sha256sum checks it
    restored                    written by restore-data: when

A folder is written under a name that begins with a dot and ends in .partial, and is renamed when all of it has been
read back: one that a kill left behind is never taken for whole.
"""

import gzip
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection

from tangga.connect import QUERY_CANCELED, copy_in, copy_out, sqlstate
from tangga.exits import STEP_FAILED, Stop
from tangga.remedies import say

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
        what = self.table.removeprefix("public.")
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


class Folder:
    """The folder of a step that is about to run: open until `finish`, gone without a trace after `abandon`."""

    def __init__(self, directory: Path, save: Save) -> None:
        moment = datetime.fromisoformat(save.time).astimezone(UTC)
        self.save = save
        self.path = directory / f"{moment:%Y%m%dT%H%M%S.%f}Z_{save.revision}"
        self._partial = directory / f".{self.path.name}.partial"

    def write(self, connection: Connection, item: Item, select: str) -> None:
        """Write the rows that a query returns, and read them back; raises Stop if they cannot be kept."""
        number = len(self.save.items) + 1
        item.file = f"{number}_{re.sub('[^A-Za-z0-9_.-]', '_', str(item))[:80]}_{item.kind}.gz"
        with self._reported():
            if number == 1:
                self._begin()
            path = self._partial / item.file
            with path.open("xb") as raw:
                # The fastest level: writers of the table wait meanwhile.
                with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1, mtime=0) as file:
                    copy_out(connection, select, file)
                raw.flush()
                os.fsync(raw.fileno())
                # Read back from the disk, not from memory.
                os.posix_fadvise(raw.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            item.sha256 = _sha256(path)
            if (lines := _lines(path)) != item.rows:
                raise OSError(f"{item.file} holds {lines} rows, and there are {item.rows}")
        self.save.items.append(item)

    def finish(self) -> None:
        """Give the folder its name; from now on it counts. Nothing happens if nothing was written."""
        if not self.save.items:
            return
        with self._reported():
            manifest = self._partial / MANIFEST
            with manifest.open("x", encoding="utf-8") as file:
                json.dump(asdict(self.save), file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            _fsync(self._partial)
            self._partial.rename(self.path)
            _fsync(self.path.parent)

    def abandon(self) -> None:
        """Remove the folder: the step did not happen."""
        for path in (self._partial, self.path):
            shutil.rmtree(path, ignore_errors=True)

    def _begin(self) -> None:
        # What a kill left behind is of no use; the migration lock sees to it that nobody else is writing.
        for leftover in self.path.parent.glob(".*.partial"):
            shutil.rmtree(leftover, ignore_errors=True)
        self._partial.mkdir(mode=0o700)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Stop(
                f"step {self.save.revision} ({self.save.message}) would lose data, and saving it in "
                f"{self.path.parent} failed: {error.strerror or error}; the step was not run",
                f"make room there, or see that the folder exists and can be written to ({say('save-dir')})",
                STEP_FAILED,
            ) from error
        except Exception as error:
            if sqlstate(error) != QUERY_CANCELED:
                raise
            raise Stop(
                f"step {self.save.revision} ({self.save.message}) would lose data, and saving it took longer than "
                "MIGRATE_STATEMENT_TIMEOUT; the step was not run",
                "raise MIGRATE_STATEMENT_TIMEOUT; writers of the table wait meanwhile",
                STEP_FAILED,
            ) from error


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
                if _sha256(path) != item.sha256:
                    raise Damaged(f"{path} is damaged: its SHA-256 is not the one in {MANIFEST}")
                if _lines(path) != item.rows:
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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lines(path: Path) -> int:
    """Count the rows; reading to the end also compares gzip's check sum."""
    with gzip.open(path) as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(_BLOCK), b""))


def _fsync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

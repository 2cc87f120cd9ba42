"""The folder of a step down is written: what the step would lose (saves.py says what is in it).

It is written under a name that begins with a dot and ends in .partial, and is renamed when all of it has been read
back: one that a kill left behind is never taken for whole.
"""

import gzip
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection

from tangga.connect import QUERY_CANCELED, copy_out, sqlstate
from tangga.exits import STEP_FAILED, Stop
from tangga.remedies import say
from tangga.undo.saves import MANIFEST, Item, Save, lines, sha256


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
            item.sha256 = sha256(path)
            if (written := lines(path)) != item.rows:
                raise OSError(f"{item.file} holds {written} rows, and there are {item.rows}")
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
        # A project's first save. Its parent is not made: a path that is mistyped is said.
        self.path.parent.mkdir(mode=0o700, exist_ok=True)
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


def _fsync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

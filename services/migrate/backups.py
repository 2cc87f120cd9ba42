"""No step up without a backup, where BACKUP_BEFORE_MIGRATE asks for one.

The backups are made by scripts/backup.sh; here their manifests are read (services/postgres/backup.sh writes them).
"""

import json
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tangga.exits import NO_BACKUP, Stop

FOLDER = Path("/backups")


def required_backup(database: str, fresh_minutes: float) -> Callable[[Collection[str]], None]:
    """Return a check that raises Stop unless a backup of the database at these heads is younger than `fresh_minutes`.

    tangga calls it when there are steps to go up. Where nothing has been migrated yet, there is nothing to lose.
    """

    def check(heads: Collection[str]) -> None:
        revision = "+".join(sorted(heads))
        limit = timedelta(minutes=fresh_minutes)
        now = datetime.now(UTC)
        if not any(
            manifest["database"] == database
            and manifest["revision"] == revision
            and now - datetime.fromisoformat(manifest["created_at"]) < limit
            for manifest in _whole()
        ):
            raise Stop(
                f"no step was run: BACKUP_BEFORE_MIGRATE asks for a backup of {database} at {revision} that is "
                f"younger than {fresh_minutes:g} minutes, and there is none",
                "make backup, then again (make migrate and make up do both); BACKUP_BEFORE_MIGRATE=false goes without",
                NO_BACKUP,
            )

    return check


def _whole() -> Iterator[dict[str, Any]]:
    """Yield the manifests whose dump is there, in full length: `make backup` has read it back already."""
    for file in FOLDER.glob("*.json"):
        try:
            manifest = json.loads(file.read_text(encoding="utf-8"))
            if (FOLDER / manifest["file"]).stat().st_size == manifest["bytes"]:
                yield manifest
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not a backup

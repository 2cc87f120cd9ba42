"""No step up without a backup, where BACKUP_BEFORE_MIGRATE asks for one.

The backups are made by scripts/backup.sh; here their manifests are read (services/postgres/backup.sh writes them).
"""

import json
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from alembic.runtime.migration import MigrationContext

from services.api.settings import MigrateSettings
from tangga.guard.command import is_upgrade
from tangga.exits import NO_BACKUP, Stop

FOLDER = Path("/backups")


def require_backup(heads: Collection[str], context: MigrationContext, settings: MigrateSettings) -> None:
    """Refuse to go up from `heads` unless a fresh backup of them is there; raises Stop.

    Called only when there are steps to run. Where nothing has been migrated yet, there is nothing to lose.
    """
    config = context.config
    if not settings.backup_before_migrate or not heads or context.as_sql:
        return
    if config is None or "runs" in config.attributes or not is_upgrade(config):
        return
    revision = "+".join(sorted(heads))
    limit = timedelta(minutes=settings.backup_fresh_minutes)
    now = datetime.now(UTC)
    if not any(
        manifest["database"] == settings.db_name
        and manifest["revision"] == revision
        and now - datetime.fromisoformat(manifest["created_at"]) < limit
        for manifest in _whole()
    ):
        raise Stop(
            f"no step was run: BACKUP_BEFORE_MIGRATE asks for a backup of {settings.db_name} at {revision} that is "
            f"younger than {settings.backup_fresh_minutes:g} minutes, and there is none",
            "make backup, then again (make migrate and make up do both); BACKUP_BEFORE_MIGRATE=false goes without",
            NO_BACKUP,
        )


def _whole() -> Iterator[dict[str, Any]]:
    """Yield the manifests whose dump is there, in full length: `make backup` has read it back already."""
    for file in FOLDER.glob("*.json"):
        try:
            manifest = json.loads(file.read_text(encoding="utf-8"))
            if (FOLDER / manifest["file"]).stat().st_size == manifest["bytes"]:
                yield manifest
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not a backup

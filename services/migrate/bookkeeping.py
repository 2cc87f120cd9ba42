"""Alembic's own table is for migrators only."""

from collections.abc import Collection
from typing import Any

from alembic.runtime.migration import MigrationContext, MigrationInfo
from sqlalchemy import text

# The default privileges of services/postgres/roles.sql give the app every new table, this one too. An app that could
# write it could make the next upgrade skip a step. Reading stays: readiness compares it with the image.
_CLOSE = text("""
DO $$
DECLARE
    grantee text;
BEGIN
    FOR grantee IN
        SELECT DISTINCT acl.grantee::regrole FROM pg_class, aclexplode(relacl) AS acl
        WHERE pg_class.oid = 'alembic_version'::regclass AND acl.grantee NOT IN (0, relowner)
    LOOP
        EXECUTE format('REVOKE ALL ON alembic_version FROM %s', grantee);
        EXECUTE format('GRANT SELECT ON alembic_version TO %s', grantee);
    END LOOP;
END
$$
""")


def close_version_table(
    ctx: MigrationContext, step: MigrationInfo, heads: Collection[Any], run_args: dict[str, Any]
) -> None:
    """Alembic's on_version_apply hook: the first step leaves all roles but the owner SELECT only."""
    del heads, run_args
    if not step.source_revision_ids:
        ctx.impl.execute(_CLOSE)

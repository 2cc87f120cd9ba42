-- The revisions that Alembic has noted, in one line with a + between them; "base" where no step has run. Its table may be
-- called otherwise and be elsewhere (env.py: version_table, version_table_schema), so it is known by its one column, as in
-- tangga/catalogue/ours.py. The superuser reads it too, so nobody's functions are found: only the server's own.
SET search_path = pg_catalog;
SELECT coalesce(min(format('SELECT coalesce(string_agg(version_num, ''+'' ORDER BY version_num), ''base'') FROM %s', c.oid::regclass)), 'SELECT ''base''') AS question
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
WHERE c.oid = coalesce(to_regclass('public.alembic_version'), c.oid) AND relkind = 'r' AND nspname !~ '^pg_' AND '{version_num character varying}'::text[] = (
    SELECT array_agg(attname || ' ' || atttypid::regtype) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
) \gset
:question;

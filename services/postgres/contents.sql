-- What a database holds, a line each: "KIND JSON", in the order of the names.
--
--   role "name"                                   that an object of it names; it must be there before a restore
--   sequence "name": last value                   those that count up
--   large "count": n, large "digest": "n"         large objects; the digest only if the reader may see their pages
--   table "name": {"rows": n, "digest": "n"}
--
-- Two databases hold the same rows if the lines are equal, whatever their version, the order of the rows or the locale.
-- In a transaction: psql -c 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY' --tuples-only --no-align --file contents.sql
\set ON_ERROR_STOP on
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';
SET IntervalStyle = 'postgres';
SET extra_float_digits = 1;
SET bytea_output = 'hex';
SET lc_monetary = 'C';
-- An error, and not fewer rows, where a policy would hide some.
SET row_security = off;
SET statement_timeout = 0;
SET lock_timeout = '60s';
SET jit = off;
-- The superuser reads what others have made, so nothing of theirs may run: names are pg_catalog's, a row becomes text by
-- record_out and not by a cast, which its owner could have made, and a view in the place of a table is refused.
SET search_path = '';
SELECT set_config(name, 'view, foreign-table', false) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind' \g /dev/null

-- The first superuser is in no list of dependencies.
SELECT 'role ' || to_json(rolname::text) FROM pg_roles
WHERE rolname !~ '^pg_' AND (
    oid IN (
        SELECT refobjid FROM pg_shdepend
        WHERE refclassid = 'pg_authid'::regclass AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    )
    OR oid = 10 AND EXISTS (
        SELECT FROM (
            SELECT 'pg_class'::regclass, oid, relowner FROM pg_class
            UNION ALL SELECT 'pg_proc'::regclass, oid, proowner FROM pg_proc
            UNION ALL SELECT 'pg_type'::regclass, oid, typowner FROM pg_type WHERE typrelid = 0
            UNION ALL SELECT 'pg_namespace'::regclass, oid, nspowner FROM pg_namespace WHERE nspname !~ '^pg_'
            UNION ALL SELECT 'pg_foreign_server'::regclass, oid, srvowner FROM pg_foreign_server
            UNION ALL SELECT 'pg_event_trigger'::regclass, oid, evtowner FROM pg_event_trigger
            UNION ALL SELECT 'pg_largeobject_metadata'::regclass, oid, lomowner FROM pg_largeobject_metadata
        ) AS object (class, oid, owner)
        WHERE owner = 10 AND object.oid >= 16384
          AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = class AND objid = object.oid AND deptype IN ('e', 'i'))
    )
)
ORDER BY rolname;

-- What an extension owns comes with the extension, but for what it calls its user's.
SELECT 'sequence ' || to_json(format('%I.%I', nspname, relname)) || ': ' || last_value
FROM pg_sequences JOIN pg_namespace AS n ON nspname = schemaname JOIN pg_class AS c ON relnamespace = n.oid AND relname = sequencename
WHERE increment_by > 0 AND NOT cycle AND last_value IS NOT NULL
  AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')
ORDER BY format('%I.%I', nspname, relname) COLLATE "C";

-- The pages that a restore writes are not cut as the first ones were: zeros at their ends and holes do not count.
SELECT 'large "count": ' || count(*) FROM pg_largeobject_metadata;
SELECT has_table_privilege('pg_largeobject', 'SELECT') AS sees_pages \gset
\if :sees_pages
SELECT 'large "digest": "' || coalesce(sum(('x' || encode(substr(sha256(piece), 1, 8), 'hex'))::bit(64)::bigint), 0) || '"'
FROM (
    SELECT convert_to(format('%s %s ', loid, pageno), 'UTF8') || rtrim(data, '\x00') FROM pg_largeobject
    WHERE rtrim(data, '\x00') <> ''
    UNION ALL
    SELECT convert_to(format('%s: %s', loid, max(pageno * (current_setting('block_size')::bigint / 4) + length(data))), 'UTF8')
    FROM pg_largeobject GROUP BY loid
) AS pieces (piece);
\endif

-- SHA-256 and not hashtextextended, which is twice as quick: that one may differ between versions of PostgreSQL, and a
-- digest is compared years later. A hundred tables at a time: ten thousand are too many for one statement, and the locks
-- on them and their indexes, which nobody needs afterwards, for the server.
SELECT
    'SAVEPOINT hundred',
    'SELECT ''table '' || to_json(name) || '': '' || jsonb_build_object(''rows'', rows, ''digest'', digest::text) FROM ('
    || string_agg(
        format(
            'SELECT %L AS name, count(*) AS rows, coalesce(sum((''x'' || encode(substr('
            'sha256(convert_to(textin(record_out(t.*)), ''UTF8'')), 1, 8), ''hex''))::bit(64)::bigint), 0) AS digest FROM ONLY %s AS t %s',
            name, name, condition
        ),
        ' UNION ALL '
    )
    || ') AS tables ORDER BY name COLLATE "C"',
    'ROLLBACK TO hundred'
FROM (
    SELECT name, condition, (row_number() OVER (ORDER BY name COLLATE "C") - 1) / 100 AS hundred
    FROM (
        SELECT format('%I.%I', nspname, relname) AS name, condition
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
        LEFT JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
        LEFT JOIN (SELECT unnest(extconfig), unnest(extcondition) FROM pg_extension) AS of_user (config, condition) ON config = c.oid
        WHERE relkind = 'r' AND relpersistence <> 't' AND nspname !~ '^pg_' AND nspname <> 'information_schema'
          AND (d.objid IS NULL OR config IS NOT NULL)
    ) AS every
) AS numbered
GROUP BY hundred ORDER BY hundred
\gexec

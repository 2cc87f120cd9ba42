-- What a database holds, as two lines of JSON: the sequences that count up with their last values, and the tables with the number of
-- their rows and a digest. Two databases hold the same rows if the second lines are equal, whatever their version, the
-- order of the rows or the locale. psql --tuples-only --no-align --file contents.sql
\set ON_ERROR_STOP on
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';
SET IntervalStyle = 'postgres';
SET extra_float_digits = 1;
SET bytea_output = 'hex';
SET lc_monetary = 'C';
SET search_path = '';
-- An error, and not fewer rows, where a policy would hide some.
SET row_security = off;
SET statement_timeout = 0;
SET jit = off;

SELECT coalesce(jsonb_object_agg(schemaname || '.' || sequencename, last_value), '{}') FROM pg_sequences
WHERE increment_by > 0 AND NOT cycle;

-- SHA-256 and not hashtextextended, which is twice as quick: that one may differ between versions of PostgreSQL, and a
-- digest is compared years later. What an extension owns comes with the extension.
SELECT coalesce(
    'SELECT jsonb_object_agg(name, jsonb_build_object(''rows'', rows, ''digest'', digest::text)) FROM ('
    || string_agg(
        format(
            'SELECT %L AS name, count(*) AS rows, coalesce(sum((''x'' || encode(substr('
            'sha256(convert_to(t::text, ''UTF8'')), 1, 8), ''hex''))::bit(64)::bigint), 0) AS digest FROM ONLY %I.%I AS t',
            nspname || '.' || relname, nspname, relname
        ),
        ' UNION ALL '
    )
    || ') AS tables',
    'SELECT ''{}'''
)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
WHERE relkind = 'r' AND relpersistence <> 't' AND nspname !~ '^pg_' AND nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')
\gexec

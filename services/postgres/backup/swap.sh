# shellcheck shell=bash
# shellcheck disable=SC2154 # backup.sh sets $folder, $database, $here and $group
# Gives a database the name of the live one, which is kept under another. Sourced.

# The migrators' own rows are there before anybody has written one.
live() {
  as_superuser query -d "$database" <<'SQL'
SELECT pg_size_pretty(pg_database_size(current_database())) WHERE EXISTS (
    SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
    WHERE relkind = 'r' AND nspname !~ '^pg_' AND nspname <> 'information_schema' AND pg_relation_size(c.oid) > 0
      -- As in tangga/catalogue/ours.py: by their columns.
      AND NOT (relnatts = 1 AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'version_num'))
      AND NOT (relname IN ('migration_log', 'migration_backfill')
               AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname IN ('image_version', 'rows_changed')))
)
SQL
}

# swap DATABASE: in one transaction, so at any moment there is one with the live one's name.
# shellcheck disable=SC2310 # each line that a condition calls fails by itself
swap() {
  local tries said=/tmp/said
  export NEW=$1 KEPT
  KEPT=${database}_before_$(date -u +%Y%m%d%H%M%S)
  for tries in {1..10}; do
    if as_superuser query -d postgres >/dev/null 2>"$said" <<'SQL'; then
\getenv live DB_NAME
\getenv new NEW
\getenv kept KEPT
SET lock_timeout = '1s';
PREPARE disconnect AS
SELECT pg_terminate_backend(pid) FROM (
    SELECT pid FROM pg_stat_activity WHERE datname IN (:'live', :'new')
    UNION
    -- Who is half-way in (a client that comes back, autovacuum) has no name there yet, has the lock on the database that the
    -- new name needs, and waits for the table that is locked here.
    SELECT pid FROM pg_locks JOIN pg_database ON pg_database.oid = objid
    WHERE locktype = 'object' AND classid = 'pg_catalog.pg_database'::regclass AND datname IN (:'live', :'new')
) AS session WHERE pid <> pg_backend_pid();
-- First without the lock, for one of them may have it (pg_dump, for as long as it runs).
EXECUTE disconnect;
BEGIN;
-- Whoever connects waits until the end, and comes to the new one.
LOCK TABLE pg_catalog.pg_database IN ACCESS EXCLUSIVE MODE;
EXECUTE disconnect;
-- Waits for those to be gone.
SELECT format('ALTER DATABASE %I RENAME TO %I', datname, :'kept') FROM pg_database WHERE datname = :'live' \gexec
ALTER DATABASE :"new" RENAME TO :"live";
COMMIT;
SQL
      say "$KEPT"
      return
    fi
    sleep 0.5
  done
  die "the databases cannot be swapped: $(one_line "$said") (tried $tries times); the live one is as it was" 'mend that, then again'
}

kept() { NEW=$database as_superuser query -d postgres <<<'\getenv live DB_NAME
SELECT datname FROM pg_database WHERE starts_with(datname, :'"'live'"' || '"'_before_'"') ORDER BY datname DESC'; }

undo() {
  local names
  names=$(kept)
  [[ -n $names ]] || die 'no database from before a restore is kept' 'make backups lists what can be restored'
  swap "${names%%$'\n'*}"
}

confirm() {
  local names name
  names=$(kept)
  for name in $names; do
    drop "$name"
    say "dropped $name"
  done
}

# shellcheck shell=bash
# shellcheck disable=SC2154 # backup.sh sets $folder, $database, $here and $group
# Restores a backup into a new database, and compares the two. Sourced.

# check FILE: reads all of it.
# shellcheck disable=SC2310 # each line that a condition calls fails by itself
check() {
  local name server
  name=$(name "$1")
  [[ $(sha256sum <"$folder/$name.dump" | cut -d ' ' -f 1) == "$(value "$name" sha256)" ]] ||
    die "$name.dump is damaged: it is not what its manifest describes (SHA-256); nothing was changed" 'take another (make backups), or bring back a good copy of both files'
  server=$(value "$name" server_version)
  (($(major "$server") <= $(major "$(pg_restore --version)"))) ||
    die "$name.dump was made by PostgreSQL $server, and this is $(pg_restore --version | cut -d ' ' -f 3); nothing was changed" "set POSTGRES_IMAGE in .env to an image of PostgreSQL $(major "$server") or newer"
  say "$name $(value "$name" revision) $(value "$name" image_version) $(value "$name" database_bytes)"
}

# room NEEDED DATABASE: refuses to fill the server's disk. A server that does not say how much is free is believed.
# shellcheck disable=SC2310 # each line that a condition calls fails by itself
room() {
  local free
  free=$(as_superuser query -d postgres 2>/dev/null <<'SQL'
CREATE TEMPORARY TABLE df (line text);
COPY df FROM PROGRAM 'df -Pk . | tail -n 1';
SELECT (regexp_split_to_array(line, '\s+'))[4]::bigint * 1024 FROM df;
SQL
  ) || return 0
  ((free > $1 + $1 / 5)) ||
    die "the database takes $(size "$1"), and its server has $(size "$free") left; nothing was changed" 'make room there'
}

# shellcheck disable=SC2310 # each line that a condition calls fails by itself
load() {
  local name new=$2 said=/tmp/said found=/tmp/found.json
  name=$(name "$1")
  lock
  room "$(value "$name" database_bytes)"
  make_roles "$name"
  drop "$new"
  NEW=$new as_superuser query -d postgres 2>"$said" <<'SQL' >/dev/null || die "no database can be made: $(one_line "$said")" "$(remedy "$said")"
\getenv new NEW
\getenv owner DB_OWNER_USERNAME
CREATE DATABASE :"new" OWNER :"owner" TEMPLATE template0;
SQL
  # Ten thousand tables are some fifty thousand statements. What makes the database live (swap) waits for the disk, and so for all before it.
  PGOPTIONS='-c synchronous_commit=off' as_superuser pg_restore --exit-on-error --jobs="$(jobs)" --dbname="$new" "$folder/$name.dump" 2>"$said" ||
    die "$name.dump cannot be restored: $(one_line "$said"); the live database is as it was" "$(remedy "$said")"
  # Afterwards: its default privileges would give the app the migrators' tables as well.
  DB_OWNER_PASS=$(secret DB_OWNER_PASS) DB_PASS=$(secret DB_PASS) as_superuser query -d "$new" -f "$here/roles.sql" 2>"$said" >/dev/null ||
    die "the roles cannot be set in what was restored: $(one_line "$said"); the live database is as it was" "$(remedy "$said")"
  as_superuser contents "$new" >/tmp/found 2>"$said" ||
    die "what was restored cannot be read: $(one_line "$said"); the live database is as it was" "$(remedy "$said")"
  { printf '{\n' && held /tmp/found && printf '}\n'; } >"$found"
  compare "$name" "$found"
  as_superuser vacuumdb --quiet --analyze-only --jobs="$(jobs)" --dbname="$new" 2>"$said" ||
    die "what was restored cannot be analyzed: $(one_line "$said"); the live database is as it was" "$(remedy "$said")"
}

# make_roles NAME: those that the backup's objects name, and that are not there: without a log-in. A manifest of before
# November 2026 names none.
# shellcheck disable=SC2310 # each line that a condition calls fails by itself
make_roles() {
  local made said=/tmp/said
  made=$(
    MANIFEST=$folder/$1.json as_superuser query -d postgres 2>"$said" <<'SQL'
\set manifest `cat "$MANIFEST"`
SELECT format('CREATE ROLE %I NOLOGIN', name), format('SELECT %L', name)
FROM jsonb_array_elements_text(coalesce(:'manifest'::jsonb -> 'roles', '[]')) AS role (name)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
SQL
  ) || die "the roles that the backup names cannot be made: $(one_line "$said"); the live database is as it was" "$(remedy "$said" 'make them by hand, then again')"
  [[ -z $made ]] || say "Made roles that the backup names, without a log-in: ${made//$'\n'/, }"
}

# compare NAME FOUND: the manifest with a file of the same form.
# shellcheck disable=SC2310 # each line that a condition calls fails by itself
compare() {
  local differing said=/tmp/said
  differing=$(
    KEPT=$folder/$1.json FOUND=$2 as_superuser query -d postgres 2>"$said" <<'SQL'
\set kept `cat "$KEPT"`
\set found `cat "$FOUND"`
SELECT string_agg(key, ', ' ORDER BY number) FILTER (WHERE number <= 5)
       || CASE WHEN count(*) > 5 THEN format(' and %s more', count(*) - 5) ELSE '' END
FROM (SELECT key, row_number() OVER (ORDER BY key) AS number FROM (
    SELECT key FROM jsonb_each(:'kept'::jsonb -> 'tables') AS kept FULL JOIN jsonb_each(:'found'::jsonb -> 'tables') AS found USING (key)
    WHERE kept.value IS DISTINCT FROM found.value
    UNION ALL
    -- Those in the dump may be ahead of the manifest, never behind.
    SELECT key FROM jsonb_each_text(:'kept'::jsonb -> 'sequences') AS kept
    LEFT JOIN jsonb_each_text(:'found'::jsonb -> 'sequences') AS found USING (key)
    WHERE kept.value::bigint > coalesce(found.value::bigint, -9223372036854775808)
    UNION ALL
    -- Who may not see their pages has only counted them.
    SELECT 'large objects' FROM (SELECT :'kept'::jsonb -> 'large_objects' AS kept, :'found'::jsonb -> 'large_objects' AS found) AS large
    WHERE kept -> 'count' <> found -> 'count' OR kept -> 'digest' <> found -> 'digest'
) AS differing) AS numbered
SQL
  ) || die "what was restored cannot be compared with the manifest: $(one_line "$said"); the live database is as it was" "$(remedy "$said" 'take another backup: make backups')"
  [[ -z $differing ]] ||
    die "what was restored is not what the manifest describes: $differing" 'take another backup: make backups; the live database is as it was'
}

# verified FILE: one line more in the manifest, before that of the revision. What stands there afterwards must say so.
verified() {
  local name now partial
  name=$(name "$1")
  now=$(utc)
  partial=$folder/.$name.json.partial
  lock
  sed "/^  \"verified_at\"/d; s/^  \"revision\"/  \"verified_at\": \"$now\",\n&/" "$folder/$name.json" >"$partial"
  [[ $(json_values verified_at <"$partial") == "$now" ]] ||
    die "$name.json is not in the form in which make backup writes it, so the time cannot be noted there" 'the backup is whole all the same'
  chmod 0640 "$partial"
  sync "$partial"
  mv "$partial" "$folder/$name.json"
}

# drop DATABASE: with the subscriptions in it, which would forbid it; what they read from stays.
# shellcheck disable=SC2310 # each line that a condition calls fails by itself
drop() {
  local said=/tmp/said
  NEW=$1 as_superuser query -d postgres >/dev/null 2>"$said" <<'SQL' || die "the database $1 cannot be dropped: $(one_line "$said")" "$(remedy "$said")"
\getenv new NEW
SET client_min_messages = warning;
SELECT EXISTS (SELECT FROM pg_subscription JOIN pg_database AS d ON d.oid = subdbid WHERE datname = :'new') AS subscribes \gset
\if :subscribes
\c :"new"
SELECT format('ALTER SUBSCRIPTION %I DISABLE', subname), format('ALTER SUBSCRIPTION %I SET (slot_name = NONE)', subname), format('DROP SUBSCRIPTION %I', subname)
FROM pg_subscription JOIN pg_database AS d ON d.oid = subdbid WHERE datname = :'new' \gexec
\c postgres
\endif
DROP DATABASE IF EXISTS :"new" WITH (FORCE);
SQL
}

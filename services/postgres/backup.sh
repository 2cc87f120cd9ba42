#!/usr/bin/env bash
# usage: services/postgres/backup.sh COMMAND [ARGUMENT...]
#
#   list [--json]        the backups, newest first
#   name FILE|newest     its name, if there is one
#   dump                 make one; keep only the newest $keep (or BACKUP_KEEP)
#   check FILE           compare its checksum; print its name, revision, image, and the size of the database
#   load FILE DATABASE   restore it into a new database, and compare that with the manifest
#   verified FILE        note in the manifest that it was restored and compared
#   drop DATABASE
#   live                 how large the live database is, if it holds rows
#   swap DATABASE        give it the live one's name; the live one is kept as <name>_before_<time>
#   undo | confirm       swap the newest that is kept with the live one | drop all that are kept
#   schedule | fresh     make one every BACKUP_EVERY | fail if the newest is too old
#
# Runs in the container `backup`, which has the database's own client and the folder of backups; see scripts/backup.sh and
# scripts/restore.sh. `list` and `name` need only the folder, and run anywhere.
#
# A backup is two files: <database>-<UTC>-<revision>.dump, and beside it .json, its manifest, which comes last: without it,
# the dump is none.
set -Eeuo pipefail
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
. "$here/../../scripts/lib/ui.sh"
. "$here/client.sh"

readonly folder=${BACKUPS:-/backups} database=${DB_NAME:-}

# The migrator's group (Dockerfile): BACKUP_BEFORE_MIGRATE reads the manifests. Nobody on the host has it.
readonly group=10001

# --- What is there ----------------------------------------------------------------------------------------------------

# value NAME KEY: of a manifest, which has one key a line.
value() { sed -nE "s/^  \"$2\": \"?([^\",]*)\"?,?\$/\1/p" "$folder/$1.json"; }

# names [DATABASE]: of all backups, or of those of one database; newest first.
names() {
  local file name
  for file in "$folder"/*.{json,dump}; do
    name=${file##*/}
    name=${name%.*}
    [[ ! $name =~ ^(.+)-([0-9]{8}T[0-9]{6}Z)-[^-]+$ || (-n ${1:-} && ${BASH_REMATCH[1]} != "$1") ]] ||
      printf '%s\t%s\n' "${BASH_REMATCH[2]}" "$name"
  done | sort -ru | cut -f 2
}

# By the size alone: reading everything is for `check`.
# shellcheck disable=SC2310 # each line that a condition calls fails by itself
state() {
  if [[ ! -e $folder/$1.json ]]; then
    say 'no manifest'
  elif [[ ! -e $folder/$1.dump ]]; then
    say 'no dump'
  elif [[ $(stat -c %s "$folder/$1.dump") != "$(value "$1" bytes)" ]]; then
    say 'damaged'
  else
    say 'whole'
  fi
}

# shellcheck disable=SC2310 # each line that a condition calls fails by itself
whole() {
  local name
  while read -r name; do
    [[ $(state "$name") != whole ]] || say "$name"
  done < <(names "$@")
}

moment() { date -u -d "$1" '+%Y-%m-%d %H:%M:%S'; }
size() { numfmt --to=iec-i --suffix=B --format=%.1f "$1" | sed -E 's/[KMGT]?i?B$/ &/'; }
rows() { grep -o '"rows": [0-9]*' "$folder/$1.json" | awk '{ sum += $2 } END { printf "%.0f", sum }' | sed -E ':a; s/\B[0-9]{3}\b/,&/; ta'; }

list() {
  local name verified form='%-19s  %9s  %13s  %-19s  %-11s  %s\n'
  if [[ ${1:-} == --json ]]; then
    names | while read -r name; do
      if [[ -e $folder/$name.json ]]; then sed -z 's/\n}\n$//; s/\n */ /g' "$folder/$name.json"; else printf '{ "file": "%s.dump"' "$name"; fi
      printf ', "state": "%s" }\n' "$(state "$name")"
    done | paste -sd, | sed 's/.*/[&]/'
    return
  fi
  # shellcheck disable=SC2059 # one form for all lines
  printf "$form" 'made (UTC)' size rows 'verified (UTC)' state file
  names | while read -r name; do
    if [[ -e $folder/$name.json ]]; then
      verified=$(value "$name" verified_at)
      # shellcheck disable=SC2059
      printf "$form" "$(moment "$(value "$name" created_at)")" "$(size "$(value "$name" bytes)")" "$(rows "$name")" \
        "$(if [[ -n $verified ]]; then moment "$verified"; else echo 'not yet'; fi)" "$(state "$name")" "$name.dump"
    else
      # shellcheck disable=SC2059
      printf "$form" '' '' '' '' "$(state "$name")" "$name.dump"
    fi
  done
}

# name FILE: what a person calls it, with or without folder and ending.
name() {
  local name=${1##*/}
  name=${name%.dump}
  name=${name%.json}
  if [[ $name == newest ]]; then
    # Not by `head`: what writes to it after its end is a failure.
    name=$(whole)
    name=${name%%$'\n'*}
    [[ -n $name ]] || die 'there is no whole backup' 'make backup'
  fi
  [[ -e $folder/$name.dump || -e $folder/$name.json ]] || die "there is no backup called $name" 'make backups lists them'
  [[ -e $folder/$name.json ]] || die "$name.dump has no manifest ($name.json), so nobody can tell whether it is whole" 'bring the manifest back, or take another: make backups'
  [[ -e $folder/$name.dump ]] || die "$name.json is there, its dump is not" 'bring it back, or take another: make backups'
  say "$name"
}

# --- The database -----------------------------------------------------------------------------------------------------

# One at a time, across containers; gone with the process.
lock() {
  [[ -w $folder ]] || die "the folder of backups cannot be written to by uid $(id -u)" 'on the host: chown it (BACKUP_DIR, by default ./backups) to whoever calls make'
  exec {lock}>"$folder/.lock"
  flock --nonblock "$lock" || {
    say 'another backup or restore is running; waiting for it (10 minutes at most)'
    flock --wait 600 "$lock" || die 'another backup or restore has been running for 10 minutes' 'wait for it to end; docker ps shows its container'
  }
}

# --- Making one -------------------------------------------------------------------------------------------------------

# listed KIND FILE: what contents.sql has said of this kind, as it stands between brackets in JSON.
listed() { sed -n "s/^$1 /    /p" "$2" | sed '$!s/$/,/'; }

# held FILE: the same as keys of an object, with nothing behind the last.
held() {
  printf '  "sequences": {\n%s\n  },\n' "$(listed sequence "$1")"
  printf '  "large_objects": {\n%s\n  },\n' "$(listed large "$1")"
  printf '  "tables": {\n'
  listed table "$1"
  printf '  }\n'
}

# let_read: forever, ends sessions that keep the readers from a table for 5 s and that may not migrate, so they have no
# business with such a lock (LOCK TABLE is the app's, too), and says whom else they wait for. Becomes psql, to be killed.
let_read() {
  exec {lock}>&-
  PGAPPNAME='' exec psql -XqAt -d "$database" <<'SQL'
\getenv owner DB_OWNER_USERNAME
SELECT CASE WHEN pg_has_role('pg_signal_backend', 'USAGE') AND NOT pg_has_role(usesysid, :'owner', 'MEMBER') AND pg_terminate_backend(pid)
       THEN format('Ended a session of %s (process %s), which kept %s from being read.', usename, pid, what)
       ELSE format('Waited for %s (process %s), who keeps %s from being read.', usename, pid, what) END
FROM (
    SELECT DISTINCT unnest(pg_blocking_pids(reader.pid)) AS pid, coalesce(relation::regclass::text, 'something') AS what
    FROM pg_stat_activity AS reader JOIN pg_locks AS wait USING (pid)
    WHERE application_name = 'tangga-backup' AND NOT granted AND clock_timestamp() - waitstart > '5 s'
) AS blocked JOIN pg_stat_activity AS holder USING (pid) \watch 1
SQL
}

# shellcheck disable=SC2310 # each line that a condition calls fails by itself
dump() {
  local created stamp partial facts=/tmp/facts said=/tmp/said dumped=/tmp/dumped waited=/tmp/waited compress=() name watch also
  local revision server_version database_bytes
  [[ $database =~ ^[A-Za-z0-9_.-]+$ ]] || die "the database's name, $database, does not suit a file's" 'a backup by hand: docker compose exec db pg_dump'
  lock
  # What a killed run has left.
  rm -f "$folder"/.*.partial "$dumped"
  umask 077
  # Fails where the folder is somebody else's or cannot have groups: then only BACKUP_BEFORE_MIGRATE misses it.
  { chgrp "$group" "$folder" && chmod 0750 "$folder"; } 2>/dev/null || true
  stamp=$(date -u +%Y%m%dT%H%M%SZ)
  created=$(date -u +%Y-%m-%dT%H:%M:%SZ)
  partial=$folder/.$database-$stamp
  # Half the time and less space, where the client knows it.
  (($(major "$(pg_dump --version)") < 16)) || compress=(--compress=zstd)
  become_reader "$database"
  export PGAPPNAME=tangga-backup
  let_read >"$waited" 2>&1 &
  watch=$!
  # shellcheck disable=SC2064 # its number now
  trap "rm -f '$folder'/.*.partial; kill $watch 2>/dev/null || true" EXIT
  # psql holds the transaction whose snapshot pg_dump takes over: the digests are of the very same rows. The sequences
  # come first: they belong to no snapshot, so those in the dump are not behind these.
  query -d "$database" -v facts="$facts" -v contents="$here/contents.sql" >/dev/null 2>"$said" <<SQL || die "the database could not be read: $(one_line "$said")$(waited_for "$waited")" "$(remedy "$said" 'see make ps, make logs s=db')"
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT set_config(name, '0', true) FROM pg_settings WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout');
SELECT pg_export_snapshot() AS snapshot \gset
\setenv SNAPSHOT :snapshot
\o :facts
SELECT to_regclass('public.alembic_version') IS NOT NULL AS has_revision \gset
\if :has_revision
SELECT coalesce(string_agg(version_num, '+' ORDER BY version_num), 'base') FROM public.alembic_version;
\else
\qecho base
\endif
SELECT current_setting('server_version');
SELECT pg_database_size(current_database());
\i :contents
\o
\! pg_dump --format=custom ${compress[*]} --snapshot="\$SNAPSHOT" --lock-wait-timeout=60s --file='$partial.dump.partial' "\$DB_NAME" 2>$said && touch $dumped
COMMIT;
SQL
  [[ -e $dumped ]] || die "the dump failed: $(one_line "$said")$(waited_for "$waited")" "$(remedy "$said" 'the older backups are as they were; mend that, then: make backup')"
  pg_restore --list "$partial.dump.partial" >/dev/null
  {
    read -r revision
    read -r server_version
    read -r database_bytes
  } <"$facts"
  name=$database-$stamp-$revision
  {
    cat <<JSON
{
  "file": "$name.dump",
  "database": "$database",
  "created_at": "$created",
  "revision": "$revision",
  "server_version": "${server_version%% *}",
  "image_version": "${TAG:-latest}",
  "bytes": $(stat -c %s "$partial.dump.partial"),
  "sha256": "$(sha256sum <"$partial.dump.partial" | cut -d ' ' -f 1)",
  "database_bytes": $database_bytes,
  "roles": [
$(listed role "$facts")
  ],
JSON
    held "$facts"
    printf '}\n'
  } >"$partial.json.partial"
  chmod 0640 "$partial.json.partial"
  sync "$partial.json.partial"
  mv "$partial.dump.partial" "$folder/$name.dump"
  mv "$partial.json.partial" "$folder/$name.json"
  sync "$folder"
  prune "$name"
  also=$(waited_for "$waited")
  [[ -z $also ]] || say "${also# }"
  say "$name.dump: $(size "$(value "$name" bytes)"), $(rows "$name") rows"
}

# waited_for FILE: what let_read has said, each once, on one line.
waited_for() { sed -n '/^\(Waited\|Ended\) /s/^/ /p' "$1" | sort -u | tr -d '\n'; }

# prune NAME: of the whole backups, only the newest $keep stay, and the newest that is verified. What is not whole is left
# to a person.
# shellcheck disable=SC2310 # each line that a condition calls fails by itself
prune() {
  local keep=${keep:-${BACKUP_KEEP:-}} name verified='' number=0
  [[ -n $keep ]] || return 0
  [[ $keep =~ ^[1-9][0-9]*$ ]] || die "keep=$keep is not a number of backups; none was deleted" 'a number from 1 on'
  while read -r name; do
    number=$((number + 1))
    if [[ -z $verified && -n $(value "$name" verified_at) ]]; then
      verified=$name
    elif ((number > keep)); then
      # First what makes it a backup.
      rm -f "$folder/$name.json" "$folder/$name.dump"
      say "deleted $name.dump"
    fi
  done < <(whole "$database")
}

# --- Using one --------------------------------------------------------------------------------------------------------

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

verified() {
  local name
  name=$(name "$1")
  lock
  sed "/^  \"verified_at\"/d; s/^  \"revision\"/  \"verified_at\": \"$(date -u +%Y-%m-%dT%H:%M:%SZ)\",\n&/" "$folder/$name.json" >"$folder/.$name.json.partial"
  chmod 0640 "$folder/.$name.json.partial"
  sync "$folder/.$name.json.partial"
  mv "$folder/.$name.json.partial" "$folder/$name.json"
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

# The migrators' own rows are there before anybody has written one.
live() {
  as_superuser query -d "$database" <<'SQL'
SELECT pg_size_pretty(pg_database_size(current_database())) WHERE EXISTS (
    SELECT FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace
    WHERE relkind = 'r' AND nspname !~ '^pg_' AND nspname <> 'information_schema' AND pg_relation_size(pg_class.oid) > 0
      AND relname NOT IN ('alembic_version', 'migration_log', 'migration_backfill')
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

# --- By the clock -----------------------------------------------------------------------------------------------------

# every: BACKUP_EVERY in seconds.
every() {
  local each
  [[ $BACKUP_EVERY =~ ^([1-9][0-9]*)([smhd])$ ]] || die "BACKUP_EVERY=$BACKUP_EVERY is not a duration" 'a number with s, m, h or d, such as 24h'
  case ${BASH_REMATCH[2]} in s) each=1 ;; m) each=60 ;; h) each=3600 ;; d) each=86400 ;; esac
  say $((BASH_REMATCH[1] * each))
}

# age: of the newest whole backup, in seconds; nothing if there is none.
age() {
  local newest
  newest=$(whole "$database")
  newest=${newest%%$'\n'*}
  [[ -z $newest ]] || say $(($(date +%s) - $(date -d "$(value "$newest" created_at)" +%s)))
}

# Goes by the newest backup, whoever made it, so a restart makes none twice.
schedule() {
  local every age
  every=$(every)
  while :; do
    age=$(age)
    if [[ -n $age ]] && ((age < every)); then
      sleep $((every - age))
    else
      # In a process of its own: one that fails ends there, and is tried again.
      bash "${BASH_SOURCE[0]}" dump || sleep $((every < 300 ? every : 300))
    fi
  done
}

# shellcheck disable=SC2310 # each line that a condition calls fails by itself
fresh() {
  local age
  age=$(age)
  [[ -n $age ]] || die 'there is no whole backup' 'see make logs s=scheduled-backups'
  ((age < 2 * $(every))) || die "the newest backup is $((age / 3600)) hours old, with BACKUP_EVERY=$BACKUP_EVERY" 'see make logs s=scheduled-backups'
}

_main() {
  (($#)) || die 'no command' "${BASH_SOURCE[0]} list, dump, ..."
  "$@"
}

_main "$@"

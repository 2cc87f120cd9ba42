# shellcheck shell=bash
# shellcheck disable=SC2154 # backup.sh sets $folder, $database, $here and $group
# Makes a backup, and deletes those that are too many. Sourced.

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

# Files of the container's own, for what is passed on: what contents.sql has said, what a program has, that the dump is
# whole, whom it has waited for.
readonly facts=/tmp/facts dump_said=/tmp/said dumped=/tmp/dumped waited=/tmp/waited

dump() {
  local created stamp partial name also
  [[ $database =~ ^[A-Za-z0-9_.-]+$ ]] || die "the database's name, $database, does not suit a file's" 'a backup by hand: docker compose exec db pg_dump'
  lock
  open_folder
  stamp=$(date -u +%Y%m%dT%H%M%SZ)
  created=$(utc)
  partial=$folder/.$database-$stamp
  become_reader "$database"
  export PGAPPNAME=tangga-backup
  let_read >"$waited" 2>&1 &
  # shellcheck disable=SC2064 # its number now
  trap "rm -f '$folder'/.*.partial; kill $! 2>/dev/null || true" EXIT
  take "$partial.dump.partial"
  name=$database-$stamp-$(head -n 1 "$facts")
  describe "$name" "$created" "$partial.dump.partial" >"$partial.json.partial"
  chmod 0640 "$partial.json.partial"
  sync "$partial.json.partial"
  mv "$partial.dump.partial" "$folder/$name.dump"
  mv "$partial.json.partial" "$folder/$name.json"
  sync "$folder"
  prune "$name"
  also=$(waited_for "$waited")
  [[ -z $also ]] || say "${also# }"
  say "$name.dump: $(size "$(value "$name" bytes)"), $(manifest "$name" | rows) rows"
}

# open_folder: without what a killed run has left, for the owner, and for the group that reads manifests.
open_folder() {
  rm -f "$folder"/.*.partial "$dumped"
  umask 077
  # Fails where the folder is somebody else's or cannot have groups: then only BACKUP_BEFORE_MIGRATE misses it.
  { chgrp "$group" "$folder" && chmod 0750 "$folder"; } 2>/dev/null || true
}

# take FILE: the dump, and what it holds in $facts: revision, version, size, and contents.sql. psql holds the transaction whose
# snapshot pg_dump takes over: the digests are of the very same rows. The sequences come first: they belong to no snapshot, so
# those in the dump are not behind these.
# shellcheck disable=SC2310 # each line that a condition calls fails by itself
take() {
  local compress=()
  # Half the time and less space, where the client knows it.
  (($(major "$(pg_dump --version)") < 16)) || compress=(--compress=zstd)
  query -d "$database" -v facts="$facts" -v revision="$here/revision.sql" -v contents="$here/contents.sql" >/dev/null 2>"$dump_said" <<SQL || die "the database could not be read: $(one_line "$dump_said")$(waited_for "$waited")" "$(remedy "$dump_said" 'see make ps, make logs s=db')"
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT set_config(name, '0', true) FROM pg_settings WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout');
SELECT pg_export_snapshot() AS snapshot \gset
\setenv SNAPSHOT :snapshot
\o :facts
\i :revision
SELECT current_setting('server_version');
SELECT pg_database_size(current_database());
\i :contents
\o
\! pg_dump --format=custom ${compress[*]} --snapshot="\$SNAPSHOT" --lock-wait-timeout=60s --file='$1' "\$DB_NAME" 2>$dump_said && touch $dumped
COMMIT;
SQL
  [[ -e $dumped ]] || die "the dump failed: $(one_line "$dump_said")$(waited_for "$waited")" "$(remedy "$dump_said" 'the older backups are as they were; mend that, then: make backup')"
  pg_restore --list "$1" >/dev/null
}

# describe NAME CREATED FILE: the manifest of a dump.
describe() {
  local revision server_version database_bytes
  {
    read -r revision
    read -r server_version
    read -r database_bytes
  } <"$facts"
  cat <<JSON
{
  "file": "$1.dump",
  "database": "$database",
  "created_at": "$2",
  "revision": "$revision",
  "server_version": "${server_version%% *}",
  "image_version": "${TAG:-latest}",
  "bytes": $(stat -c %s "$3"),
  "sha256": "$(sha256sum <"$3" | cut -d ' ' -f 1)",
  "database_bytes": $database_bytes,
  "roles": [
$(listed role "$facts")
  ],
JSON
  held "$facts"
  printf '}\n'
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

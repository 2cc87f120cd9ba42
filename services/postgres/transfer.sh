#!/usr/bin/env bash
# usage: services/postgres/transfer.sh FROM TO
#
# Copies the database of one server (a host name) to another, of whatever version, roles included, and compares the two:
# every table and every sequence, and the schema. Runs in the container `backup`, with the newer version's client, while
# scripts/db-upgrade.sh keeps writers out of FROM.
set -Eeuo pipefail
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
. "$here/../../scripts/lib/ui.sh"
. "$here/../../scripts/lib/json.sh"
. "$here/client.sh"

readonly database=$DB_NAME said=/tmp/said

from() { PGHOST=$old as_superuser "$@"; }
to() { PGHOST=$new PGOPTIONS="-c synchronous_commit=off -c maintenance_work_mem=256MB -c log_min_error_statement=panic" as_superuser "$@"; }

# A writer that waits has one of the API's few connections, and readers need them: rather an error for the one, at once.
# Until this script ends.
cancel_waiting_writers() {
  from query -d "$database" <<'SQL' >/dev/null 2>&1
SELECT pg_cancel_backend(waiting.pid)
FROM pg_stat_activity AS waiting JOIN pg_stat_activity AS holder ON holder.pid = ANY (pg_blocking_pids(waiting.pid))
WHERE waiting.wait_event_type = 'Lock' AND holder.application_name = 'tangga-db-upgrade'
  AND clock_timestamp() - waiting.query_start > '1 s' \watch 0.5
SQL
}

# All roles, with their passwords as they are; those that the first start has made are only set. The newer pg_dumpall
# names what an older server does not know; what there may be reserved for the owner, its first start has given it already.
copy_roles() {
  local there
  there=$(to query -d postgres -c "SELECT format('CREATE ROLE %I;', rolname) FROM pg_roles")
  from pg_dumpall --roles-only --database postgres | grep -vxF "$there" |
    sed -E '/^GRANT pg_use_reserved_connections /d; /^GRANT /s/ (WITH [A-Z ,]*)?(GRANTED BY .*)?;$/;/' | to query -d postgres
}

# As it is there, locale and settings included. A server older than 17 does not know the setting, which pg_dump sets before
# the rows begin.
copy_database() {
  to query -d postgres -c "DROP DATABASE \"${database//\"/\"\"}\" WITH (FORCE)"
  from pg_dump --create "$database" | sed '1,/^COPY /{/^SET transaction_timeout = 0;$/d}' | to query -d postgres
}

# schema HOST: without what names the versions, and the random key of newer clients.
schema() {
  PGHOST=$1 as_superuser pg_dump --create --schema-only "$database" |
    grep -vE '^(-- Dumped (from|by)|\\(un)?restrict )|^SET transaction_timeout'
}

# held DATABASE: but the roles that its objects name; all are copied.
held() { contents "$1" | sed '/^role /d'; }

compare() {
  local differing
  # In jobs: what a condition calls goes on after a line that fails.
  PGHOST=$old as_superuser held "$database" >/tmp/from 2>"$said" &
  wait "$!" || die "the old server's rows cannot be read: $(one_line "$said")" "$(remedy "$said"); the old server serves as before"
  PGHOST=$new as_superuser held "$database" >/tmp/to 2>"$said" &
  wait "$!" || die "the new server's rows cannot be read: $(one_line "$said")" "$(remedy "$said"); the old server serves as before"
  cmp -s /tmp/from /tmp/to || die "the rows of the two servers differ: $(diff /tmp/from /tmp/to | sed -nE 's/^[<>] [a-z]+ ("([^"\\]|\\.)*").*/\1/p' | head -n 1)" 'the old server serves as before'
  schema "$old" >/tmp/schema-from
  schema "$new" >/tmp/schema-to
  differing=$(diff /tmp/schema-from /tmp/schema-to | grep '^[<>]' | head -n 1) || true
  [[ -z $differing ]] || die "the schemas of the two servers differ: $differing" 'the old server serves as before'
}

_main() {
  old=$1 new=$2
  cancel_waiting_writers &
  trap 'kill %1' EXIT
  copy_roles >/dev/null 2>"$said" &
  wait "$!" || die "the roles were not copied: $(one_line "$said")" "$(remedy "$said"); the old server serves as before"
  copy_database >/dev/null 2>"$said" &
  wait "$!" || die "the database was not copied: $(one_line "$said")" "$(remedy "$said"); the old server serves as before"
  compare
  to vacuumdb --quiet --analyze-only --jobs="$(jobs)" --dbname="$database"
  # So that both stop at once.
  to query -d postgres -c CHECKPOINT
  from query -d postgres -c CHECKPOINT
  # A table's line is a key and a value of JSON.
  sed -n 's/^table \(.*\)/{\1}/p' /tmp/to | json_values '*' rows | sum
}

_main "$@"

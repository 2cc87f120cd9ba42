# shellcheck shell=bash
# shellcheck disable=SC2154 # who sources it sets $here
# For the other scripts of this folder: how they reach the database. Sourced, never run; $here is this folder.

# secret NAME: from /run/secrets if it is there, else from the environment.
secret() {
  local file=/run/secrets/${1,,}
  if [[ -r $file ]]; then cat "$file"; else printf '%s' "${!1:-}"; fi
}

as_owner() { PGUSER=$DB_OWNER_USERNAME PGPASSWORD=$(secret DB_OWNER_PASS) "$@"; }
as_superuser() { PGUSER=$POSTGRES_USER PGPASSWORD=$(secret POSTGRES_PASSWORD) "$@"; }
query() { psql -XqAt -v ON_ERROR_STOP=1 "$@"; }

# jobs: as many as there are processors, but leave a large server some.
jobs() { nproc | awk '{ print ($1 > 4 ? 4 : $1) }'; }

# one_line FILE: the first error that a program named there, or the last that it said, for a message.
one_line() {
  { grep -m 1 -E '(error|ERROR|FATAL): ' "$1" || tail -n 1 "$1"; } | sed -E 's/^(psql|pg_dump|pg_dumpall|pg_restore|vacuumdb)[^ ]* (error: )?//; s/(ERROR|FATAL): +//'
}

# major VERSION: 17 of "17.12 (Debian ...)" or "pg_dump (PostgreSQL) 17.12".
major() { grep -oE '[0-9]+' <<<"$1" | head -n 1; }

# What the database $1 holds, as contents.sql says it.
contents() { as_owner query -d "$1" -f "$here/contents.sql"; }

# shellcheck shell=bash
# shellcheck disable=SC2154 # who sources it sets $here
# For the other scripts of this folder: how they reach the database. Sourced, never run; $here is this folder.

# As in start.sh: the programs themselves.
PATH=${PG_MAJOR:+/usr/lib/postgresql/$PG_MAJOR/bin:}$PATH

# secret NAME: from /run/secrets if it is there, else from the environment.
secret() {
  local file=/run/secrets/${1,,}
  if [[ -r $file ]]; then cat "$file"; else printf '%s' "${!1:-}"; fi
}

as_owner() { PGUSER=$DB_OWNER_USERNAME PGPASSWORD=$(secret DB_OWNER_PASS) "$@"; }
as_superuser() { PGUSER=$POSTGRES_USER PGPASSWORD=$(secret POSTGRES_PASSWORD) "$@"; }
query() { psql -XqAt -v ON_ERROR_STOP=1 "$@"; }

# become_reader DATABASE: from here on, whatever connects reads as the superuser, who may read all there is (decision 32).
# A database elsewhere may have none who can log in: then as the owner. Any other error is for who connects next.
become_reader() {
  local said
  export PGUSER=$POSTGRES_USER PGPASSWORD
  PGPASSWORD=$(secret POSTGRES_PASSWORD)
  said=$(query --no-password -d "$1" -c '' 2>&1) || [[ $said != *'FATAL: '* ]] || PGUSER=$DB_OWNER_USERNAME PGPASSWORD=$(secret DB_OWNER_PASS)
}

# jobs: as many as there are processors, but leave a large server some.
jobs() { nproc | awk '{ print ($1 > 4 ? 4 : $1) }'; }

# sum <NUMBERS: of a number a line; of millions of rows, too.
sum() { awk '{ sum += $1 } END { printf "%.0f\n", sum }'; }

# one_line FILE: the first error that a program named there, with the server's DETAIL and HINT, or the last that it said,
# for a message.
one_line() {
  awk '
    /(error|ERROR|FATAL): / && !error { error = $0; next }
    # Of this error, and not of the next one. It may list ten thousand tables.
    error && /^(DETAIL|HINT|pg_[a-z]+: hint): / && length(more) < 600 { sub(/^pg_[a-z]+: hint/, "HINT"); more = more " " substr($0, 1, 300); next }
    error && /(error|ERROR|FATAL): / { exit }
    NF { last = $0 }
    END { print (error ? substr(error, 1, 600) more : last) }
  ' "$1" | sed -E 's/^(psql|pg_dump|pg_dumpall|pg_restore|vacuumdb)[^ ]* (error: )?//; s/(ERROR|FATAL): +//'
}

# remedy FILE [OTHERWISE]: what mends the error that a program named there.
remedy() {
  local said who
  said=$(one_line "$1")
  who="\"${PGUSER:-$POSTGRES_USER}\""
  if [[ $said =~ role\ (\".*\")\ does\ not\ exist ]]; then
    say "on that server, as an administrator: CREATE ROLE ${BASH_REMATCH[1]} NOLOGIN; then again"
  elif [[ $said =~ permission\ denied\ for\ large\ object\ ([0-9]+) ]]; then
    say "as an administrator: GRANT SELECT ON LARGE OBJECT ${BASH_REMATCH[1]} TO $who; then again"
  else
    case $said in
      *'row-level security'*) say "as an administrator: ALTER ROLE $who BYPASSRLS; then again" ;;
      *'permission denied'*) say "as an administrator: GRANT pg_read_all_data TO $who; then again" ;;
      *max_locks_per_transaction* | *'out of shared memory'*) say 'a larger max_locks_per_transaction for that server, then again' ;;
      *'lock timeout'*) say 'wait for the end of the session that keeps the table (a migration?), or end it; then again' ;;
      *'is not available'* | *'extension control file'*) say 'POSTGRES_IMAGE in .env: an image that has this extension; then again' ;;
      *'No space left'*) say 'make room there, then again' ;;
      *) say "${2:-mend that, then again}" ;;
    esac
  fi
}

# major VERSION: 17 of "17.12 (Debian ...)" or "pg_dump (PostgreSQL) 17.12".
major() { grep -oE '[0-9]+' <<<"$1" | head -n 1; }

# What the database $1 holds, as contents.sql says it.
contents() { query -d "$1" -c 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY' -f "$here/contents.sql"; }

# shellcheck shell=bash
# Keeps writers and migrators out of the old server while its rows are copied. Sourced.

held='' # 1: writers are kept out

# Keeps writers and migrators out for as long as this script lives: the session reads from this script's pipe.
hold_writers() {
  local answer
  # shellcheck disable=SC2310 # two settings
  # If psql ends early, somebody still reads: what it said is what `expect` finds, not a broken pipe.
  coproc HOLD {
    docker compose exec -T -e PGAPPNAME=tangga-db-upgrade db psql -XqAt -v ON_ERROR_STOP=1 -U "$(setting POSTGRES_USER postgres)" -d "$(setting DB_NAME tangga)" 2>&1 || true
    exec cat >/dev/null
  }
  # The migrators' lock (tangga/guard/lock.py), then every table. A reader does not notice.
  cat >&"${HOLD[1]}" <<'SQL'
SELECT CASE WHEN pg_try_advisory_lock(('x' || encode('tanggami', 'hex'))::bit(64)::bigint) THEN 'ready' ELSE 'a migration is running' END;
SET lock_timeout = '10s';
BEGIN;
SELECT 'LOCK TABLE ' || string_agg(format('%I.%I', nspname, relname), ', ') || ' IN SHARE MODE'
FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace
WHERE relkind IN ('r', 'p') AND nspname !~ '^pg_' AND nspname <> 'information_schema' \gexec
SELECT 'held';
SQL
  expect ready 'wait for its end, then again'
  expect held 'end the session that holds one, then again'
  held=1
}

# If the session was lost, writers got in: what they wrote is not on the new server.
still_held() {
  [[ -n $held ]] || return 0
  [[ -z ${HOLD_PID:-} ]] || printf '%s\n' "SELECT 'held';" >&"${HOLD[1]}"
  expect held 'again; the old server serves as before'
}

# expect ANSWER REMEDY: of the session that keeps writers out.
expect() {
  local answer=''
  [[ -z ${HOLD_PID:-} ]] || read -r answer <&"${HOLD[0]}" || true
  [[ $answer == "$1" ]] || die "the tables cannot be kept locked: ${answer:-the database does not answer}" "$2"
}

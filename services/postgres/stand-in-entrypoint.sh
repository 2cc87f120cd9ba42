#!/usr/bin/env bash
# usage: (entrypoint of the stand-in PostgreSQL image; see scripts/prepare/images.sh)
#
# Honours the official image's contract, so that compose.yaml cannot tell the two apart: POSTGRES_USER, _PASSWORD, _DB,
# _INITDB_ARGS (each also as NAME_FILE), POSTGRES_HOST_AUTH_METHOD, PGDATA, /docker-entrypoint-initdb.d on the first
# start only, a socket-only server while those files run, step-down from root, and `exec`, so that signals arrive.
set -Eeuo pipefail

readonly initdb_dir=/docker-entrypoint-initdb.d

fail() {
  printf 'postgres: %s\n' "$1" >&2
  exit 1
}

# from_file NAME [DEFAULT]: sets NAME from NAME_FILE, from itself, or to the default.
from_file() {
  local name=$1 file_name="$1_FILE" value
  [[ -z ${!name:-} || -z ${!file_name:-} ]] || fail "both $name and $file_name are set; keep one"
  value=${!name:-${2:-}}
  if [[ -n ${!file_name:-} ]]; then
    [[ -r ${!file_name} ]] || fail "$file_name names ${!file_name}, which cannot be read"
    value=$(<"${!file_name}")
  fi
  printf -v "$name" '%s' "$value"
  unset "$file_name"
}

local_psql() { psql --no-psqlrc --no-password --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" "$@"; }

first_start() {
  [[ -n $POSTGRES_PASSWORD || $POSTGRES_HOST_AUTH_METHOD == trust ]] ||
    fail 'the data directory is empty and POSTGRES_PASSWORD is not set; set it to the password of the first superuser'
  local initdb_args=()
  read -r -a initdb_args <<<"$POSTGRES_INITDB_ARGS"
  # The password comes through a file descriptor: an argument would show in the process list.
  initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") \
    --auth-local=trust --auth-host="$POSTGRES_HOST_AUTH_METHOD" "${initdb_args[@]}"
  printf '\nhost all all all %s\n' "$POSTGRES_HOST_AUTH_METHOD" >>"$PGDATA/pg_hba.conf"

  # Reachable through the socket only, so that a probe over TCP cannot take this server for the real one.
  pg_ctl --silent --wait --options="-c listen_addresses='' -p ${PGPORT:-5432}" start
  [[ $POSTGRES_DB == postgres ]] || local_psql --dbname postgres --set db="$POSTGRES_DB" <<<'CREATE DATABASE :"db";'
  local file
  for file in "$initdb_dir"/*; do
    case $file in
      *.sh)
        printf 'postgres: running %s\n' "$file"
        # shellcheck disable=SC1090
        if [[ -x $file ]]; then "$file"; else . "$file"; fi
        ;;
      *.sql) run_sql "$file" cat ;;
      *.sql.gz) run_sql "$file" gunzip -c ;;
      *.sql.xz) run_sql "$file" xz -cd ;;
      *.sql.zst) run_sql "$file" zstd -cd ;;
      "$initdb_dir/*") ;;
      *) printf 'postgres: ignoring %s\n' "$file" ;;
    esac
  done
  pg_ctl --silent --wait --mode=fast stop
  printf 'postgres: first start done\n'
}

run_sql() {
  local file=$1
  shift
  printf 'postgres: running %s\n' "$file"
  "$@" "$file" | local_psql --dbname "$POSTGRES_DB"
}

_main() {
  if [[ $# -eq 0 || $1 == -* ]]; then set -- postgres "$@"; fi
  if [[ $1 != postgres ]]; then exec "$@"; fi
  if ((EUID == 0)); then
    mkdir -p "$PGDATA"
    find "$PGDATA" /var/run/postgresql ! -user postgres -exec chown postgres:postgres {} +
    exec setpriv --reuid=postgres --regid=postgres --init-groups -- "${BASH_SOURCE[0]}" "$@"
  fi
  mkdir -p "$PGDATA"
  chmod 700 "$PGDATA" 2>/dev/null || true
  from_file POSTGRES_PASSWORD
  from_file POSTGRES_USER postgres
  from_file POSTGRES_DB "$POSTGRES_USER"
  from_file POSTGRES_INITDB_ARGS
  POSTGRES_HOST_AUTH_METHOD=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
  [[ -s $PGDATA/PG_VERSION ]] || first_start
  unset POSTGRES_PASSWORD
  exec "$@"
}

_main "$@"

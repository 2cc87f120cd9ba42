#!/usr/bin/env bash
# usage: start.sh postgres [OPTION...]   (entrypoint of db, db-next and scratch); any other program is run as it is
#        start.sh healthy                (their health check)
#        start.sh roles                  (gives the roles their settings, now)
#
# A first start makes the cluster in a folder beside the place where it belongs, and moves it there when it is whole: cut off
# at any moment, it is begun anew or its move is finished, and what has ever served is never thrown away. Then this becomes
# the server. At every start, the first health check runs roles.sql; only then is the server healthy (decision 33).
set -Eeuo pipefail

# The folder of a cluster that is being made; of one that is whole and on its way. initdb wants an empty folder, so they
# are in $PGDATA and not beside it: that may be the volume itself.
readonly new=$PGDATA/first-start whole=$PGDATA/first-start.whole
# Debian's psql and pg_isready are Perl programs that look for the newest version: ten times the work of the check itself.
PATH=${PG_MAJOR:+/usr/lib/postgresql/$PG_MAJOR/bin:}$PATH
# In memory, so gone with the container's next start.
readonly roles_are_set=/tmp/roles-are-set

die() {
  printf 'error: %s\n   do: %s\n' "$1" "$2" >&2
  exit 1
}

# superuser_password: from its file, if there is one.
superuser_password() {
  if [[ -n ${POSTGRES_PASSWORD_FILE:-} ]]; then cat "$POSTGRES_PASSWORD_FILE"; else printf '%s' "${POSTGRES_PASSWORD:-}"; fi
}

make_cluster() {
  local password arguments=()
  password=$(superuser_password)
  [[ -n $password ]] || die 'POSTGRES_PASSWORD is empty, and a new database needs it' 'set it in .env, then: make up'
  read -r -a arguments <<<"${POSTGRES_INITDB_ARGS:-}"
  rm -rf "$new"
  mkdir -m 700 "$new"
  # By a file descriptor: an argument would show in the process list.
  initdb --pgdata="$new" --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$password") --data-checksums \
    --auth-local=trust --auth-host=scram-sha-256 --no-instructions "${arguments[@]}"
  printf '\nhost all all all scram-sha-256\n' >>"$new/pg_hba.conf"
  sync "$new/pg_hba.conf" "$new"
  mv "$new" "$whole"
}

# Entry by entry: each is in the one place or in the other, and a second run moves the rest.
move_cluster() {
  find "$whole" -mindepth 1 -maxdepth 1 -exec mv -t "$PGDATA" -- {} +
  sync "$PGDATA"
  rmdir "$whole"
}

prepare() {
  local found
  mkdir -p "$PGDATA"
  chmod 700 "$PGDATA" 2>/dev/null || true
  if [[ ! -d $whole && ! -e $PGDATA/PG_VERSION ]]; then
    found=$(find "$PGDATA" -mindepth 1 -maxdepth 1 ! -name lost+found ! -path "$new")
    [[ -z $found ]] ||
      die "the database's volume holds no database, but something: ${found//$'\n'/ }" 'look at it; if nothing is to be kept of it: make clean, then make up'
    make_cluster
  fi
  if [[ -d $whole ]]; then move_cluster; fi
  [[ -s $PGDATA/global/pg_control ]] ||
    die "the database's volume lacks global/pg_control: its first start was cut off (by a release before this one), or it is damaged" \
      'if nothing was ever in it: make clean, then make up; else bring it back from a backup (docs/backups.md)'
}

# Over the socket, where the superuser needs no password. The database is made only in a cluster that has none: a name that
# was changed later is an error, not an empty database. `exec`: a child that outlived this would be adopted by the server,
# which takes the end of a process that it does not know for a crash.
set_roles() {
  # The cause of a failure belongs into the server's log.
  if [[ -w /proc/1/fd/2 ]]; then exec 2>/proc/1/fd/2; fi
  export PGOPTIONS='-c client_min_messages=warning -c statement_timeout=60s -c lock_timeout=10s' PGAPPNAME=tangga-roles
  exec psql -XqAt -v ON_ERROR_STOP=1 -v own_server=1 -v mark="$roles_are_set" -U "$POSTGRES_USER" -d postgres \
    -f "${BASH_SOURCE[0]%/*}/start.sql"
}

# The server answers over TCP, and its roles are set. The first one waits for the server: it is begun only once.
healthy() {
  local probe=(pg_isready --quiet --timeout=3 --host=127.0.0.1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB")
  if [[ -e $roles_are_set ]]; then exec "${probe[@]}"; fi
  until "${probe[@]}"; do
    ((SECONDS < 30)) || exit 1
    sleep 0.2
  done
  set_roles
}

_main() {
  case $1 in
    healthy) healthy ;;
    roles) set_roles ;;
    postgres)
      # As process 1, this would not hear `docker stop` otherwise.
      trap 'exit 143' INT TERM QUIT
      prepare &
      wait $!
      if ((${PG_MAJOR:-0} >= 16)); then set -- "$1" -c reserved_connections="${DB_CONNECTIONS_KEPT:-5}" "${@:2}"; fi
      exec "$@"
      ;;
    *) exec "$@" ;; # a client
  esac
}

_main "$@"

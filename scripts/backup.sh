#!/usr/bin/env bash
# usage: [keep=N] scripts/backup.sh [--list [--json] | --verify FILE | --before-migrate]
#
# Makes a backup of the database, while it is in use, in BACKUP_DIR. --verify restores one into a throwaway database and
# compares every table. --before-migrate makes one only if BACKUP_BEFORE_MIGRATE is set and steps are pending. What happens
# in the container: services/postgres/backup.sh.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/lib/common.sh"
cd "${BASH_SOURCE%/*}/.."

readonly AHEAD=6 BEHIND=8

# shellcheck disable=SC2310 # each line that a condition calls fails by itself
on_host() {
  local folder
  folder=$(backup_dir) || exit
  BACKUPS=$folder bash services/postgres/backup.sh "$@"
}

make_one() {
  told backup docker compose --progress quiet run --rm -T -e BACKUP_KEEP="${keep:-$(setting BACKUP_KEEP)}" backup dump
  say "$told"
}

# compose.prod.yaml has another default.
# shellcheck disable=SC2310 # one command
wanted_before_migrate() {
  local default=false
  if in_production; then default=true; fi
  [[ $(setting BACKUP_BEFORE_MIGRATE "$default") =~ ^(1|true|yes|on)$ ]]
}

ask_alembic() { docker compose --progress quiet run --rm -T migrate alembic "$@" </dev/null; }

# Where nothing was ever migrated, there is nothing to back up.
before_migrate() {
  # shellcheck disable=SC2310 # each line fails by itself
  if ! wanted_before_migrate; then return; fi
  attempt ask_alembic current --check-heads
  case $tried in
    0 | "$AHEAD") return ;;
    "$BEHIND") ;;
    *) give_up 'the database could not be asked whether steps are pending, so there is no backup, and nothing was migrated' ;;
  esac
  asked ask_alembic current
  [[ -z $answer ]] || make_one
}

# In memory if it fits there twice, beside what else needs memory: then nothing of it touches the live server.
fits_in_memory() {
  local free
  free=$(awk '/^MemAvailable/ { printf "%.0f", $2 * 1024 }' /proc/meminfo 2>/dev/null) || return 1
  (($1 * 2 + (512 << 20) < free / 2))
}

verify() {
  local name revision image bytes
  told checksum in_backup check "$1"
  # shellcheck disable=SC2034 # by position
  read -r name revision image bytes <<<"$told"
  # shellcheck disable=SC2310 # each line fails by itself
  if fits_in_memory "$bytes"; then
    # A project of its own: make plan and make verify have a scratch server, too.
    throwaway="$(setting COMPOSE_PROJECT_NAME tangga)-verify"
    trap 'docker compose --project-name "$throwaway" --profile "*" down --volumes >/dev/null 2>&1 || true' EXIT
    step --or 'the scratch server did not start' 'scratch server' docker compose --project-name "$throwaway" up --detach --wait scratch
    told 'restore and compare' docker compose --project-name "$throwaway" --progress quiet run --rm -T --no-deps -e PGHOST=scratch -e PGPORT=5432 backup load "$name" verify
    [[ -z $told ]] || say "  $told"
  else
    say '  it does not fit in memory, so it is restored into a database beside the live one'
    told 'restore and compare' in_backup load "$name" "$(setting DB_NAME tangga)_verify"
    [[ -z $told ]] || say "  $told"
    told 'drop it' in_backup drop "$(setting DB_NAME tangga)_verify"
  fi
  told 'note it' in_backup verified "$name"
  say "$name.dump restores: every table has the rows that it had"
}

_main() {
  read_settings
  case ${1:-} in
    '') make_one ;;
    --list) on_host list "${@:2}" ;;
    --verify) verify "$2" ;;
    --before-migrate) before_migrate ;;
    *) die "unknown option $1" 'scripts/backup.sh [--list [--json] | --verify FILE | --before-migrate]' ;;
  esac
}

_main "$@"
